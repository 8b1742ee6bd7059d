"""TorchScript: traced, frozen. Legacy: PyTorch deprecates it, and it is measured because it still may win."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .. import source
from ..engines import torch_lower, torch_script, torch_values
from ..errors import Unsupported
from ..ports import Compiler
from ..words import About, Device, Job, Model, Precision
from . import torch_program, torch_refusals

FILE = "model.ts"


class TorchScript(Compiler):
    target = "torchscript"
    legacy = True

    def supports(self, about: About, precision: Precision, device: Device) -> str | None:
        if precision == "int8":
            return "TorchScript has no way to int8 that is kept up: use aotinductor"
        return torch_refusals.refusal(about, precision, device) or torch_refusals.held(about)

    def compile(self, model: Model, job: Job, into: Path) -> dict[str, Any]:
        torch_values.use(job.threads)
        feeds, outputs = source.tensors(model), source.outputs(model)
        module, lower = _module(model, job, feeds)
        with torch_script.silent():
            frozen = _frozen(module, torch_program.arguments(model, feeds, device=job.device))
            frozen.save(str(into / FILE))
            batches = [torch_program.arguments(model, feeds, n, job.device) for n in (1, 2, job.max_batch)]
            answers = [_answer(frozen, batch) for batch in batches]
            optimised = _keeps(frozen, batches, answers)
        return {
            "engine": "torchscript",
            "file": FILE,
            "feeds": feeds,
            "outputs": outputs,
            "device": job.device,
            "lower": lower,
            "optimised": optimised,
            "legacy": True,
            "packages": source.versions(["torch"]),
            "portable": True,
        }


def _module(model: Model, job: Job, feeds: list[dict[str, Any]]) -> tuple[Any, dict[str, str] | None]:
    if job.precision != "fp32":
        module, lower = torch_program.lower(model, job, feeds)
    else:
        module = torch_lower.lowered(torch_program.fresh(model, job.device), job.precision, "as is", job.device)
        lower = None
    _measure_sizes(module)
    return module, lower


def _measure_sizes(module: Any) -> None:
    """An exported program asks sizes of operators that a trace takes for constants; tensors' own methods are recorded.

    Without it the trace holds the example's batch size.
    """
    import torch

    for part in module.modules():
        if isinstance(part, torch.fx.GraphModule):
            for node in part.graph.find_nodes(op="call_function", target=torch.ops.aten.sym_size.int):
                node.op, node.target = "call_method", "size"
            for node in part.graph.nodes:
                if any(isinstance(given.meta.get("val"), torch.SymInt) for given in node.all_input_nodes):
                    _by_name(node)
            part.recompile()


def _by_name(node: Any) -> None:
    """`torch.reshape` for `torch.ops.aten.reshape.default`, where there is such a function or method."""
    import torch

    if isinstance(node.target, torch._ops.OpOverload):  # noqa: SLF001 - the type has no public name
        name = node.target._schema.name.partition("::")[2]  # noqa: SLF001
        node.target = getattr(torch, name, None) or getattr(torch.Tensor, name, node.target)


def _frozen(module: Any, example: tuple[Any, ...]) -> Any:
    import torch

    with torch.no_grad():
        return torch.jit.freeze(torch.jit.trace(module, example, check_trace=False))


def _answer(frozen: Any, batch: tuple[Any, ...]) -> list[Any]:
    """Twice: the second call runs what was specialised on the first."""
    import torch

    try:
        with torch.inference_mode():
            frozen(*batch)
            answer = torch_values.values(frozen(*batch))
    except RuntimeError as error:
        line = next((text for text in reversed(str(error).splitlines()) if text.strip()), "")
        raise Unsupported(f"its trace does not answer a batch of {len(batch[0])}: {line.strip()[:200]}") from error
    if any(not v.ndim or len(v) != len(batch[0]) for v in answer):
        raise Unsupported("its trace holds the example's batch size")
    return answer


def _keeps(frozen: Any, batches: list[tuple[Any, ...]], answers: list[list[Any]]) -> bool:
    """Whether the answers stay when the trace is rewritten for this machine, which not every trace survives."""
    import torch

    try:
        found = torch_script.optimised(frozen)
        for batch, answer in zip(batches, answers, strict=True):
            for was, now in zip(answer, _answer(found, batch), strict=True):
                torch.testing.assert_close(now, was, rtol=1e-2, atol=1e-4, equal_nan=True)
    except (AssertionError, RuntimeError, Unsupported):
        return False
    return True
