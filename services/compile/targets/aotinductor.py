"""AOTInductor: torch.export, then C++ (or Triton) kernels in a shared library. Loading needs no compiler."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .. import source
from ..engines import torch_aoti, torch_compiled, torch_eager, torch_lower, torch_values
from ..errors import Unsupported
from ..ports import Compiler
from ..words import About, Device, Job, Model, Precision
from . import torch_measure, torch_program, torch_quantize, torch_refusals

FILE = "model.pt2"
Feeds = list[dict[str, Any]]


class AotInductor(Compiler):
    target = "aotinductor"
    heavy = True

    def supports(self, about: About, precision: Precision, device: Device) -> str | None:
        refused = torch_refusals.refusal(about, precision, device) or torch_refusals.held(about)
        refused = refused or torch_compiled.no_compiler()
        if refused or precision != "int8":
            return refused
        return torch_refusals.no_torchao() or (torch_refusals.no_x86() if device == "cpu" else None)

    def compile(self, model: Model, job: Job, into: Path) -> dict[str, Any]:
        # The generated code holds the number of threads that it was made with.
        torch_values.use(job.threads)
        torch_program.no_script(model)
        feeds, outputs = source.tensors(model), source.outputs(model)
        with source.quiet(), torch_compiled.inductor_cache():
            config = _package(model, job, feeds, into / FILE)
        manifest = {
            "engine": "aotinductor",
            "file": FILE,
            "feeds": feeds,
            "outputs": outputs,
            "sizes": [list(tensor.shape[1:]) for tensor in torch_program.arguments(model, feeds, 1)],
            "device": job.device,
            "packages": source.versions(["torch"]),
            "portable": False,
            "inductor": config,
            "made_for": dict(torch_aoti.package(into / FILE).get_metadata()),
        }
        return manifest | torch_measure.recorded(
            lambda graphs: torch_aoti.load(into, manifest | graphs, job.threads), model, job
        )


def _package(model: Model, job: Job, feeds: Feeds, path: Path) -> dict[str, Any]:
    """Returns the configuration that was used."""
    import torch

    program, lower = _program(model, job, feeds)
    one_row = torch_program.arguments(model, feeds, 1, job.device)
    frozen = job.precision == "int8" or torch_measure.packs(torch_eager.unguarded(program), one_row)
    # Gradients forbid freezing, without a word. max_autotune doubled the time to compile and gained nothing on CPU.
    with torch.no_grad():
        torch._inductor.aoti_compile_and_package(  # noqa: SLF001 - the documented name
            program, package_path=str(path), inductor_configs={"freezing": frozen}
        )
    return {"freezing": frozen, "lower": lower}


def _program(model: Model, job: Job, feeds: Feeds) -> tuple[Any, Any]:
    example = torch_program.arguments(model, feeds, device=job.device)
    if job.precision in torch_lower.DTYPES:
        module, lower = torch_program.lower(model, job, feeds)
        return torch_program.exported(module, example), lower
    if job.precision == "int8" and job.device == "cpu":
        return torch_quantize.program(model, job, feeds)
    if job.precision == "int8":
        return _weights_only_on_cuda(model, job, example)
    if job.device == "cpu":
        return torch_program.program(model, feeds), None
    return torch_program.exported(torch_program.fresh(model, job.device), example), None


def _weights_only_on_cuda(model: Model, job: Job, example: tuple[Any, ...]) -> tuple[Any, Any]:
    if model.about.storage == "pt2":
        raise Unsupported("torchao quantises layers, and an exported program has none")
    module = torch_lower.lowered(torch_program.fresh(model, job.device), job.precision, "torchao", job.device)
    return torch_program.exported(module, example), {"to": "int8", "how": "torchao"}
