"""Drive an open rollout to its end: the loop around the controller's tick, in plain code.

What a phase asks for beyond routes happens here: the alias when promoting, replicas that died, and the side that is no
longer needed. Every line may be repeated: a driver that was killed anywhere is followed by one that starts over.
"""

from __future__ import annotations

import logging
import time
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from lockgate.flows import announced, logs, restarts
from lockgate.flows.approval.desk import Desk
from lockgate.flows.drift_watch import DriftWatch
from lockgate.flows.ending import alias_is_back, clear, keep_up, move_alias, up
from lockgate.flows.exits import disk_full
from lockgate.flows.healer import Healer
from lockgate.flows.notes import Notes
from lockgate.flows.observer import Observation
from lockgate.flows.outbox import Outbox
from lockgate.flows.rewards import Places, Rewards
from lockgate.flows.world import World
from lockgate.rollout.controller import Controller
from lockgate.rollout.errors import Fenced, NotNow, RouterError, StoreDown, Unreadable
from lockgate.rollout.progress import Progress
from lockgate.rollout.spec import ShadowStep
from lockgate.rollout.state import Broke, Drifted, Dropped, Happening, Settled, State
from lockgate.rollout.store import Event, Rollout
from lockgate.rollout.words import Phase

_LOG = logging.getLogger("lockgate.drive")
TICK = 1.0
_TO_CATCH_UP = 10.0
"""Seconds for reading the page of a rollout that nobody drove: less than the lease."""


class Watcher(Protocol):
    """Sees every tick."""

    def __call__(self, event: Event, progress: Progress | None) -> None: ...


def drive(world: World, rollout: Rollout, me: str, watch: Watcher, *, outbox: Outbox | None = None) -> State:
    """Tick until the rollout is over and what it no longer needs is gone; its last state.

    Raises `Fenced` when another driver took the rollout.
    """
    facts = world.store.last(rollout.id).state.facts  # what was built does not change any more
    keep_up(world, rollout)  # also after a `lockgate down`: whoever runs it again wants it up
    healer, desk = Healer(world, facts), Desk(world, rollout)
    drift = DriftWatch.of(world, rollout)
    with Outbox() if outbox is None else nullcontext(outbox) as out:
        try:
            name = world.spec.name
            places = Places(world.home.capture(name), world.home.feedback(name), rollout.id)
            with Observation(world.spec, facts, places.capture, Rewards(world.spec, facts, places)) as seen:
                sources = world.source, seen
                now = time.time
                controller = Controller(rollout, world.store, world.router, sources, lambda: world.sides(facts), now)
                out.put("the open rollout in MLflow", partial(announced.opened, world, rollout))
                notes = Notes(world, rollout, out, seen, drift)
                return _loop(Drive(world, rollout, me, controller, healer, out, places, desk, drift, notes), watch)
        finally:
            healer.join()
            desk.join()
            drift.close()
            world.feedback.join()
            with suppress(StoreDown):  # the lease runs out by itself
                world.store.release(rollout.id, me)


def begin_shadow(world: World, rollout: Rollout, me: str) -> None:
    """The first tick of a rollout that begins with copies, before its driver's process has started: that takes seconds.

    Other steps wait for their driver: clients are given no candidate that nobody watches.
    """
    with suppress(Fenced, RouterError, StoreDown, OSError):  # the driver does it, once there is room again
        state = world.store.last(rollout.id).state
        if state.step or not state.phase.stepping or not isinstance(rollout.spec.steps[0], ShadowStep):
            return
        if world.store.progress(rollout.id) is not None:
            return  # a driver was here: what came since is judged with what only a driver observes
        sides = partial(world.sides, state.facts)
        Controller(rollout, world.store, world.router, world.source, sides, time.time).tick(me, time.time())


@dataclass
class Drive:
    """One rollout and who drives it. `me`: in the lease."""

    world: World
    rollout: Rollout
    me: str
    controller: Controller
    healer: Healer
    outbox: Outbox
    places: Places
    desk: Desk
    drift: DriftWatch
    notes: Notes


def _loop(d: Drive, watch: Watcher) -> State:
    with suppress(StoreDown, Fenced, RouterError):  # the first turn meets it again
        _catch_up(d, time.time())
    while True:
        started = time.monotonic()
        if (state := _driven(d, watch)) is not None:
            return state
        time.sleep(max(0.0, TICK - (time.monotonic() - started)))


def _driven(d: Drive, watch: Watcher) -> State | None:
    """One turn; the state when the rollout is over. What cannot be done now, the next turn does."""
    try:
        event = _turn(d)
        d.notes.keep(event.state)
        logs.bound(d.world.home, d.world.spec.name)
        watch(event, d.world.store.progress(d.rollout.id))
        if event.state.phase.over and clear(d, event.state):
            return event.state
    except RouterError as error:
        _restart(d, error)
    except Unreadable:  # no turn mends it
        raise
    except StoreDown as error:
        _LOG.warning("%s; traffic stays as it is until it does", error)
    except Fenced:
        if not _alone(d):
            raise
    except OSError as error:
        if not disk_full(error):
            raise
        _LOG.warning("%s; traffic stays as it is until there is room again", error)
    return None


def _alone(d: Drive) -> bool:
    """Whether nobody else drives: a person's word came in between, or our lease ran out while we slept."""
    with suppress(StoreDown):  # the next turn asks again
        return d.world.store.holder(d.rollout.id, time.time()) in {"", d.me}
    return True


def _catch_up(d: Drive, now: float) -> None:
    """What people decided in time while nobody drove comes before what has run out since."""
    event = d.world.store.last(d.rollout.id)
    if event.state.asked:
        d.desk.look(event, now)
        d.desk.join(_TO_CATCH_UP)
        _said(d, event, now)


def _restart(d: Drive, error: RouterError) -> None:
    """Bring the router back with what it served last; while that fails, the next turn tries again."""
    _LOG.warning("the router does not do what it should: %s", error)
    try:
        down = not d.world.router.running()
        d.world.router.start_again()
        if down:
            restarts.count(d.world.home, d.world.spec.name, "router")
    except (RouterError, OSError) as again:
        _LOG.warning("the router could not be started again: %s", again)


def _turn(d: Drive) -> Event:
    now = time.time()
    before = d.world.store.last(d.rollout.id).state
    if before.phase is not Phase.FAILED:  # also after the end: what answers from then on is to be up
        d.healer.look(before)
        d.world.feedback.look()
    event = _said(d, d.controller.tick(d.me, now), now)
    state = event.state
    if state.phase is Phase.PROMOTING and (ready := move_alias(d, event)):
        event = ready
        d.controller.conform(event.state, now)
    elif state.phase is Phase.ROLLING_BACK and up(d, state) and alias_is_back(d, state):
        event = d.controller.record(event, Settled(), now)  # the tick has verified that stable answers everything
        d.controller.conform(event.state, now)
    return _give_up(d, event, now)


def _said(d: Drive, event: Event, now: float) -> Event:
    """With what people decided since the last turn, and what became of the live inputs."""
    came = d.desk.look(event, now)
    if event.state.phase.stepping and (drifted := d.drift.look(now)):
        came.append(drifted)
    for happening in came:
        try:
            event = _recorded(d, event, happening, now)
        except NotNow as error:  # it was decided on something that has changed meanwhile
            _LOG.warning("%s", error)
        if isinstance(happening, Drifted):
            d.drift.told(happening)
    if came:
        d.controller.conform(event.state, now)
    return event


def _recorded(d: Drive, event: Event, happening: Happening, now: float) -> Event:
    """After a command that came in the same moment, too. Raises `Fenced` when somebody else goes on recording."""
    try:
        return d.controller.record(event, happening, now)
    except Fenced:
        if not _alone(d):  # whoever drives now has seen more than we
            raise
        return d.controller.record(d.world.store.last(d.rollout.id), happening, now)


def _give_up(d: Drive, event: Event, now: float) -> Event:
    """A challenger whose replicas do not stay up; with others beside it in the step, they go on without it."""
    for side in d.world.spec.rollout.challengers:
        state = event.state
        if not state.phase.stepping or side in state.dropped or not (why := d.healer.gave_up(side)):
            continue
        several = len(d.rollout.spec.challengers_at(state.step)) > 1
        if several or side == "candidate":
            event = d.controller.record(event, Dropped(side, why) if several else Broke(why), now)
    return event
