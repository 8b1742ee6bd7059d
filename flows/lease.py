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


def owner() -> str:
    """Who we are in the lease: this process, on this host, told apart from a later one with the same number."""
    return f"{socket.gethostname()}:{os.getpid()}:{psutil.Process().create_time():.2f}"


def driver(store: Store, rollout: Rollout) -> str:
    """Who drives the rollout now; empty when nobody does. The lease of a process of this host that is gone is void."""
    holder = store.holder(rollout.id, time.time())
    host, _, rest = holder.partition(":")
    pid, _, created = rest.partition(":")
    if host != socket.gethostname() or _runs(int(pid), created):
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


def _runs(pid: int, created: str) -> bool:
    try:
        process = psutil.Process(pid)
        return f"{process.create_time():.2f}" == created and process.status() != psutil.STATUS_ZOMBIE
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
