"""Torch-TensorRT: an exported program that holds TensorRT's engines for one GPU. No test has run it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import torch_values
from .torch_eager import TorchEngine, unguarded


def load(folder: Path, manifest: Mapping[str, Any], threads: int | None) -> TorchEngine:
    import torch
    import torch_tensorrt  # type: ignore[import-not-found, unused-ignore]  # noqa: F401 - it registers the engines' type

    torch_values.use(threads)
    return TorchEngine(unguarded(torch.export.load(folder / manifest["file"])), manifest)
