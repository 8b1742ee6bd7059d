"""AOTInductor: a shared library of compiled kernels. It is tied to PyTorch's version and to the processor or GPU."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import torch_graphs, torch_values
from .torch_eager import TorchEngine


def load(folder: Path, manifest: Mapping[str, Any], threads: int | None) -> TorchEngine:
    torch_values.use(threads)
    loader = package(folder / manifest["file"])

    def call(*arguments: Any) -> Any:
        return loader.boxed_run(list(arguments))

    return TorchEngine(torch_graphs.graphed(call, manifest), manifest)


def package(path: Path) -> Any:
    """By the C++ loader. `torch._inductor.aoti_load_package` takes 3 s and 90 MB more, because it imports the compiler.

    Neither refuses a package made for another machine: the fingerprint does.
    """
    import torch

    # One runner, without locks between threads: the service calls from one thread, and CUDA graphs need it.
    return torch._C._aoti.AOTIModelPackageLoader(str(path), "model", True, 1, -1)  # noqa: SLF001, FBT003
