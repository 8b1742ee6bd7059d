"""One file per engine. Each loads what one kind of compiler wrote; its library is imported only when it is used."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from ..ports import Engine

ENGINES = {
    "onnxruntime": "onnx",
    "torch": "torch_eager",
    "torch-compile": "torch_compiled",
    "aotinductor": "torch_aoti",
    "torchscript": "torch_script",
    "torch-tensorrt": "torch_tensorrt",
    "sklearn": "sklearn_eager",
    "boosted": "boosted",
    "pyfunc": "pyfunc",
    "keras": "keras",
    "savedmodel": "savedmodel",
    "openvino": "openvino",
}


def load(folder: Path, manifest: Mapping[str, Any], threads: int | None = None) -> Engine:
    """The engine that the manifest names, over the files in `folder`. `threads` for one call; None is its default.

    An engine with a dot in its name is somebody else's module.
    """
    name: str = manifest["engine"]
    module = import_module(name if "." in name else f"{__name__}.{ENGINES[name]}")
    engine: Engine = module.load(folder, manifest, threads)
    return engine
