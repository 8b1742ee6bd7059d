"""Who drives a rollout: the lease in the store, held by a process of some host."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psutil

from lockgate.flows.world import World
from lockgate.rollout.controller import LEASE
from lockgate.rollout.errors import Fenced, StoreDown
from lockgate.rollout.store import Rollout, Store
from lockgate.services import processes

_APART = 60.0
"""Seconds between two readings of one start by the time of day. A process that is wrongly taken for the driver renews
no lease, so it holds nobody off for long."""


def owner() -> str:
    """Who we are in the lease: this process, on this host, told apart from a later one with the same number.

    By when it started, in ticks since the boot: the time of day would be another one whenever the clock is set.
    """
    return f"{socket.gethostname()}:{os.getpid()}:{processes.stat(os.getpid())[1]}"


def driver(store: Store, rollout: Rollout) -> str:
    """Who drives the rollout now; empty when nobody does. The lease of a process of this host that is gone is void."""
    holder = store.holder(rollout.id, time.time())
    host, _, rest = holder.partition(":")
    pid, _, started = rest.partition(":")
    if host != socket.gethostname() or _runs(int(pid), started):
        return holder
    store.release(rollout.id, holder)
    return ""


def undriven_only(world: World) -> None:
    """Raise `Fenced` when somebody drives a rollout of this spec: what is stopped would be started again."""
    rollout = world.store.open_of(world.spec.name)
    if rollout and (who := driver(world.store, rollout)):
        raise Fenced(
            f"{rollout.id} is driven by {who}; end it with `lockgate abort {rollout.model}` or stop that process"
        )


def _runs(pid: int, started: str) -> bool:
    state, ticks = processes.stat(pid)
    if state in ("", "Z", "X"):
        return False
    return _started_about(pid, float(started)) if "." in started else started == ticks


def _started_about(pid: int, then: float) -> bool:
    """How an older Lockgate says it: by the time of day, with a point."""
    try:
        return bool(abs(psutil.Process(pid).create_time() - then) < _APART)
    except psutil.NoSuchProcess:
        return False


@contextmanager
def leased(world: World, rollout: Rollout, me: str) -> Iterator[None]:
    """Hold the rollout's lease while something long runs. Raises `Fenced` when somebody else holds it."""
    driver(world.store, rollout)
    if not world.store.lease(rollout.id, me, time.time(), LEASE):
        raise Fenced(f"{rollout.id} is driven by {world.store.holder(rollout.id, time.time())}")
    stop = threading.Event()

    def renew() -> None:
        while not stop.wait(LEASE / 3):
            with suppress(StoreDown):  # the next one may go through, and the fence decides anyway
                world.store.lease(rollout.id, me, time.time(), LEASE)

    heart = threading.Thread(target=renew, name="lease", daemon=True)
    heart.start()
    try:
        yield
    finally:
        stop.set()
        heart.join()
