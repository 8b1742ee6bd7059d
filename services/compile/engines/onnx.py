"""ONNX Runtime on the CPU; `onnx_bound` is its form on a GPU."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..words import Arrays
from . import feeds

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
TENSORRT = "TensorrtExecutionProvider"
Provider = str | list[Any]
"""A name, or `[name, options]`."""


class OnnxEngine:
    def __init__(self, session: Any, manifest: Mapping[str, Any]) -> None:
        self._session = session
        self._feeds = manifest["feeds"]
        self._outputs = manifest["outputs"]
        self._wanted = [o["from"] for o in self._outputs]

    def run(self, x: Arrays) -> Arrays:
        return self._named(self._session.run(self._wanted, {fed["to"]: feeds.take(fed, x) for fed in self._feeds}))

    def _named(self, values: Sequence[Any]) -> Arrays:
        return feeds.name_outputs(self._outputs, map(_array, values))


def _array(value: Any) -> Any:
    """ZipMap answers a list of {class: probability}; its columns are the classes in the graph's order."""
    if isinstance(value, list) and value and isinstance(value[0], Mapping):
        return [list(row.values()) for row in value]
    return value.astype("float32") if getattr(value, "dtype", None) == "float16" else value


def load(folder: Path, manifest: Mapping[str, Any], threads: int | None) -> OnnxEngine:
    providers: list[Provider] = list(manifest.get("providers") or [CPU])
    loaded = session(folder / manifest["file"], providers, threads)
    if _name(providers[0]) == CPU:
        return OnnxEngine(loaded, manifest)
    from .onnx_bound import BoundEngine

    return BoundEngine(loaded, manifest)


def session(path: Path, providers: Sequence[Provider] = (CPU,), threads: int | None = None) -> Any:
    """On the providers that are asked for. Raises `RuntimeError` where ONNX Runtime falls back from the first one.

    A relative path among the providers' options is beside the model.
    """
    import onnxruntime

    wanted = _name(providers[0])
    _preload(wanted)
    placed = [_placed(provider, path.parent) for provider in providers]
    opened = onnxruntime.InferenceSession(str(path), _options(wanted, threads), providers=placed)
    _really(opened, wanted)
    return opened


def _options(wanted: str, threads: int | None) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    # A pattern is planned for each batch size anew and kept: 404 MB instead of 243 for a small BERT, no faster.
    options.enable_mem_pattern = False
    if wanted != CPU:
        options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    if threads is not None:
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def _preload(wanted: str) -> None:
    """CUDA's, cuDNN's and TensorRT's libraries may lie in Python packages, where the loader does not look."""
    if wanted == CPU:
        return
    import onnxruntime

    if hasattr(onnxruntime, "preload_dlls"):
        with contextlib.redirect_stdout(sys.stderr):
            onnxruntime.preload_dlls()
    if wanted == TENSORRT:
        with contextlib.suppress(ImportError):
            import tensorrt_libs  # type: ignore[import-not-found, unused-ignore] # noqa: F401 - loads libnvinfer


def _name(provider: Provider) -> str:
    return provider if isinstance(provider, str) else str(provider[0])


def _placed(provider: Provider, folder: Path) -> Any:
    if isinstance(provider, str):
        return provider
    name, options = provider
    return name, {key: str(folder / value) if key.endswith("_cache_path") else value for key, value in options.items()}


def _really(opened: Any, wanted: str) -> None:
    """ONNX Runtime falls back to the CPU with a line on stderr; it may also keep a provider and give it no node."""
    first = opened.get_providers()[0]
    if first != wanted:
        raise RuntimeError(f"ONNX Runtime fell back from {wanted} to {first}: the libraries that {wanted} needs are "
                           "not found; its line on stderr names them")  # fmt: skip
    if wanted == CPU or not hasattr(opened, "get_provider_graph_assignment_info"):
        return
    used = sorted({part.ep_name for part in opened.get_provider_graph_assignment_info()})
    if wanted not in used:
        raise RuntimeError(f"ONNX Runtime gave {wanted} no node of the graph; it runs on {' and '.join(used)}")
