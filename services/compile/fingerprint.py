"""What an artifact's machine code and its proof depend on: processor, accelerator, driver and libraries."""

from __future__ import annotations

import platform
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from .words import Device

_KERNELS_BY = ("sse4", "avx", "fma", "f16c", "bmi", "amx", "asimd", "sve", "bf16", "i8mm")
"""Beginnings of the processor flags by which libraries and compilers choose kernels."""
_ASK_GPUS = ("nvidia-smi", "--query-gpu=name,compute_cap,driver_version", "--format=csv,noheader")


@dataclass(frozen=True, slots=True)
class Gpu:
    name: str
    capability: str
    driver: str


@cache
def gpus() -> tuple[Gpu, ...]:
    """NVIDIA GPUs as the driver lists them; none where there is no driver. No vendor library is loaded."""
    try:
        said = subprocess.run(_ASK_GPUS, capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ()
    lines = (tuple(part.strip() for part in line.split(",")) for line in said.splitlines())
    return tuple(Gpu(*line) for line in lines if len(line) == 3)


@cache
def cpu_features() -> frozenset[str]:
    """Instruction sets of this processor that kernels are chosen by; empty where the system does not tell."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return frozenset()
    for line in text.splitlines():
        if line.startswith(("flags", "Features")):
            return frozenset(flag for flag in line.partition(":")[2].split() if flag.startswith(_KERNELS_BY))
    return frozenset()


def machine(device: Device) -> dict[str, Any]:
    """Of this machine, as JSON values; the GPU only where the artifact is for it."""
    found: dict[str, Any] = {
        "system": sys.platform,
        "machine": platform.machine(),
        "python": ".".join(platform.python_version_tuple()[:2]),
        "cpu": sorted(cpu_features()),
    }
    if device == "cuda":
        gpu = gpus()[0] if gpus() else Gpu("none", "", "")
        found |= {"gpu": gpu.name, "capability": gpu.capability, "driver": gpu.driver}
    return found


def libraries(names: Iterable[str]) -> dict[str, str]:
    """Installed versions of these distributions, local build tags (`+cpu`, `+cu130`) and all."""
    found = {}
    for name in sorted(names):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def of(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The fingerprint of an artifact with this manifest, were it made here and now."""
    return {
        "target": manifest["target"],
        "precision": manifest["precision"],
        **machine(manifest["device"]),
        "libraries": libraries(manifest["packages"]),
    }


def differences(made: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """Sentences' parts: what is different here from where the artifact was proven; what was not written down is."""
    found = []
    for key in {**made, **here}:
        was, now = made.get(key), here.get(key)
        if was == now:
            continue
        if key == "cpu":
            found.append(_features(set(was or ()), set(now or ())))
        elif key == "libraries":
            found += _versions(was or {}, now or {})
        else:
            found.append(f"{key} {was or 'unknown'} there, {now or 'unknown'} here")
    return found


def _versions(was: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    names = [name for name in {**was, **now} if was.get(name) != now.get(name)]
    return [f"{name} {was.get(name, 'none')} there, {now.get(name, 'none')} here" for name in names]


def _features(was: set[str], now: set[str]) -> str:
    lost, new = sorted(was - now), sorted(now - was)
    parts = ([f"without {' '.join(lost)}"] if lost else []) + ([f"with {' '.join(new)}"] if new else [])
    return f"a processor {' and '.join(parts)}"
