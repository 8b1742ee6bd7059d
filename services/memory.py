"""What replicas take of the machine's memory, and who goes first when the machine has none left. Linux only.

A replica is a supervisor and its workers. What they share is counted once where it matters: resident memory, which is
cheap to read and counts it several times, and only where that is too much, the proportional one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

import psutil

EXPOSED = 500
"""`oom_score_adj` of what the kernel shall end before anything else of ours: as if it took half of the memory more."""


def family(pid: int) -> Iterator[psutil.Process]:
    """The process and all below it."""
    with contextlib.suppress(psutil.Error):
        root = psutil.Process(pid)
        yield root
        yield from root.children(recursive=True)


def taken(pid: int, enough: int) -> int:
    """Bytes that the process and all below it take together; not read exactly while they are below `enough`."""
    processes = list(family(pid))
    resident = sum(_resident(process) for process in processes)
    return resident if resident <= enough else sum(_proportional(process) for process in processes)


def expose(pid: int) -> None:
    """Let the kernel end it, and what it will start, before others. Raising this is anybody's right."""
    _rank([pid], EXPOSED)


def protect(pid: int) -> None:
    """As if it had never been exposed; to be repeated, it costs one look. What others have set stays."""
    if _rank_of(pid) == EXPOSED:
        own = _rank_of("self") or 0
        _rank((process.pid for process in family(pid)), own)


def _rank(pids: Iterable[int], value: int) -> None:
    for pid in pids:
        # It may have ended, or this is no Linux.
        with contextlib.suppress(OSError), open(_score(pid), "w", encoding="ascii") as score:  # noqa: PTH123 - see `_score`
            score.write(str(value))


def _rank_of(pid: int | str) -> int | None:
    try:
        with open(_score(pid), encoding="ascii") as score:  # noqa: PTH123 - see `_score`
            return int(score.read())
    except (OSError, ValueError):
        return None


def _score(pid: int | str) -> str:
    """No `Path`: its parts are interned, and this is asked every second for months."""
    return f"/proc/{pid}/oom_score_adj"


def _resident(process: psutil.Process) -> int:
    with contextlib.suppress(psutil.Error):
        return int(process.memory_info().rss)
    return 0


def _proportional(process: psutil.Process) -> int:
    """Resident where the system does not tell."""
    with contextlib.suppress(psutil.Error, AttributeError):
        return int(process.memory_full_info().pss)
    return _resident(process)
