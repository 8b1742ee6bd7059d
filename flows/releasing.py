"""Who is rolling a challenger out on this machine: known by a lock, for nobody holds a lease before a rollout is open.

The kernel unlocks for one that is killed. Whatever Prefect says of its run, the next one need not wait.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from lockgate.flows.errors import NothingToDo
from lockgate.flows.home import Home

_WITHIN = 1.0
"""Seconds: who only asks holds the lock for a moment."""
_PAUSE = 0.01


@contextmanager
def releasing(home: Home, name: str) -> Iterator[None]:
    """Alone, while the `with` lasts. Raises `NothingToDo` where another process does it."""
    lock, until = _opened(home, name), time.monotonic() + _WITHIN
    try:
        while not _locked(lock, fcntl.LOCK_EX):
            if time.monotonic() > until:
                raise NothingToDo(f"{name} is being rolled out by another release at this moment")
            time.sleep(_PAUSE)
        yield
    finally:
        os.close(lock)


def is_releasing(home: Home, name: str) -> bool:
    lock = _opened(home, name)
    try:
        return not _locked(lock, fcntl.LOCK_SH)
    finally:
        os.close(lock)


def _opened(home: Home, name: str) -> int:
    folder = home.root / name
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return os.open(folder / "release.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _locked(lock: int, how: int) -> bool:
    try:
        fcntl.flock(lock, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
