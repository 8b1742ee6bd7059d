"""Which way of compiling a module pays: by its operations, or on a GPU by the clock."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

from ..ports import Engine
from ..words import Job, Model
from . import torch_program

_PRODUCTS = ("linear", "addmm", "mm")
_PAYS = 1e6
"""Operations of one product. A packed oneDNN kernel takes about 15 us a call, however small its work."""


def packs(module: Any, one_row: tuple[Any, ...]) -> bool:
    """Whether oneDNN's packed kernels pay. They made an encoder twice as fast, and a small MLP 4 times slower."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    if one_row[0].is_cuda:
        return True
    with torch.no_grad(), _unfused(), FlopCounterMode(display=False) as counter:
        module(*one_row)
    found = counter.get_flop_counts().get("Global", {})
    # Convolutions are oneDNN's in any case; packed, they take batch normalisation in.
    return any("convolution" in str(op) for op in found) or sum(found.values()) > _PAYS * _products(module)


@contextlib.contextmanager
def _unfused() -> Iterator[None]:
    """A transformer's layer is one operation otherwise, whose products nobody counts."""
    import torch

    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def _products(module: Any) -> int:
    import torch

    found = 0
    for part in module.modules():
        if isinstance(part, torch.fx.GraphModule):
            found += sum(_name(node) in _PRODUCTS for node in part.graph.nodes)
        found += isinstance(part, torch.nn.Linear)
    return max(1, found)


def convolves(graph: Any) -> bool:
    return any(_name(node).startswith("conv") for node in graph.nodes)


def _name(node: Any) -> str:
    """`linear` of `aten.linear.default`."""
    return str(node.target).split(".")[1] if node.op == "call_function" and "." in str(node.target) else ""


def recorded(load: Callable[[dict[str, Any]], Engine], model: Model, job: Job) -> dict[str, int]:
    """For the manifest: CUDA graphs where they make batches of 1 and max faster together. `load` takes this too."""
    if job.device != "cuda":
        return {}
    graphs = {"graphs": job.max_batch}
    return graphs if _seconds(load(graphs), model, job) < _seconds(load({}), model, job) else {}


def _seconds(engine: Engine, model: Model, job: Job) -> float:
    """Of a call, both batch sizes counting alike."""
    product = 1.0
    for count in (1, job.max_batch):
        x = torch_program.rows(model, count)
        engine.run(x)
        product *= min(_timed(lambda x=x: engine.run(x)) for _ in range(20))  # type: ignore[misc]
    return product


def _timed(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
