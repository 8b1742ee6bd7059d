"""What PyTorch cannot on this machine, in a line. Nothing of PyTorch is loaded."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

from .. import fingerprint, source
from ..words import About, Device, Precision


def refusal(about: About, precision: Precision, device: Device) -> str | None:
    """What every target of PyTorch refuses, int8 apart."""
    if about.flavour != "pytorch":
        return f"it takes PyTorch modules; this is a {about.flavour} model"
    if absent := source.missing({"torch"}):
        return absent
    if any(i.dtype == "object" for i in about.inputs):
        return "PyTorch has no tensors of strings"
    return _no_gpu(precision) if device == "cuda" else _no_half(precision)


def held(about: About) -> str | None:
    """What is exported or traced frees the rows only; and AOTInductor's kernels read beyond what they do not expect."""
    return source.held(about, "eager or torch-compile")


def _no_gpu(precision: Precision) -> str | None:
    if not fingerprint.gpus():
        return "no NVIDIA GPU here"
    if version("torch").endswith("+cpu"):
        return "this PyTorch was built without CUDA"
    capability = fingerprint.gpus()[0].capability
    if precision == "bf16" and float(capability or 0) < 8:
        return f"a GPU of compute capability {capability} has no bf16 arithmetic, 8.0 has"
    return None


def _no_half(precision: Precision) -> str | None:
    if precision == "fp16":
        return "fp16 is for GPUs; a CPU's short floats are bf16"
    if precision == "bf16" and not {"avx512_bf16", "amx_bf16"} & fingerprint.cpu_features():
        return "this CPU has no bf16 arithmetic"
    return None


def no_torchao() -> str | None:
    try:
        version("torchao")
    except PackageNotFoundError:
        return "torchao not installed"
    return None


def no_x86() -> str | None:
    return None if platform.machine() in ("x86_64", "AMD64") else "int8 kernels are made for x86 processors"
