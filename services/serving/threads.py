"""Threads of one engine call, and the cores that there are for them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

VARIABLE = "LOCKGATE_ENGINE_THREADS"
_CGROUPS = Path("/sys/fs/cgroup")
_OF_THIS_PROCESS = Path("/proc/self/cgroup")


def threads(wanted: int) -> int:
    """Of an artifact that was proven with `wanted`: as many, as far as the cores go; the machine's owner wins."""
    return owner() or max(1, min(wanted, cores()))


def owner() -> int | None:
    """What the machine's owner says of every engine on it; None where that is nothing."""
    said = os.environ.get(VARIABLE, "")
    if not said:
        return None
    if not said.isdecimal() or not int(said):
        raise ValueError(f"{VARIABLE} is {said!r}; set it to a whole number of threads from 1 on, or unset it")
    return int(said)


def cores() -> int:
    """What this process may use: its affinity, and the quota of its control groups, rounded down. At least 1."""
    return max(1, int(min([float(len(os.sched_getaffinity(0))), *_quotas()])))


def _quotas() -> Iterator[float]:
    """In cores, of the process's group and of those above it; a container mostly sees its own as the root."""
    for line in filter(None, _read(_OF_THIS_PROCESS).split("\n")):
        _, controllers, name = line.split(":", 2)
        if controllers == "":
            root = _CGROUPS
        elif "cpu" in controllers.split(","):
            root = next((_CGROUPS / c for c in (controllers, "cpu") if (_CGROUPS / c).is_dir()), _CGROUPS / "cpu")
        else:
            continue
        group = root / name.lstrip("/")
        for folder in (group, *group.parents):
            with suppress(ValueError, ZeroDivisionError):  # no quota: `max`, -1, or no such file
                quota, period = _quota(folder)
                if quota > 0:
                    yield quota / period
            if folder == root:
                break


def _quota(folder: Path) -> tuple[float, float]:
    """Microseconds that may be used, and of how many. Version 2 of control groups, then version 1."""
    if said := _read(folder / "cpu.max").split():
        return float(said[0]), float(said[1])
    return float(_read(folder / "cpu.cfs_quota_us")), float(_read(folder / "cpu.cfs_period_us"))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="surrogateescape")  # as paths are: a group has any name
    except OSError:
        return ""
