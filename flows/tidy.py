"""Replicas that get no traffic are stopped, once nothing is being built that they may be for."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress

from lockgate.flows import elsewhere, wanted
from lockgate.flows.stable import asked_for
from lockgate.flows.world import World
from lockgate.rollout.errors import RouterDown, StoreDown
from lockgate.rollout.words import Endpoint
from lockgate.services.external import is_external
from lockgate.services.words import Replica


def tidy_alone(world: World) -> None:
    """For who comes late: unless the next rollout is under way."""
    opened = world.store.open_of(world.spec.name)
    if opened is None or world.store.last(opened.id).state.phase.over:
        tidy(world)


def tidy(world: World) -> None:
    """Stop every replica that gets no traffic. Only for when no rollout of this spec is being built."""
    with suppress(RouterDown):
        routed = answering(world)
        world.platform.stop(idle(world.platform.replicas(), routed))
    with suppress(StoreDown):
        elsewhere.forget(world.home, world.spec.name, asked_for(world))


def idle(replicas: Sequence[Replica], routed: AbstractSet[Endpoint]) -> list[Replica]:
    """Who gets no traffic. What is served elsewhere goes as a whole: it is needed while any of it gets some."""
    needed = {r.bento for r in replicas if is_external(r.bento) and Endpoint(r.host, r.port) in routed}
    return [r for r in replicas if Endpoint(r.host, r.port) not in routed and r.bento not in needed]


def answering(world: World) -> set[Endpoint]:
    """To whom the router sends requests: to nobody where it does not run, and nobody wants it to.

    Raises `RouterDown` where it cannot be asked, and goes on, or is to be started again with what it served.
    """
    try:
        served = world.router.applied()
    except RouterDown:
        mark = wanted.read(world.home, world.spec.name)
        if world.router.running() or (mark and mark.up):
            raise
        return set()
    return {*served.stable, *served.candidate}
