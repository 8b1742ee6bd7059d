"""One question to people: gathered once, kept in the store, and shown on the version's page until it is over."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from lockgate.flows import builds, history
from lockgate.flows.approval import evidence
from lockgate.flows.world import World
from lockgate.registry.approvals import Request, key
from lockgate.registry.location import locate
from lockgate.registry.words import ModelVersion, Registry
from lockgate.rollout.approving import approval_at
from lockgate.rollout.state import Asked, Decided, State
from lockgate.rollout.store import Event, Rollout, Store
from lockgate.rollout.words import Phase

PLACED = "approval"
"""The name under which the last question is kept beside the rollout."""


@dataclass(frozen=True, slots=True)
class Placed:
    """A question as it stands on the page. `sha`: of the evidence there, as the registry will read it."""

    request: Request
    version: str
    evidence: str
    sha: str = ""
    after: int = 0
    """Sequence of the event that it was asked after."""
    vouched: bool = False
    """Whether only approvals count that the registry's server vouches for."""
    closed: bool = False


def placed(store: Store, rollout: Rollout) -> Placed | None:
    """The last question of this rollout; None before the first."""
    found: Mapping[str, Any] | None = store.noted(rollout.id, PLACED)
    return Placed(**{**found, "request": Request(**found["request"])}) if found else None


def version_of(registry: Registry, rollout: Rollout, state: State) -> ModelVersion:
    """What would be promoted, as the registry knows it now. Raises `NoSuchVersion`, `RegistryDown`."""
    return registry.resolve(rollout.subject["model"], rollout.subject[state.winner])


def ask(world: World, rollout: Rollout, event: Event, now: float) -> tuple[Placed, Asked]:
    """Put the question on the page. What was gathered for this very moment of the rollout is asked again as it was.

    Raises `RegistryError`.
    """
    version = version_of(world.registry, rollout, event.state)
    it = placed(world.store, rollout)
    if it is None or it.after != event.sequence or it.closed:
        it = _gathered(world, rollout, event, version, now)
        _keep(world.store, rollout, it)
    it = replace(it, sha=world.registry.ask(version, it.request, it.evidence))
    _keep(world.store, rollout, it)
    return it, Asked(it.request.digest, it.request.artifact, it.request.expires_at, it.vouched)


def close(world: World, rollout: Rollout, it: Placed, state: State) -> Placed:
    """Say on the page what came of it. Raises `RegistryError`."""
    version = world.registry.resolve(rollout.subject["model"], it.version)
    world.registry.close(version, it.request, _outcome(world.store, rollout, it, state))
    it = replace(it, closed=True)
    _keep(world.store, rollout, it)
    return it


def _outcome(store: Store, rollout: Rollout, it: Placed, state: State) -> str:
    """In the words of the tag; a person reads it."""
    decided = [e.happening for e in store.events(rollout.id) if isinstance(e.happening, Decided)]
    ours = [d for d in decided if d.digest == it.request.digest]
    names = " and ".join(d.by + ("" if d.verified else " (identity not verified)") for d in ours)
    if any(not d.approved for d in ours):
        return f"rejected by {names}"
    if len(ours) >= it.request.required:
        return f"approved by {names}"
    if state.phase is Phase.WAITING:
        return "void: asked anew"
    return f"void: {state.reason or 'the rollout went on without it'}"


def _keep(store: Store, rollout: Rollout, it: Placed) -> None:
    store.note(rollout.id, PLACED, asdict(it))


def _gathered(world: World, rollout: Rollout, event: Event, version: ModelVersion, now: float) -> Placed:
    state = event.state
    wanted = approval_at(rollout.spec, state)
    assert wanted is not None  # noqa: S101 - nobody else asks
    page = world.registry.page(version)
    known = builds.known(world.spec, version, world.home)
    if page.author:
        world.store.note(rollout.id, history.AUTHORS, {version.version: page.author})
    links = evidence.Links(mlflow=locate().tracking)
    document = evidence.gather(world.store, rollout, author=page.author, links=links, build=known, asked_at=now)
    request = Request(
        rollout=rollout.id,
        step=state.step,
        digest=document.digest,
        artifact=state.facts.get(f"{state.winner}_digest", ""),
        asked_at=round(now, 3),
        expires_at=round(now + wanted.expires, 3),
        role=wanted.role,
        not_author=wanted.not_author,
        required=wanted.required,
    )
    # Tables and pictures go to a run.
    run = world.registry.record(version, f"approval-{request.digest[:12]}", evidence.files(document))
    people = world.registry.knows_people()
    shown = evidence.page(document, request, run, people=people)
    return Placed(request, version.version, shown, after=event.sequence, vouched=people or key() is not None)
