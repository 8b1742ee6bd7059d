"""AOTInductor: a shared library of compiled kernels. It is tied to PyTorch's version and to the processor or GPU."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import torch_graphs, torch_values
from .torch_eager import TorchEngine


def load(folder: Path, manifest: Mapping[str, Any], threads: int | None) -> TorchEngine:
    torch_values.use(threads)
    loader = package(folder / manifest["file"], alone=bool(manifest.get("graphs")))
    wanted = [tuple(sizes) for sizes in manifest["sizes"]]

    def call(*arguments: Any) -> Any:
        """Kernels read memory by the sizes that they were made for, wherever the arguments end.

        AOTInductor's own check (AOTI_RUNTIME_CHECK_INPUTS) also refuses batches that the kernels answer rightly.
        """
        given = [argument.shape[1:] for argument in arguments]
        if given != wanted:
            raise ValueError(f"rows of sizes {[*map(tuple, given)]}, where the kernels are for {wanted}")
        return loader.boxed_run(list(arguments))

    return TorchEngine(torch_graphs.graphed(call, manifest), manifest)


def package(path: Path, *, alone: bool = False) -> Any:
    """By the C++ loader. `torch._inductor.aoti_load_package` takes 3 s and 90 MB more, because it imports the compiler.

    Neither refuses a package made for another machine: the fingerprint does. `alone`: without the locks between
    threads, which CUDA graphs cannot record.
    """
    import torch

    return torch._C._aoti.AOTIModelPackageLoader(str(path), "model", alone, 1, -1)  # noqa: SLF001 - one runner
