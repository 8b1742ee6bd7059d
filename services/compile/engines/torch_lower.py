"""Modules in lower precision: they take what the source takes and answer float32."""

from __future__ import annotations

import logging
import operator
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

from ..words import Precision
from . import torch_values

DTYPES = {"bf16": "bfloat16", "fp16": "float16"}

How = Literal["as is", "cast", "autocast", "torchao"]
"""`cast`: weights and floating inputs are of the precision. `autocast`: PyTorch casts around each operation that gains
by it, again at every call. `torchao`: linear layers hold int8 weights and quantise what comes in, row by row."""


def lowered(module: Any, precision: Precision, how: How, device: str) -> Any:
    """The module itself is changed where `how` says so. Outputs come as a tuple."""
    import torch

    if how == "torchao":
        _quantise(module)
    dtype = getattr(torch, DTYPES.get(precision, "float32"))
    if how == "cast":
        _cast(module, dtype)

    class Lowered(torch.nn.Module):  # type: ignore[misc, unused-ignore]
        def __init__(self) -> None:
            super().__init__()
            self.module = module

        def forward(self, *given: Any) -> Any:
            if how == "cast":
                given = tuple(v.to(dtype) if v.is_floating_point() else v for v in given)
            if how == "autocast":
                # Weights that were cast once would be constants of a trace.
                with torch.autocast(device, dtype, cache_enabled=not torch.jit.is_tracing()):
                    answer = self.module(*given)
            else:
                answer = self.module(*given)
            lower = (torch.float16, torch.bfloat16)
            return tuple(v.float() if v.dtype in lower else v for v in torch_values.values(answer))

    return settled(Lowered())


def settled(module: Any) -> Any:
    """In evaluation mode: the module of an exported program refuses `eval()`, being in that mode always."""
    for part in module.modules():
        part.training = False
    return module


def _cast(module: Any, dtype: Any) -> None:
    """An exported program also carries its precision in its operations, and checks it."""
    import torch

    module.to(dtype)
    for part in module.modules():
        if isinstance(part, torch.fx.GraphModule):
            _cast_graph(part, dtype)


def _cast_graph(module: Any, dtype: Any) -> None:
    import torch

    for node in list(module.graph.nodes):
        if node.target is torch.ops.aten._assert_tensor_metadata.default:  # noqa: SLF001 - export puts it there
            module.graph.erase_node(node)
        elif node.op == "get_attr":
            _cast_constant(module, node.target, dtype)
        else:
            node.args, node.kwargs = (
                torch.fx.node.map_aggregate(given, lambda v: dtype if v is torch.float32 else v)
                for given in (node.args, node.kwargs)
            )
    module.recompile()


def _cast_constant(module: Any, target: str, dtype: Any) -> None:
    """A tensor that is neither a parameter nor a buffer is not reached by `module.to`."""
    import torch

    value = operator.attrgetter(target)(module)
    if isinstance(value, torch.Tensor) and value.is_floating_point() and value.dtype != dtype:
        path, _, name = target.rpartition(".")
        setattr(operator.attrgetter(path)(module) if path else module, name, value.to(dtype))


def _quantise(module: Any) -> None:
    import torch

    with hushed():
        from torchao.quantization import (  # type: ignore[import-not-found, import-untyped, unused-ignore]
            Int8DynamicActivationInt8WeightConfig,
            quantize_,
        )

        with torch.no_grad():
            quantize_(module, Int8DynamicActivationInt8WeightConfig())


@contextmanager
def hushed() -> Iterator[None]:
    """Importing torchao logs a line for each GPU kernel that it cannot load."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        yield
    finally:
        logging.disable(before)
