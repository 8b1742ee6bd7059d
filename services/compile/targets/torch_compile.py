"""torch.compile: the source program with Inductor's cache beside it. It also takes what torch.export refuses."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from .. import arrays, source
from ..engines import torch_compiled, torch_values
from ..engines.torch_eager import TorchEngine
from ..ports import Compiler
from ..words import About, Device, Job, Model, Precision
from . import eager_torch, torch_measure, torch_program, torch_refusals


class TorchCompile(Compiler):
    target = "torch-compile"
    heavy = True
    alike = "aotinductor"

    def supports(self, about: About, precision: Precision, device: Device) -> str | None:
        refused = torch_refusals.refusal(about, precision, device) or torch_compiled.no_compiler()
        if refused or precision != "int8":
            return refused
        if about.storage == "pt2":
            return "torchao quantises layers, and an exported program has none"
        return torch_refusals.no_torchao()

    def compile(self, model: Model, job: Job, into: Path) -> dict[str, Any]:
        torch_values.use(job.threads)
        torch_program.no_script(model)
        manifest = _manifest(model, job, into)
        arrays.save(into / torch_compiled.EXAMPLE, {"example": torch_program.rows(model, 1)})
        with source.quiet(), torch_compiled.inductor_cache() as folder:
            manifest |= torch_measure.recorded(lambda graphs: _anew(into, manifest | graphs), model, job)
            _anew(into, manifest)
            shutil.copytree(folder, into / torch_compiled.CACHE, ignore=shutil.ignore_patterns("*.lock", "locks"))
        return manifest


def _manifest(model: Model, job: Job, into: Path) -> dict[str, Any]:
    feeds = source.tensors(model)
    manifest = {"feeds": feeds, "outputs": source.outputs(model), **eager_torch.store(model, into)}
    if job.precision == "int8":
        manifest["lower"] = {"to": "int8", "how": "torchao"}
        manifest["packages"] |= source.versions(["torchao"])
    elif job.precision != "fp32":
        _, manifest["lower"] = torch_program.lower(model, job, feeds)
    one_row = torch_program.arguments(model, feeds, 1, job.device)
    return manifest | {
        "engine": "torch-compile",
        "device": job.device,
        "mode": "max-autotune-no-cudagraphs" if job.device == "cuda" else None,
        "freezing": torch_measure.packs(torch_program.fresh(model, job.device), one_row),
        "warm": _sizes(job.max_batch),
        "cache_for": torch_compiled.machine(job.device),
        "portable": True,
    }


def _anew(into: Path, manifest: dict[str, Any]) -> TorchEngine:
    """Dynamo counts the programs that it made for one piece of code, whatever module it belongs to."""
    import torch

    torch._dynamo.reset()  # noqa: SLF001 - the documented name
    return torch_compiled.compiled(into, manifest)


def _sizes(largest: int) -> list[int]:
    """Dynamo makes one program for a batch of 1, one for all from 2 on, and more where a kernel's choice needs them."""
    powers = {1 << i for i in range(largest.bit_length())}
    return sorted(powers | {largest}, key=lambda rows: (rows == 1, rows))
