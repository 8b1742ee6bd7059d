"""Every process of a server, found by a mark in its environment: CPU, memory, freezing and ending."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

MARK = "BENCHMARK_SIDE"
_LAST_LOOKS = 10
_PAUSE = 0.05
_TICKS = 0.03
"""Seconds that two looks at clock ticks may be wrong by."""


def of(mark: str) -> list[psutil.Process]:
    """All processes that inherited this mark."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


@dataclass(frozen=True, slots=True)
class Used:
    """Seconds on a core so far: exactly, of each thread that lives, and in clock ticks, of those that ended too."""

    threads: dict[str, float]
    ticks: float


def cpu(processes: Sequence[psutil.Process]) -> dict[int, Used]:
    found = {}
    for process in processes:
        with contextlib.suppress(psutil.Error, OSError):
            times = process.cpu_times()
            found[process.pid] = Used(_threads(process.pid), times.user + times.system)
    return found


def spent(before: dict[int, Used], after: dict[int, Used]) -> float:
    """Seconds between two looks: exactly, but for a process some of whose threads ended meanwhile."""
    total = 0.0
    for pid, now in after.items():
        then = before.get(pid, Used({}, 0.0))
        exact = sum(seconds - then.threads.get(thread, 0.0) for thread, seconds in now.threads.items())
        whole = now.ticks - then.ticks
        total += whole if whole > exact + _TICKS else exact
    return total


def _threads(pid: int) -> dict[str, float]:
    found = {}
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):
            found[thread.name] = int((thread / "schedstat").read_text().split()[0]) / 1e9
    return found


def memory(processes: Sequence[psutil.Process]) -> int:
    """Bytes: proportional set size, so that what is shared counts once."""
    total = 0
    for process in processes:
        with contextlib.suppress(psutil.Error):
            total += process.memory_full_info().pss
    return total


def freeze(processes: Sequence[psutil.Process]) -> None:
    _signal(processes, signal.SIGSTOP)


def thaw(processes: Sequence[psutil.Process]) -> None:
    _signal(processes, signal.SIGCONT)


def end(mark: str, grace: float) -> None:
    """Ask the first of them to finish, wait, then kill what is left of all."""
    members = of(mark)
    thaw(members)
    pids = {process.pid for process in members}
    for process in members:
        with contextlib.suppress(psutil.Error):
            if process.ppid() not in pids:
                process.terminate()
    psutil.wait_procs(members, timeout=grace)
    for _ in range(_LAST_LOOKS):
        left = of(mark)
        _signal(left, signal.SIGKILL)
        psutil.wait_procs(left, timeout=1.0)
        if not left:
            return
        time.sleep(_PAUSE)


def _signal(processes: Sequence[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        with contextlib.suppress(OSError):
            os.kill(process.pid, number)
