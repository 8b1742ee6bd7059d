"""ONNX Runtime's providers on NVIDIA GPUs: whether they are here, and how they are asked to compute.

No GPU was at hand: no test has run these options. See docs/limits.md.
"""

from __future__ import annotations

import ctypes.util
import importlib.util
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from .. import fingerprint
from ..engines.onnx import CPU, CUDA, TENSORRT, Provider
from ..words import Device, Precision

_TENSORRT_PACKAGES = ("tensorrt", "tensorrt-cu13", "tensorrt-cu12")


def absent(name: str) -> str | None:
    """One line: why this machine cannot run that provider. Looks for files only."""
    if name == CPU:
        return None
    if not fingerprint.gpus():
        return "no NVIDIA GPU here"
    library = {CUDA: "cuda", TENSORRT: "tensorrt"}[name]
    found = importlib.util.find_spec("onnxruntime")
    folders = found.submodule_search_locations if found else None
    if not any((Path(folder) / "capi" / f"libonnxruntime_providers_{library}.so").exists() for folder in folders or ()):
        return f"this onnxruntime has no {name}: pip install onnxruntime-gpu"
    if name == TENSORRT and not (ctypes.util.find_library("nvinfer") or importlib.util.find_spec("tensorrt_libs")):
        return "TensorRT's libraries are not installed: pip install tensorrt"
    return None


def plain(device: Device) -> list[Provider]:
    return [CPU] if device == "cpu" else [_cuda(), CPU]


def _cuda() -> Provider:
    options = {
        "device_id": "0",
        "arena_extend_strategy": "kSameAsRequested",  # else it doubles, and a second replica finds no memory
        "cudnn_conv_algo_search": "HEURISTIC",  # the exhaustive search runs again for each new batch size
        "use_tf32": "0",  # its 10 bits are not what a spec means by fp32; fp16 is there to be chosen
    }
    return [CUDA, options]


def tensorrt(precision: Precision, shapes: dict[str, tuple[int, ...]], max_batch: int) -> list[Provider]:
    """`shapes` are of one row of each input. The engines are tuned for the middle of 1 and `max_batch` on a log scale.

    Raises no error where TensorRT cannot take a node: CUDA's provider runs it.
    """
    usual = max(1, round(max_batch**0.5))
    options = {
        "device_id": "0",
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": cache_name(),
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": cache_name(),
        "trt_profile_min_shapes": _profile(shapes, 1),
        "trt_profile_opt_shapes": _profile(shapes, usual),
        "trt_profile_max_shapes": _profile(shapes, max_batch),
    }
    if precision != "fp32":
        options[f"trt_{precision}_enable"] = "1"
    return [[TENSORRT, options], _cuda(), CPU]


def _profile(shapes: dict[str, tuple[int, ...]], rows: int) -> str:
    return ",".join(f"{name}:{'x'.join(map(str, (rows, *shape)))}" for name, shape in shapes.items())


def cache_name() -> str:
    """Engines run on this kind of GPU and this TensorRT only: `nvidia-l4-sm89-trt10.13.2`."""
    gpus = fingerprint.gpus()
    gpu = f"{gpus[0].name}-sm{gpus[0].capability.replace('.', '')}" if gpus else "no-gpu"
    return re.sub(r"[^a-z0-9.]+", "-", f"{gpu}-trt{_tensorrt_version()}".lower())


def _tensorrt_version() -> str:
    """Of the Python package, else of the library that ONNX Runtime will load."""
    for name in _TENSORRT_PACKAGES:
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    library = ctypes.util.find_library("nvinfer")
    return str(ctypes.CDLL(library).getInferLibVersion()) if library else "unknown"


def packages() -> dict[str, Any]:
    """What a replica on TensorRT needs beside onnxruntime, pinned."""
    return {name: version(name) for name in _TENSORRT_PACKAGES if _installed(name)}


def _installed(name: str) -> bool:
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True
