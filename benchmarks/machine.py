"""This machine in one sentence, for the figures that were measured on it."""

from __future__ import annotations

import os
from pathlib import Path

from lockgate.services.compile.fingerprint import cpu_features, gpus, libraries

_TELLING = (
    *("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16"),
    *("amx_tile", "amx_bf16", "amx_int8", "asimd", "sve", "bf16", "i8mm"),
)
_LIBRARIES = ("torch", "onnxruntime", "onnxruntime-gpu", "openvino", "torchao", "tensorrt", "torch-tensorrt", "numpy")


def sentence(device: str) -> str:
    features = " ".join(flag for flag in _TELLING if flag in cpu_features())
    parts = [f"{_processor()}, {len(os.sched_getaffinity(0))} cores ({features or 'no vector features told'})"]
    if device == "cuda":
        parts += [f"{gpu.name}, capability {gpu.capability}, driver {gpu.driver}" for gpu in gpus()] or ["no GPU"]
    return "; ".join([*parts, " ".join(f"{name} {number}" for name, number in libraries(_LIBRARIES).items())])


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return "a processor"
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else "a processor"
