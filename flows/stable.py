"""Which bento stable is: what serves today, so that nothing but a rollout changes what clients get."""

from __future__ import annotations

from collections.abc import Callable

from lockgate.flows import elsewhere
from lockgate.flows.build import build
from lockgate.flows.world import World
from lockgate.registry.words import ModelVersion
from lockgate.rollout.errors import RouterError
from lockgate.rollout.words import Endpoint, Phase
from lockgate.services.package import packaged
from lockgate.services.words import Bento


def serving(world: World, version: ModelVersion) -> Bento | None:
    """The bento of this version that answers now, or did last; None when there is none, or it is not stored any more.

    A machine that was restarted serves nothing, but the last rollout says what it left behind.
    """
    for tag in (*_answers(world), *_left(world)):
        bento = elsewhere.known(world.home, world.spec.name, tag) or packaged(tag)
        if bento and (bento.model, bento.version) == (version.name, version.version):
            return bento
    return None


def stable_bento(world: World, version: ModelVersion, say: Callable[[str], None]) -> Bento:
    """What serves already; only where nothing does it is built, under the present spec."""
    return serving(world, version) or build(world.spec, version, world.home, say).bento


def asked_for(world: World) -> set[str]:
    """Tags that somebody may ask for still: those of the open rollout, and what the last one left."""
    opened = world.store.open_of(world.spec.name)
    facts = world.store.last(opened.id).state.facts if opened else {}
    return {*_left(world), *(tag for key, tag in facts.items() if key.endswith("_bento"))}


def _answers(world: World) -> list[str]:
    """Tags of the bentos behind the router's stable side."""
    try:
        stable = set(world.router.applied().stable)
    except RouterError:
        return []
    return sorted({r.bento for r in world.platform.replicas() if Endpoint(r.host, r.port) in stable})


def _left(world: World) -> list[str]:
    """The tag that the last rollout left as stable."""
    for rollout in world.store.rollouts(world.spec.name):
        state = world.store.last(rollout.id).state
        if state.phase.over and "stable_bento" in state.facts:
            side = state.winner if state.phase is Phase.SUCCEEDED else "stable"
            return [state.facts[f"{side}_bento"]]
    return []
