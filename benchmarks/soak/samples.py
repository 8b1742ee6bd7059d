"""What the parts of one pipeline hold at a moment, and how fast that grows."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil

from benchmarks.chaos.stage import Stage
from benchmarks.chaos.strikes import FULL

MIB = 2**20
_CONFIDENT = 1.96


@dataclass(frozen=True, slots=True)
class Sample:
    """Memory in bytes and open files of each part. `at`: seconds since the beginning."""

    at: float
    memory: dict[str, int] = field(default_factory=dict)
    files: dict[str, int] = field(default_factory=dict)
    processes: int = 0
    disk: int = 0


def taken(stage: Stage, began: float, controller: int) -> Sample:
    """`controller`: the process that drives the held rollout, or 0."""
    memory: dict[str, int] = {}
    files: dict[str, int] = {}
    found = stage.processes()
    for process in found:
        with contextlib.suppress(psutil.Error):
            part = "controller" if process.pid == controller else "envoy" if process.name() == "envoy" else "others"
            memory[part] = memory.get(part, 0) + process.memory_info().rss
            files[part] = files.get(part, 0) + process.num_fds()
    return Sample(time.monotonic() - began, memory, files, len(found), used(stage.home.root))


def used(folder: Path) -> int:
    """Bytes of the files below, without the one that fills the disk now and then."""
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):
            if path.is_file() and not path.is_symlink() and path.name != FULL:
                total += path.stat().st_size
    return total


def slope(samples: Iterable[Sample], part: str) -> tuple[float, float]:
    """MiB per hour by least squares, and the half-width of its 95 % interval. NaN of fewer than three samples."""
    points = [(one.at / 3600, one.memory[part] / MIB) for one in samples if part in one.memory]
    return fitted(points)


def fitted(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    if len(points) < 3:
        return float("nan"), float("nan")
    x, y = np.array(points).T
    spread = float(((x - x.mean()) ** 2).sum())
    by = float(((x - x.mean()) * (y - y.mean())).sum()) / spread
    rest = y - y.mean() - by * (x - x.mean())
    error = float((rest**2).sum()) / (len(points) - 2) / spread
    return by, _CONFIDENT * error**0.5
