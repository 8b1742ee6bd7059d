"""What the compilers of PyTorch share: example arguments, modules to change, programs with a free batch dimension."""

from __future__ import annotations

import copy
import inspect
import io
from typing import Any

import numpy as np

from .. import source
from ..engines import torch_eager, torch_lower, torch_script, torch_values
from ..errors import Unsupported
from ..words import Arrays, Job, Model

ROWS = 5
"""Of the traced example. torch.export freezes sizes 0 and 1, so an example of one row must never be traced as it is."""

Feeds = list[dict[str, Any]]


def scripted(model: Model) -> bool:
    """A TorchScript module, which MLflow keeps where others have a pickle."""
    import torch

    return isinstance(model.native, torch.jit.ScriptModule)


def no_script(model: Model) -> None:
    if scripted(model):
        raise Unsupported("the model is TorchScript, which is compiled already: its target is torchscript")


def rows(model: Model, count: int) -> Arrays:
    """The example's, again and again."""
    return {name: value[np.arange(count) % len(value)] for name, value in model.about.example.items()}


def arguments(model: Model, feeds: Feeds, count: int = ROWS, device: str = "cpu") -> tuple[Any, ...]:
    return tuple(torch_values.tensors(feeds, rows(model, count), device))


def program(model: Model, feeds: Feeds) -> Any:
    """The source as an exported program, unchanged."""
    import torch

    if model.about.storage == "pt2":
        return torch.export.load(model.about.file)
    no_script(model)
    return exported(model.native.eval(), arguments(model, feeds))


def exported(module: Any, example: tuple[Any, ...]) -> Any:
    import torch

    with torch.no_grad():
        return torch.export.export(module, example, dynamic_shapes=_free(module, example))


def _free(module: Any, example: tuple[Any, ...]) -> Any:
    """The first dimension of each argument is the batch; a `forward(*args)` takes them as one tuple."""
    import torch

    batch = torch.export.Dim("batch")
    each = tuple({0: batch} for _ in example)
    kinds = [p.kind for p in inspect.signature(module.forward).parameters.values()]
    return (each,) if kinds and kinds[0] is inspect.Parameter.VAR_POSITIONAL else each


def fresh(model: Model, device: str = "cpu") -> Any:
    """A module that may be changed: the source model goes on answering."""
    import torch

    if model.about.storage == "pt2":
        return torch_lower.settled(torch_eager.exported(model.about.file, device))
    if scripted(model):
        return _again(model.native, device)
    if not isinstance(model.native, torch.nn.Module):
        raise Unsupported(f"the file holds a {type(model.native).__name__}, not a module")
    return copy.deepcopy(model.native).to(device).eval()


def _again(native: Any, device: str) -> Any:
    import torch

    with torch_script.silent(), io.BytesIO() as file:
        torch.jit.save(native, file)
        file.seek(0)
        return torch.jit.load(file, map_location=device)


def lower(model: Model, job: Job, feeds: Feeds) -> tuple[Any, dict[str, str]]:
    """A module in the job's half precision, and what the manifest says of it.

    Cast as a whole where it answers finite numbers so; else by autocast, which is slower and takes any module.
    """
    failures = []
    hows: tuple[torch_lower.How, ...] = ("cast", "autocast")
    for how in hows:
        module = torch_lower.lowered(fresh(model, job.device), job.precision, how, job.device)
        if failure := _fails(module, model, job, feeds):
            failures.append(failure)
        else:
            return module, {"to": job.precision, "how": how}
    raise Unsupported(f"it does not run in {job.precision}: {failures[-1]}")


def _fails(module: Any, model: Model, job: Job, feeds: Feeds) -> str:
    import torch

    want = model.run(rows(model, ROWS))
    try:
        with torch.no_grad():
            answer = module(*arguments(model, feeds, ROWS, job.device))
            found = torch_values.arrays(source.outputs(model), answer)
    except Exception as error:  # noqa: BLE001 - a module raises anything
        return str(error).strip().partition("\n")[0][:200]
    lost = [n for n in want if want[n].dtype.kind == "f" and np.isfinite(want[n]).all() > np.isfinite(found[n]).all()]
    return f"output {lost[0]!r} overflows" if lost else ""
