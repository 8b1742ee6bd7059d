"""The cores that this process may use.

Replicas read the same in `services.serving.threads`, which travels into bentos and so imports nothing of ours; and
neither this folder nor that one may import the other. A test holds the two against each other.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")
_OF_THIS_PROCESS = Path("/proc/self/cgroup")


def cores() -> int:
    """Its affinity, and the quota of its control groups: a container's limit of CPU changes no affinity. At least 1."""
    return max(1, int(min([float(len(os.sched_getaffinity(0))), *_quotas()])))


def _quotas() -> Iterator[float]:
    """In cores, of the process's group and of those above it."""
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
