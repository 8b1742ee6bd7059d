"""int8 for CPUs: an exported program with quantised products, which Inductor makes oneDNN's int8 kernels of."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..engines import torch_lower, torch_values
from ..errors import Unsupported
from ..words import Arrays, Job, Model
from . import torch_measure, torch_program

_BATCH = 32


def program(model: Model, job: Job, feeds: list[dict[str, Any]]) -> tuple[Any, dict[str, str]]:
    """Ranges come from the calibration rows where there are convolutions, which need them; else rows bring their own.

    In an encoder that was as fast, and closer to the source.
    """
    import torch

    with torch_lower.hushed():
        from torchao.quantization.pt2e import (  # type: ignore[import-not-found, import-untyped, unused-ignore]
            quantize_pt2e,
        )
        from torchao.quantization.pt2e.quantizer import (  # type: ignore[import-not-found, import-untyped, unused-ignore]
            x86_inductor_quantizer as x86,
        )
    found = torch_program.program(model, feeds)
    dynamic = not torch_measure.convolves(found.graph)
    quantizer = x86.X86InductorQuantizer()
    quantizer.set_global(x86.get_default_x86_inductor_quantization_config(is_dynamic=dynamic))
    with torch.no_grad():
        prepared = quantize_pt2e.prepare_pt2e(found.module(), quantizer)
        for x in _batches(job.calibration or model.about.example):
            prepared(*torch_values.tensors(feeds, x))
        converted = quantize_pt2e.convert_pt2e(prepared)
    if not any("quantize" in str(node.target) for node in converted.graph.nodes):
        raise Unsupported("the program has no product that int8 kernels exist for")
    example = torch_program.arguments(model, feeds)
    return torch_program.exported(converted, example), {"to": "int8", "how": "dynamic" if dynamic else "static"}


def _batches(x: Arrays) -> Iterator[Arrays]:
    """A frozen size of 1 is never asked for: the last batch may be short, the rows of a single one are doubled."""
    count = len(next(iter(x.values())))
    for start in range(0, count, _BATCH):
        found = {name: value[start : start + _BATCH] for name, value in x.items()}
        yield found if count - start > 1 else {name: np.repeat(value, 2, axis=0) for name, value in found.items()}
