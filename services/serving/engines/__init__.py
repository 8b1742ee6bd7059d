"""One file per engine. Each loads what one kind of compiler wrote; its library is imported only when it is used."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from ..schema import Arrays  # noqa: TID252 - this package is copied under another name

ENGINES = {"onnxruntime": "onnx", "torch": "torch_eager", "sklearn": "sklearn_eager"}


class Engine(Protocol):
    """Named arrays in, named arrays out; the first dimension of each is the row."""

    def run(self, x: Arrays) -> Arrays: ...


def load(folder: Path, manifest: Mapping[str, Any], threads: int | None = None) -> Engine:
    """The engine that the manifest names, over the files in `folder`. `threads` for one call; None is its default."""
    module = import_module(f"{__name__}.{ENGINES[manifest['engine']]}")
    engine: Engine = module.load(folder, manifest, threads)
    return engine
