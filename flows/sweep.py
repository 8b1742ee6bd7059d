"""What nobody drives, and challengers that nobody has rolled out yet."""

from __future__ import annotations

import logging

from lockgate.flows import wanted
from lockgate.flows.home import Home
from lockgate.flows.lease import driver
from lockgate.flows.plan import versions
from lockgate.flows.world import World
from lockgate.registry.errors import NoSuchVersion
from lockgate.rollout.errors import Unreadable
from lockgate.rollout.store import Rollout, Store

_LOG = logging.getLogger("lockgate.sweep")


def undriven(store: Store, where: Home) -> list[Rollout]:
    """Open rollouts whose driver is gone: its lease has run out, or its process has.

    None of a pipeline that `lockgate down` stopped: only a person brings that up again. One that cannot be read keeps
    no other waiting.
    """
    every = (r for r in store.rollouts(told=_skipped) if r.closed_at is None and not wanted.stopped(where, r.model))
    return [r for r in every if not driver(store, r)]


def _skipped(odd: Unreadable) -> None:
    _LOG.warning("%s; the others are swept", odd)


def challenger(world: World) -> str | None:
    """Names a candidate that no rollout of this spec has judged yet; None when there is none, or a rollout is open.

    The name is the same for two sweeps between which neither the spec nor the rollouts have changed. A version that was
    rolled back or refused is not tried again by itself: a person runs it, or changes the spec.
    """
    if world.store.open_of(world.spec.name) is not None or wanted.stopped(world.home, world.spec.name):
        return None
    try:
        found = versions(world.spec)
    except NoSuchVersion:
        return None  # nobody has set the alias yet
    rollouts = world.store.rollouts(world.spec.name)
    challengers = {side: of.version for side, of in found.items() if side != "stable"}
    judged = any(
        all(r.subject.get(side) == version for side, version in challengers.items())
        and world.spec.stored_as(r.document)
        for r in rollouts
    )
    if judged or challengers["candidate"] == found["stable"].version:
        return None
    return f"{world.spec.name}:{'+'.join(challengers.values())}:{world.spec.digest}:{len(rollouts)}"
