"""PyTorch as it was logged: an exported program (pt2), a pickled module that its owner vouched for, or TorchScript."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from threading import Lock
from typing import Any

from ..words import Arrays
from . import torch_lower, torch_values


class TorchEngine:
    """`call` takes tensors on the manifest's device. Recorded graphs have one place for their answers, hence a lock."""

    def __init__(self, call: Callable[..., Any], manifest: Mapping[str, Any]) -> None:
        self._call = call
        self._feeds = manifest["feeds"]
        self._outputs = manifest["outputs"]
        self._device = manifest.get("device", "cpu")
        self._alone: AbstractContextManager[Any] = Lock() if manifest.get("graphs") else nullcontext()

    def run(self, x: Arrays) -> Arrays:
        import torch

        with self._alone, torch.inference_mode():
            answer = self._call(*torch_values.tensors(self._feeds, x, self._device))
            return torch_values.arrays(self._outputs, answer)


class EagerEngine(TorchEngine):
    """A module may answer in the same tensor again, while the answer before still waits to be sent: hence copies."""

    def run(self, x: Arrays) -> Arrays:
        return {name: value.copy() for name, value in super().run(x).items()}


def load(folder: Path, manifest: Mapping[str, Any], threads: int | None) -> TorchEngine:
    torch_values.use(threads)
    return EagerEngine(module(folder, manifest), manifest)


def module(folder: Path, manifest: Mapping[str, Any]) -> Any:
    """On the manifest's device and in its precision."""
    device, storage = manifest.get("device", "cpu"), manifest["storage"]
    path = folder / manifest["file"]
    if storage == "pt2":
        found = exported(path, device, guarded=manifest.get("guarded", False))
    else:
        found = {"pickle": _pickled, "torchscript": _scripted}[storage](path, device)
    lower = manifest.get("lower")
    return torch_lower.lowered(found, lower["to"], lower["how"], device) if lower else found


def _pickled(path: Path, device: str) -> Any:
    import torch

    # A pickle gets here only when the spec's `model.trust.pickle` let the registry load it.
    return torch.load(path, map_location=device, weights_only=False).eval()


def _scripted(path: Path, device: str) -> Any:
    from .torch_script import silent

    with silent():
        import torch

        return torch.jit.load(str(path), map_location=device)


def exported(path: Path, device: str, *, guarded: bool = False) -> Any:
    """`guarded`: with its checks of the inputs, where the signature leaves sizes free that the program may not."""
    import torch

    program = torch.export.load(path)
    if device != "cpu":
        # Operations that make tensors name their device, which moving the module would leave as it was.
        program = torch.export.passes.move_to_device_pass(program, device)
    return program.module() if guarded else unguarded(program)


def unguarded(program: Any) -> Any:
    """The program's module without its checks of the inputs, which cost more than a small model; the service checks."""
    found = program.module()
    for node in list(found.graph.nodes):
        if node.op == "call_module" and node.target == "_guards_fn":
            found.graph.erase_node(node)
    found.recompile()
    found.validate_inputs = False
    return found
