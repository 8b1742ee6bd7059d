"""Logs within bounds: whatever runs for months writes them, and nobody else looks after them."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lockgate.flows.home import Home
from lockgate.rollout.envoy.folder import exclusive, folder
from lockgate.rollout.envoy.logs import rotate
from lockgate.rollout.errors import RouterDown

LARGEST = 8 * 2**20
"""Bytes of a log of what a process says of itself; as much again of it is kept beside it."""
_LOG = logging.getLogger("lockgate.logs")
_TOLD: set[tuple[Home, str]] = set()


def bound(home: Home, name: str) -> None:
    """Those of one pipeline: Envoy's, the feedback server's, the replicas'. Cheap while none has grown.

    Never raises for what is wrong with a disk or an Envoy: a log that grows is no reason to stop anything.
    """
    with _said(home, f"the access logs of {name}"):
        rotate(folder(home.router(name)))
    with _said(home, f"Envoy's own logs of {name}"):
        at = folder(home.router(name))
        if _large(at.envoy_log):
            with exclusive(at):  # whoever looks for Envoy's reasons in it counts its bytes
                cut(at.envoy_log)
    with _said(home, f"the logs of processes of {name}"):
        for log in _others(home, name):
            cut(log)


@contextmanager
def _said(home: Home, logs: str) -> Iterator[None]:
    """Once: the next look tries again."""
    try:
        yield
        _TOLD.discard((home, logs))
    except (RouterDown, OSError) as error:
        if (home, logs) not in _TOLD:
            _LOG.warning("%s grow on: %s", logs, error)
            _TOLD.add((home, logs))


def cut(log: Path, largest: int = LARGEST) -> None:
    """Set one aside that is larger, as `x.1.log`, and empty it. Who writes it appends and need not know.

    What is written in the moment between is lost.
    """
    if _large(log, largest):
        with suppress(OSError):
            aside = log.with_suffix(f".1{log.suffix}")
            shutil.copy(log, aside.with_suffix(".new"))
            aside.with_suffix(".new").replace(aside)
            with log.open("r+b") as file:
                file.truncate(0)


def _others(home: Home, name: str) -> Iterator[Path]:
    yield home.feedback(name) / "server.log"
    yield from (log for log in (home.replicas(name) / "logs").glob("*.log") if not log.name.endswith(".1.log"))


def _large(log: Path, largest: int = LARGEST) -> bool:
    try:
        return log.stat().st_size > largest
    except OSError:
        return False
