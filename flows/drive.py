"""Drive an open rollout to its end: the loop around the controller's tick, in plain code.

What a phase asks for beyond routes happens here: the alias when promoting, replicas that died, and the side that is no
longer needed. Every line may be repeated: a driver that was killed anywhere is followed by one that starts over.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, Protocol

from lockgate.flows import announced, history, report
from lockgate.flows.approval.asking import version_of
from lockgate.flows.approval.desk import Desk
from lockgate.flows.approval.evidence import DRIFT
from lockgate.flows.approval.words import plain
from lockgate.flows.drift_watch import DriftWatch
from lockgate.flows.observer import Observation
from lockgate.flows.outbox import Outbox
from lockgate.flows.release import bento_of, tidy
from lockgate.flows.rewards import Places, Rewards
from lockgate.flows.world import World
from lockgate.monitoring.drift.words import Comparison
from lockgate.registry.errors import Conflict, NoSuchVersion, RegistryError
from lockgate.rollout.controller import Controller
from lockgate.rollout.errors import Fenced, NotNow, RouterError, StoreDown
from lockgate.rollout.progress import Progress
from lockgate.rollout.state import Broke, Drifted, Dropped, Happening, Settled, State
from lockgate.rollout.store import Event, Rollout
from lockgate.rollout.words import Phase
from lockgate.services.errors import NotReady
from lockgate.services.words import Bento

_LOG = logging.getLogger("lockgate.drive")
TICK = 1.0
_TO_CATCH_UP = 10.0
"""Seconds for reading the page of a rollout that nobody drove: less than the lease."""
_DEATHS = 3
"""Of a candidate's replicas in one drive, before it is given up."""


class Watcher(Protocol):
    """Sees every tick."""

    def __call__(self, event: Event, progress: Progress | None) -> None: ...


@dataclass
class Healer:
    """Brings replicas back that died, beside the loop: a start takes seconds, and a tick must not wait for it."""

    world: World
    facts: Mapping[str, str]
    deaths: dict[str, int] = field(default_factory=dict)
    _thread: threading.Thread | None = None

    def look(self, state: State) -> None:
        """What is needed in this state: nobody who was dropped, and in the end only the winner beside stable."""
        if self._thread is not None and self._thread.is_alive():
            return
        wanted = self.world.spec.service.replicas.min
        for side in self._needed(state):
            bento = bento_of(self.facts, side, self.world.spec.model.name)
            if len(self.world.served(bento.tag)) < wanted:
                self.deaths[side] = self.deaths.get(side, 0) + 1
                self._thread = threading.Thread(target=self._start, args=(bento, wanted), name="healer", daemon=True)
                self._thread.start()
                return

    def _needed(self, state: State) -> list[str]:
        if not state.phase.stepping:
            return ["stable", state.winner]
        arms = [side for side in self.world.spec.rollout.challengers if side not in state.dropped]
        # One that keeps dying waits for the others: nobody else is to be left without replicas because of it.
        return ["stable", *sorted(arms, key=lambda side: self.deaths.get(side, 0) > _DEATHS)]

    def _start(self, bento: Bento, count: int) -> None:
        with suppress(NotReady):  # the next look counts it as another death
            self.world.platform.start(bento, count)

    def join(self) -> None:
        if self._thread is not None:
            self._thread.join()


def drive(world: World, rollout: Rollout, me: str, watch: Watcher, *, outbox: Outbox | None = None) -> State:
    """Tick until the rollout is over and what it no longer needs is gone; its last state.

    Raises `Fenced` when another driver took the rollout.
    """
    facts = world.store.last(rollout.id).state.facts  # what was built does not change any more
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
                return _loop(_Drive(world, rollout, controller, healer, out, seen, places, desk, drift), me, watch)
        finally:
            healer.join()
            desk.join()
            drift.close()
            world.feedback.join()
            world.store.release(rollout.id, me)


@dataclass
class _Drive:
    world: World
    rollout: Rollout
    controller: Controller
    healer: Healer
    outbox: Outbox
    observation: Observation
    places: Places
    desk: Desk
    drift: DriftWatch
    noted: str = ""
    shown: list[dict[str, Any]] = field(default_factory=list)
    counted: dict[str, int] = field(default_factory=dict)
    compared: Comparison | None = None


def _loop(d: _Drive, me: str, watch: Watcher) -> State:
    with suppress(StoreDown, Fenced, RouterError):  # the first turn meets it again
        _catch_up(d, time.time())
    while True:
        started = time.monotonic()
        try:
            event = _turn(d, me)
        except RouterError as error:
            _restart(d, error)
        except StoreDown as error:
            _LOG.warning("%s; traffic stays as it is until it does", error)
        except Fenced:
            if d.world.store.holder(d.rollout.id, time.time()) != me:
                raise
        else:
            _note(d, event.state)
            _keep_notes(d)
            watch(event, d.world.store.progress(d.rollout.id))
            if event.state.phase.over:
                _clear(d)
                return event.state
        time.sleep(max(0.0, TICK - (time.monotonic() - started)))


def _catch_up(d: _Drive, now: float) -> None:
    """What people decided in time while nobody drove comes before what has run out since."""
    event = d.world.store.last(d.rollout.id)
    if event.state.asked:
        d.desk.look(event, now)
        d.desk.join(_TO_CATCH_UP)
        _said(d, event, now)


def _restart(d: _Drive, error: RouterError) -> None:
    """Bring the router back with what it served last; while that fails, the next turn tries again."""
    _LOG.warning("the router does not do what it should: %s", error)
    try:
        d.world.router.start_again()
    except RouterError as again:
        _LOG.warning("the router could not be started again: %s", again)


def _turn(d: _Drive, me: str) -> Event:
    now = time.time()
    before = d.world.store.last(d.rollout.id).state
    if not before.phase.over:
        d.healer.look(before)
        d.world.feedback.look()
    event = _said(d, d.controller.tick(me, now), now)
    state = event.state
    if state.phase is Phase.PROMOTING and (ready := _move_alias(d, event)):
        event = ready
        d.controller.conform(event.state, now)
    elif state.phase is Phase.ROLLING_BACK:  # the tick has verified that stable answers everything
        event = d.controller.record(event, Settled(), now)
        d.controller.conform(event.state, now)
    return _give_up(d, event, now)


def _said(d: _Drive, event: Event, now: float) -> Event:
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


def _recorded(d: _Drive, event: Event, happening: Happening, now: float) -> Event:
    """After a command that came in the same moment, too. Raises `Fenced` when somebody else goes on recording."""
    try:
        return d.controller.record(event, happening, now)
    except Fenced:
        return d.controller.record(d.world.store.last(d.rollout.id), happening, now)


def _give_up(d: _Drive, event: Event, now: float) -> Event:
    """A challenger whose replicas do not stay up; with others beside it in the step, they go on without it."""
    for side in d.world.spec.rollout.challengers:
        state = event.state
        if not state.phase.stepping or side in state.dropped or d.healer.deaths.get(side, 0) <= _DEATHS:
            continue
        why = f"{'the candidate' if side == 'candidate' else side}'s replicas died {_DEATHS} times"
        several = len(d.rollout.spec.challengers_at(state.step)) > 1
        if several or side == "candidate":
            event = d.controller.record(event, Dropped(side, why) if several else Broke(why), now)
    return event


def _move_alias(d: _Drive, event: Event) -> Event | None:
    """Point @champion at the candidate once it answers everything; None while the registry does not answer."""
    subject = d.rollout.subject
    expected = subject["stable"] if d.world.spec.model.stable == "@champion" else None
    winner = event.state.winner
    if not d.world.sides(event.state.facts)[winner]:
        return None  # its replicas are coming back; stable answers meanwhile
    if (cleared := d.desk.cleared(event, time.time())) is not True:
        return d.controller.record(event, cleared, time.time()) if cleared else None
    try:
        d.world.registry.assign(subject["model"], subject[winner], expected=expected)
    except (Conflict, NoSuchVersion) as error:
        return d.controller.record(event, Broke(str(error)), time.time())
    except RegistryError:
        return None
    return d.controller.record(event, Settled(), time.time())


def _clear(d: _Drive) -> None:
    """Stop the side that lost, and close the rollout."""
    d.healer.join()
    tidy(d.world)
    d.desk.close(d.world.store.last(d.rollout.id).state)
    d.outbox.put("history in MLflow", partial(_record, d))
    announced.over(d.world, d.rollout)
    d.places.forget()
    d.world.store.close_rollout(d.rollout.id, time.time())


def _record(d: _Drive) -> None:
    """The whole story of the model until now, kept with the version that was tried."""
    version = version_of(d.world.registry, d.rollout, d.world.store.last(d.rollout.id).state)
    d.world.registry.record(version, f"history-{d.rollout.id}", history.files(d.world.store, d.rollout))


def _keep_notes(d: _Drive) -> None:
    """The worst disagreements, and what became of feedback, for people to look at."""
    examples = [asdict(example) for example in d.observation.examples()]
    if examples and examples != d.shown:
        d.world.store.note(d.rollout.id, report.DISAGREEMENTS, examples)
        d.shown = examples
    if (compared := d.drift.last) and compared is not d.compared:
        d.world.store.note(d.rollout.id, DRIFT, plain(asdict(compared)))
        d.compared = compared
    if (feedback := d.observation.feedback) and feedback != d.counted:
        d.world.store.note(d.rollout.id, report.FEEDBACK, feedback)
        d.counted = feedback


def _note(d: _Drive, state: State) -> None:
    """Show the phase on the version's page in the registry, whenever it changes."""
    mark = f"{state.phase}/{state.step}"
    if mark == d.noted:
        return
    d.noted = mark
    tags = {"rollout": d.rollout.id, "phase": str(state.phase)}
    if digest := state.facts.get(f"{state.winner}_digest"):
        tags["artifact_digest"] = digest
    if state.phase.over:
        tags["decision"] = f"{state.phase}: {state.reason}"
    subject = d.rollout.subject
    for side in d.rollout.spec.challengers if state.phase.over else (state.winner,):
        d.outbox.put("tags in MLflow", partial(d.world.registry.annotate, subject["model"], subject[side], tags))
