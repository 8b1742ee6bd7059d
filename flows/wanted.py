"""What people want of a pipeline: up or down, kept on disk. `lockgate up` and `run` say up, `lockgate down` says down.

Whoever restarts what died asks here first, under the same lock: what was stopped on purpose stays stopped. A pipeline
that nobody ever brought up has no mark, and nobody restarts anything of it.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from lockgate.flows.capture import alone, read_settings, write_private
from lockgate.flows.home import Home
from lockgate.services.words import Bento

MARK = "wanted.json"


@dataclass(frozen=True, slots=True)
class Wanted:
    """`document` is the spec as it was brought up (`Spec.of` reads it), `stable` the bento that answers then."""

    up: bool
    document: Mapping[str, Any]
    stable: Bento | None


def up(home: Home, document: Mapping[str, Any], stable: Bento) -> None:
    """From now on `stable` is what answers while no rollout is open."""
    name = str(document["name"])
    with changing(home, name):
        _write(home, name, {"up": True, "document": dict(document), "stable": asdict(stable)})


def down(home: Home, name: str) -> None:
    """At once, whoever is restarting something at this moment: they look again before and after."""
    _write(home, name, {"up": False, "document": {}, "stable": None})


def read(home: Home, name: str) -> Wanted | None:
    """None where nobody ever said anything, or the mark is damaged."""
    found = read_settings(home.root / name / MARK)
    try:
        stable = Bento(**found["stable"]) if found["stable"] else None
        return Wanted(bool(found["up"]), found["document"], stable)
    except (KeyError, TypeError):
        return None


def stopped(home: Home, name: str) -> bool:
    """Whether it was stopped on purpose."""
    mark = read(home, name)
    return mark is not None and not mark.up


def names(home: Home) -> list[str]:
    """The pipelines about which somebody said something."""
    return sorted(mark.parent.name for mark in home.root.glob(f"*/{MARK}"))


@contextmanager
def changing(home: Home, name: str) -> Iterator[None]:
    """Alone: nobody restarts anything of the pipeline meanwhile."""
    with _locked(home, name, fcntl.LOCK_EX):
        yield


@contextmanager
def restarting(home: Home, name: str) -> Iterator[Wanted | None]:
    """Beside others who restart something else of it, while nobody brings it up or down. What is wanted now."""
    with _locked(home, name, fcntl.LOCK_SH):
        yield read(home, name)


@contextmanager
def _locked(home: Home, name: str, how: int) -> Iterator[None]:
    folder = home.root / name
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = os.open(folder / "wanted.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, how)
        yield
    finally:
        os.close(lock)


def _write(home: Home, name: str, mark: Mapping[str, Any]) -> None:
    folder = home.root / name
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with alone(folder):
        write_private(folder / MARK, dict(mark))
