"""How a rollout ends: @champion moves, or moves back; the side that lost is stopped, and the rollout is closed.

Every line may be repeated, and may come late: a driver that slept is followed by another one, and wakes up.
"""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from lockgate.flows import announced, history, wanted
from lockgate.flows.approval.asking import version_of
from lockgate.flows.release import bento_of
from lockgate.flows.tidy import tidy, tidy_alone
from lockgate.flows.world import World
from lockgate.registry.errors import Conflict, NoSuchVersion, RegistryError
from lockgate.rollout.errors import RouterError
from lockgate.rollout.state import Broke, Settled, State
from lockgate.rollout.store import Event, Rollout
from lockgate.rollout.words import Phase
from lockgate.services.words import Bento

if TYPE_CHECKING:
    from lockgate.flows.drive import Drive

_LOG = logging.getLogger("lockgate.drive")


def move_alias(d: Drive, event: Event) -> Event | None:
    """Point @champion at the candidate once it answers everything; None while the registry does not answer."""
    subject = d.rollout.subject
    expected = subject["stable"] if d.world.spec.model.stable == "@champion" else None
    winner = event.state.winner
    if not d.world.sides(event.state.facts)[winner]:
        return None  # its replicas are coming back; stable answers meanwhile
    if (cleared := d.desk.cleared(event, time.time())) is not True:
        return d.controller.record(event, cleared, time.time()) if cleared else None
    d.controller.unmoved(event.state)
    try:
        d.world.registry.assign(subject["model"], subject[winner], expected=expected)
    except (Conflict, NoSuchVersion) as error:
        return d.controller.record(event, Broke(str(error)), time.time())
    except RegistryError:
        return None
    return d.controller.record(event, Settled(), time.time())


def alias_is_back(d: Drive, state: State) -> bool:
    """Where a promotion may have moved @champion before it failed; False while the registry does not answer.

    Whoever moved it was perhaps killed before that was recorded. What a person has made of it meanwhile stays.
    """
    subject, stable = d.rollout.subject, d.world.spec.model.stable
    promoted = any(e.state.phase is Phase.PROMOTING for e in d.world.store.events(d.rollout.id))
    if not promoted or stable != "@champion" or subject[state.winner] == subject["stable"]:
        return True
    try:
        if d.world.registry.resolve(subject["model"], stable).version == subject[state.winner]:
            d.controller.unmoved(state)
            d.world.registry.assign(subject["model"], subject["stable"], expected=subject[state.winner])
    except (Conflict, NoSuchVersion) as error:
        _LOG.warning("@champion stays as it is: %s", error)
    except RegistryError:
        return False
    return True


def up(d: Drive, state: State) -> bool:
    """Whether who answers after the end does: routes to nobody are never applied."""
    return bool(d.world.sides(state.facts)[_stays(state)])


def clear(d: Drive, end: State) -> bool:
    """Stop the side that lost, and close the rollout; False while who won is not up.

    A driver that slept while another one closed it touches nothing: the next rollout may be under way.
    """
    d.healer.join()
    if d.world.store.rollout(d.rollout.id).closed_at is not None:
        announced.over(d.world, d.rollout)  # we may have said late that it is open
        tidy_alone(d.world)
        return True
    if end.phase is not Phase.FAILED and not up(d, end):
        return False
    d.controller.conform(end, time.time())  # what is about to be stopped gets no traffic
    tidy(d.world)
    keep_up(d.world, d.rollout)
    d.desk.close(end)
    d.outbox.put("history in MLflow", partial(_record, d))
    announced.over(d.world, d.rollout)
    d.places.forget()
    d.world.store.close_rollout(d.rollout.id, time.time())
    return True


def keep_up(world: World, rollout: Rollout, asked: float | None = None) -> None:
    """What answers while this rollout goes on, or after its end, does so from now on while no rollout is open.

    `asked`: as `wanted.up`'s; without a person's word, when the rollout was opened. Whoever comes while another driver
    ends it leaves the mark to that one.
    """
    if (bento := _left(world, rollout)) is None:
        return
    asked = rollout.opened_at if asked is None else asked
    try:
        wanted.up(world.home, world.spec.document, bento, asked, lambda: _left(world, rollout) == bento)
    except OSError as error:  # the disk is full: the rollout goes on
        _LOG.warning("nobody would start %s again when it dies between rollouts: %s", world.spec.name, error)


def take_up(world: World, rollout: Rollout, began: float) -> None:
    """A person's `lockgate run`, which began then, is a word about `rollout.traffic` as `lockgate up` is one.

    The caller holds the lease, and what is to be served of the rollout is built.
    """
    if world.store.last(rollout.id).state.phase is Phase.FAILED:
        return
    asked = max(began, rollout.opened_at)
    keep_up(world, rollout, asked)
    with suppress(RouterError, OSError):  # else the drive brings it back
        world.router.start_again()
        world.router.renew(partial(wanted.is_last, world.home, world.spec.name, asked))


def _left(world: World, rollout: Rollout) -> Bento | None:
    """What the rollout leaves behind, as far as one knows now; None where that is over, or there never was anything."""
    state = world.store.last(rollout.id).state
    side = _stays(state)
    if f"{side}_bento" not in state.facts or world.store.rollout(rollout.id).closed_at is not None:
        return None
    return bento_of(state.facts, side, world.spec.model.name)


def _stays(state: State) -> str:
    """The side that answers everything when the rollout is over."""
    return state.winner if state.phase is Phase.SUCCEEDED else "stable"


def _record(d: Drive) -> None:
    """The whole story of the model until now, kept with the version that was tried."""
    version = version_of(d.world.registry, d.rollout, d.world.store.last(d.rollout.id).state)
    d.world.registry.record(version, f"history-{d.rollout.id}", history.files(d.world.store, d.rollout))
