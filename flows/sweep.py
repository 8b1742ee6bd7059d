"""What nobody drives, and challengers that nobody has rolled out yet."""

from __future__ import annotations

from dataclasses import dataclass

from lockgate.flows.release import driver, resolve
from lockgate.flows.world import World
from lockgate.registry.errors import NoSuchVersion
from lockgate.rollout.store import Rollout, Store


def undriven(store: Store) -> list[Rollout]:
    """Open rollouts whose driver is gone: its lease has run out, or its process has."""
    return [r for r in store.rollouts() if r.closed_at is None and not driver(store, r)]


@dataclass(frozen=True, slots=True)
class Challenger:
    model: str
    version: str


def challenger(world: World) -> Challenger | None:
    """A candidate that no rollout of this spec has judged yet; None while a rollout is open.

    A version that was rolled back or refused is not tried again by itself: a person runs it, or changes the spec.
    """
    if world.store.open_of(world.spec.name) is not None:
        return None
    try:
        stable, candidate = resolve(world)
    except NoSuchVersion:
        return None  # nobody has set the alias yet
    judged = any(
        r.subject["candidate"] == candidate.version and r.document == world.spec.document
        for r in world.store.rollouts(world.spec.name)
    )
    if judged or candidate.version == stable.version:
        return None
    return Challenger(candidate.name, candidate.version)
