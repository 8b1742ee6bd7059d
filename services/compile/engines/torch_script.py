"""TorchScript: the program of a trace, run without Python. Legacy: PyTorch deprecates every part of it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from . import torch_values
from .torch_eager import TorchEngine


def load(folder: Path, manifest: Mapping[str, Any], threads: int | None) -> TorchEngine:
    import torch

    torch_values.use(threads)
    with silent():
        found = torch.jit.load(str(folder / manifest["file"]), map_location=manifest["device"])
        return TorchEngine(optimised(found) if manifest["optimised"] else found, manifest)


def optimised(frozen: Any) -> Any:
    """For this machine's kernels, so not in the file."""
    import torch

    with torch.no_grad():
        return torch.jit.optimize_for_inference(frozen)


@contextmanager
def silent() -> Iterator[None]:
    """Only what TorchScript says about its own end."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r".*`torch\.jit\.", DeprecationWarning)
        yield
