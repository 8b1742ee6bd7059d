"""What people want of a pipeline: up or down, kept on disk. `lockgate up` and `run` say up, `lockgate down` says down.

Whoever restarts what died asks here first, under the same lock: what was stopped on purpose stays stopped. A pipeline
that nobody ever brought up has no mark, and nobody restarts anything of it.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

from lockgate.flows.capture import alone, read_settings, write_private
from lockgate.flows.home import Home
from lockgate.rollout.ports import always
from lockgate.services.words import Bento

MARK = "wanted.json"


@dataclass(frozen=True, slots=True)
class Wanted:
    """`document` is the spec as it was brought up (`Spec.of` reads it), `stable` the bento that answers then.

    `asked`: when somebody asked for it with this document, in unix seconds.
    """

    up: bool
    document: Mapping[str, Any]
    stable: Bento | None
    asked: float = 0.0


def up(
    home: Home,
    document: Mapping[str, Any],
    stable: Bento,
    asked: float | None = None,
    still: Callable[[], bool] = always,
) -> None:
    """From now on `stable` is what answers while no rollout is open; the document that was asked for last stays.

    `asked`: when that was, in unix seconds; now, by default. `still`: asked when nobody else can write any more, for
    whoever restarts something is waited for; False leaves the mark as it is. One that says the same waits for nobody.
    """
    name = str(document["name"])
    if asked is not None and _says(home, document, stable, asked):
        return
    with changing(home, name):
        if not still():
            return
        if last := later(home, name, asked):
            document, asked = last.document, last.asked
        _write(home, name, Wanted(up=True, document=document, stable=stable, asked=asked or time.time()))


def instead(home: Home, name: str, stable: Bento, still: Callable[[], bool] = always) -> None:
    """Another bento answers from now on; what was asked for stays. Nothing is written of what is not wanted up."""
    mark = read(home, name)
    if mark is None or not mark.up or mark.stable == stable:
        return
    with changing(home, name):
        if still() and (mark := read(home, name)) and mark.up:
            _write(home, name, replace(mark, stable=stable))


def later(home: Home, name: str, asked: float | None) -> Wanted | None:
    """What was asked for after `asked`: a `lockgate up` while a rollout was open. Nothing is later than now."""
    mark = read(home, name)
    return mark if mark and mark.up and _after(mark, asked) else None


def is_last(home: Home, name: str, asked: float | None) -> bool:
    """Whether nobody has asked for anything after `asked`."""
    return later(home, name, asked) is None


def _after(mark: Wanted, asked: float | None) -> bool:
    """Of a mark from before the clock was set back nobody knows when it was made: it is earlier than what comes now."""
    return asked is not None and asked < mark.asked <= time.time()


def _says(home: Home, document: Mapping[str, Any], stable: Bento, asked: float) -> bool:
    """Whether the mark would stay as it is. A bento that is known from a rollout's log comes without its seal."""
    mark = read(home, str(document["name"]))
    if mark is None or not mark.up or mark.stable is None:
        return False
    if stable != (mark.stable if stable.seal else replace(mark.stable, seal="")):
        return False
    return _after(mark, asked) or (mark.asked, mark.document) == (asked, document)


def down(home: Home, name: str) -> Wanted | None:
    """At once, whoever is restarting something at this moment: they look again before and after. What was wanted."""
    before = read(home, name)
    _write(home, name, Wanted(up=False, document={}, stable=None))
    return before


def undo(home: Home, name: str, before: Wanted | None) -> None:
    """Take back a `down` that came too late, unless somebody has said something since. `before`: what it returned."""
    folder = home.root / name
    with alone(folder):
        if not stopped(home, name):
            return
        if before is None:
            (folder / MARK).unlink()
        else:
            write_private(folder / MARK, _content(before))


def read(home: Home, name: str) -> Wanted | None:
    """None where nobody ever said anything, or the mark is damaged."""
    found = read_settings(home.root / name / MARK)
    try:
        stable = Bento(**found["stable"]) if found["stable"] else None
        return Wanted(bool(found["up"]), found["document"], stable, float(found.get("asked", 0.0)))
    except (KeyError, TypeError, ValueError):
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


def _write(home: Home, name: str, mark: Wanted) -> None:
    folder = home.root / name
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with alone(folder):
        write_private(folder / MARK, _content(mark))


def _content(mark: Wanted) -> dict[str, Any]:
    stable = asdict(mark.stable) if mark.stable else None
    return {"up": mark.up, "document": dict(mark.document), "stable": stable, "asked": mark.asked}
