"""What the compilers of PyTorch share: refusals, example arguments, exported programs with a free batch dimension."""

from __future__ import annotations

import contextlib
import copy
import inspect
import io
import os
import platform
import shutil
import time
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from .. import fingerprint, source
from ..engines import torch_eager, torch_lower, torch_script, torch_values
from ..errors import Unsupported
from ..ports import Engine
from ..words import About, Arrays, Device, Job, Model, Precision

ROWS = 5
"""Of the traced example. torch.export freezes sizes 0 and 1, so an example of one row must never be traced as it is."""

_PRODUCTS = ("linear", "addmm", "mm")
_PAYS = 1e6
"""Operations of one product. A packed oneDNN kernel takes about 15 us a call, however small its work."""

Feeds = list[dict[str, Any]]


def refusal(about: About, precision: Precision, device: Device) -> str | None:
    """What every target of PyTorch refuses, int8 apart."""
    if about.flavour != "pytorch":
        return f"it takes PyTorch modules; this is a {about.flavour} model"
    if absent := source.missing({"torch"}):
        return absent
    if any(i.dtype == "object" for i in about.inputs):
        return "PyTorch has no tensors of strings"
    return _no_gpu(precision) if device == "cuda" else _no_half(precision)


def _no_gpu(precision: Precision) -> str | None:
    if not fingerprint.gpus():
        return "no NVIDIA GPU here"
    if version("torch").endswith("+cpu"):
        return "this PyTorch was built without CUDA"
    capability = fingerprint.gpus()[0].capability
    if precision == "bf16" and float(capability or 0) < 8:
        return f"a GPU of compute capability {capability} has no bf16 arithmetic, 8.0 has"
    return None


def _no_half(precision: Precision) -> str | None:
    if precision == "fp16":
        return "fp16 is for GPUs; a CPU's short floats are bf16"
    if precision == "bf16" and not {"avx512_bf16", "amx_bf16"} & fingerprint.cpu_features():
        return "this CPU has no bf16 arithmetic"
    return None


def no_compiler() -> str | None:
    """Inductor's generated code is C++, on a GPU its launchers are."""
    return None if shutil.which(os.environ.get("CXX", "g++")) else "no C++ compiler (g++) here"


def no_torchao() -> str | None:
    try:
        version("torchao")
    except PackageNotFoundError:
        return "torchao not installed"
    return None


def no_x86() -> str | None:
    return None if platform.machine() in ("x86_64", "AMD64") else "int8 kernels are made for x86 processors"


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
        x = rows(model, count)
        engine.run(x)
        product *= min(_timed(lambda x=x: engine.run(x)) for _ in range(20))  # type: ignore[misc]
    return product


def _timed(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
