"""What nobody drives, and challengers that nobody has rolled out yet."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

from lockgate.flows import wanted
from lockgate.flows.home import Home
from lockgate.flows.lease import driver
from lockgate.flows.plan import versions
from lockgate.flows.world import World
from lockgate.registry.errors import NoSuchVersion
from lockgate.rollout.errors import Unreadable
from lockgate.rollout.store import Rollout, Store
from lockgate.rollout.words import Phase

_LOG = logging.getLogger("lockgate.sweep")
_TRIES = 5
"""Rollouts of the same versions, of which none was built because something that they need was down."""
_PAUSE = 60.0
"""Seconds until the second of them, and twice as many until each after that."""


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
    rolled back or refused is not tried again by itself: a person runs it, or changes the spec. One whose rollout ended
    because the registry or the router went away while it was built is: after a minute, then two, four and eight.
    """
    if world.store.open_of(world.spec.name) is not None or wanted.stopped(world.home, world.spec.name):
        return None
    try:
        found = versions(world.spec)
    except NoSuchVersion:
        return None  # nobody has set the alias yet
    rollouts = world.store.rollouts(world.spec.name)
    challengers = {side: of.version for side, of in found.items() if side != "stable"}
    if challengers["candidate"] == found["stable"].version:
        return None
    same = [
        r
        for r in rollouts
        if all(r.subject.get(side) == version for side, version in challengers.items())
        and world.spec.stored_as(r.document)
    ]
    if same and not _again(world.store, same, time.time()):
        return None
    return f"{world.spec.name}:{'+'.join(challengers.values())}:{world.spec.digest}:{len(rollouts)}"


def name_in(key: str) -> str:
    """The spec's name in what `challenger` says."""
    return key.partition(":")[0]


def still_new(store: Store, key: str) -> bool:
    """Whether no rollout of the spec was opened since `challenger` said it."""
    return key.rpartition(":")[2] == str(len(store.rollouts(name_in(key), _skipped)))


def _again(store: Store, same: Sequence[Rollout], now: float) -> bool:
    """Whether it is time for one more of these rollouts, the last one first: none of them has said anything of it."""
    if len(same) >= _TRIES or now - (same[0].closed_at or now) < _PAUSE * 2 ** (len(same) - 1):
        return False
    states = (store.last(rollout.id).state for rollout in same)
    return all(state.phase is Phase.FAILED and state.ending == "broken" for state in states)
