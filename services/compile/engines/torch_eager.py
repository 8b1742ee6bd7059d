"""PyTorch as it was logged: an exported program (pt2), or a pickled module that its owner vouched for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..words import Arrays
from . import feeds


class TorchEngine:
    def __init__(self, module: Any, manifest: Mapping[str, Any]) -> None:
        self._module = module
        self._feeds = manifest["feeds"]
        self._outputs = manifest["outputs"]

    def run(self, x: Arrays) -> Arrays:
        import torch

        with torch.inference_mode():
            answer = self._module(*(torch.from_numpy(feeds.take(fed, x)) for fed in self._feeds))
            return feeds.name_outputs(self._outputs, map(_array, _values(answer)))


def _values(answer: Any) -> list[Any]:
    if isinstance(answer, Mapping):
        return list(answer.values())
    return list(answer) if isinstance(answer, tuple | list) else [answer]


def _array(tensor: Any) -> Any:
    """Numpy has no bfloat16."""
    tensor = tensor.cpu()
    return (tensor.float() if str(tensor.dtype) == "torch.bfloat16" else tensor).numpy()


def load(folder: Path, manifest: Mapping[str, Any], threads: int | None) -> TorchEngine:
    import torch

    if threads is not None:
        torch.set_num_threads(threads)
    path = folder / manifest["file"]
    if manifest["storage"] == "pt2":
        return TorchEngine(torch.export.load(path).module(), manifest)
    # A pickle gets here only when the spec's `model.trust.pickle` let the registry load it.
    module = torch.load(path, map_location="cpu", weights_only=False)
    return TorchEngine(module.eval(), manifest)
