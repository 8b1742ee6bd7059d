"""OpenVINO on the CPU: machine code is made here, when the model is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from threading import Lock
from typing import Any

from ..words import Arrays
from . import feeds


class OpenVinoEngine:
    """A compiled model has one request at a time; the lock keeps a second caller waiting where OpenVINO would raise."""

    def __init__(self, compiled: Any, manifest: Mapping[str, Any]) -> None:
        self._request = compiled.create_infer_request()
        self._feeds = manifest["feeds"]
        self._outputs = manifest["outputs"]
        self._ports = [compiled.output(o["from"]) for o in self._outputs]
        self._lock = Lock()

    def run(self, x: Arrays) -> Arrays:
        given = {fed["to"]: feeds.take(fed, x) for fed in self._feeds}
        with self._lock:
            found = self._request.infer(given, share_inputs=True)
        return feeds.name_outputs(self._outputs, (found[port] for port in self._ports))


def load(folder: Path, manifest: Mapping[str, Any], threads: int | None) -> OpenVinoEngine:
    """`hint` of the manifest is the precision of floats: without it OpenVINO takes bf16 wherever the CPU has it."""
    import openvino

    settings: dict[str, Any] = {
        "INFERENCE_PRECISION_HINT": manifest["hint"],
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
        "ENABLE_CPU_PINNING": False,  # several replicas would be pinned to the same cores
    }
    if threads is not None:
        settings["INFERENCE_NUM_THREADS"] = threads
    compiled = openvino.Core().compile_model(str(folder / manifest["file"]), "CPU", settings)
    return OpenVinoEngine(compiled, manifest)
