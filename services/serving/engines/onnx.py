"""ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..schema import Arrays  # noqa: TID252 - this package is copied under another name
from . import feeds


class OnnxEngine:
    def __init__(self, session: Any, manifest: Mapping[str, Any]) -> None:
        self._session = session
        self._feeds = manifest["feeds"]
        self._outputs = manifest["outputs"]
        self._wanted = [o["from"] for o in self._outputs]

    def run(self, x: Arrays) -> Arrays:
        values = self._session.run(self._wanted, {fed["to"]: feeds.take(fed, x) for fed in self._feeds})
        return feeds.name_outputs(self._outputs, map(_array, values))


def _array(value: Any) -> Any:
    """ZipMap answers a list of {class: probability}; its columns are the classes in the graph's order."""
    if isinstance(value, list) and value and isinstance(value[0], Mapping):
        return [list(row.values()) for row in value]
    return value


def load(folder: Path, manifest: Mapping[str, Any], threads: int | None) -> OnnxEngine:
    """On the providers that the manifest names; a provider that silently falls back is an error."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if threads is not None:
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    providers = list(manifest.get("providers") or ["CPUExecutionProvider"])
    session = onnxruntime.InferenceSession(str(folder / manifest["file"]), options, providers=providers)
    if session.get_providers()[0] != providers[0]:
        raise RuntimeError(f"ONNX Runtime fell back from {providers[0]} to {session.get_providers()[0]}")
    return OnnxEngine(session, manifest)
