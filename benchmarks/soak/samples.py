"""What the parts of one pipeline hold at a moment, and how fast that grows.

Memory goes up in jumps and stays where it is: what was read ten seconds later says hardly anything new, and least
squares with its usual error would call a single jump a proven growth. So the slope is the median of the slopes of all
pairs (Theil and Sen), and its error comes from how differently long blocks of time grew.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil
from scipy.stats import t

from benchmarks.chaos.stage import Stage
from benchmarks.chaos.strikes import FULL

MIB = 2**20
_CONFIDENT = 0.975
_BLOCKS = 10
_LEAST = 6
"""Samples of which a slope is told."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Memory in bytes and open files of each part. `at`: seconds since the beginning."""

    at: float
    memory: dict[str, int] = field(default_factory=dict)
    files: dict[str, int] = field(default_factory=dict)
    processes: int = 0
    logs: int = 0
    """Bytes of access logs and captured traffic, which are bounded."""
    state: int = 0
    """Bytes of everything else: mostly the log of events and looks, of which nothing is ever taken away."""

    @property
    def disk(self) -> int:
        return self.logs + self.state


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
    return Sample(time.monotonic() - began, memory, files, len(found), *used(stage.home.root))


def used(folder: Path) -> tuple[int, int]:
    """Bytes of logs, and of the other files below, without the one that fills the disk now and then."""
    logs = others = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):
            if path.is_file() and not path.is_symlink() and path.name != FULL:
                size = path.stat().st_size
                logged = {"log", "logs", "capture"} & set(path.relative_to(folder).parts)
                logs, others = (logs + size, others) if logged else (logs, others + size)
    return logs, others


def slope(samples: Iterable[Sample], part: str) -> tuple[float, float]:
    """MiB per hour, and the half-width of its 95 % interval. NaN of fewer than six samples."""
    points = [(one.at / 3600, one.memory[part] / MIB) for one in samples if part in one.memory]
    return fitted(points)


def fitted(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """`points`: of hours and values."""
    if len(points) < _LEAST:
        return float("nan"), float("nan")
    x, y = np.array(points).T
    first, second = np.triu_indices(len(points), 1)
    by = float(np.median((y[second] - y[first]) / (x[second] - x[first])))
    blocks = np.array_split(np.arange(len(points)), min(_BLOCKS, len(points) // 2))
    grown = np.diff([y[block].mean() for block in blocks]) / np.diff([x[block].mean() for block in blocks])
    error = float(grown.std(ddof=1)) / len(grown) ** 0.5
    return by, float(t.ppf(_CONFIDENT, len(grown) - 1)) * error
