"""Ticks through approval steps: what the step before has proven goes on, and nothing of it is lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from sqlalchemy import text

from lockgate.rollout.controller import Controller
from lockgate.rollout.spec import RolloutSpec
from lockgate.rollout.state import Asked, Commanded, Decided, Drifted, Happening, Judged, Voided
from lockgate.rollout.store import Event, Rollout, Store
from lockgate.rollout.verify import verify
from lockgate.rollout.words import Outcome, Phase, Routes

SpecOf = Callable[..., RolloutSpec]
Plane = Any
LIVE, TICK, DAY = 20_000, 10.0, 86_400.0
CANARY, MORE = {"canary": {"weight": 5}}, {"canary": {"weight": 25}}


def approval(**options: object) -> dict[str, Any]:
    return {"approval": options}


@dataclass
class Drive:
    store: Store
    rollout: Rollout
    plane: Plane
    now: float = 0.0
    controller: Controller = field(init=False)

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        plane = self.plane
        self.controller = Controller(self.rollout, self.store, plane.router, plane.source, lambda: plane.sides)

    def tick(self, live: int = LIVE, ticks: int = 1) -> Event:
        for _ in range(ticks):
            self.plane.source.traffic(live)
            self.now += TICK
            event = self.controller.tick("me", self.now)
        return event

    def until(self, phase: Phase, ticks: int = 20) -> Event:
        for _ in range(ticks):
            if (event := self.tick()).state.phase is phase:
                return event
        pytest.fail(f"still {event.state} after {ticks} ticks")

    def happen(self, *happened: Happening) -> Event:
        for one in happened:
            event = self.store.append(self.rollout, self.store.last(self.rollout.id), one, self.now)
        return event

    def approve(self) -> Event:
        asked = Asked("d", "a", self.now + DAY)
        return self.happen(asked, Decided(approved=True, by="ada", digest="d", verified=True, said_at=self.now))

    @property
    def progress(self) -> Any:
        return self.store.progress(self.rollout.id)

    def holds(self) -> bool:
        store, rollout = self.store, self.rollout
        return not [c for c in verify(rollout.spec, store.events(rollout.id), store.looks(rollout.id)) if c.wrong]


@pytest.fixture
def drive_of(plane: Plane, rollout_of: Any, begin: Any, spec_of: SpecOf) -> Iterator[Callable[..., Drive]]:
    store = Store("sqlite://")

    def make(*steps: dict[str, Any]) -> Drive:
        rollout = rollout_of(spec_of(*steps, profile="default"))
        begin(store, rollout, 0.0)
        return Drive(store, rollout, plane)

    yield make
    store.close()


@pytest.fixture
def drive(drive_of: Callable[..., Drive]) -> Drive:
    """Of a rollout that waits for people in its second step."""
    it = drive_of(CANARY, approval(), MORE)
    it.until(Phase.WAITING)
    return it


class TestWhilePeopleThink:
    def test_the_counts_of_the_step_before_go_on(self, drive: Drive) -> None:
        before, applied = drive.progress, len(drive.plane.router.history)
        drive.tick(ticks=3)
        after = drive.progress
        assert (after.index, after.began, after.evidence.step) == (0, before.began, 0)
        assert after.evidence.looks == before.evidence.looks + 3
        assert after.step.candidate.requests == before.step.candidate.requests + 3 * LIVE // 20
        assert after.verdict.requests == before.verdict.requests + 3 * LIVE // 20
        assert len(drive.plane.router.history) == applied
        assert {look.step for look in drive.store.looks(drive.rollout.id)} == {0}

    def test_verdicts_change_nothing_and_are_not_logged(self, drive: Drive) -> None:
        drive.happen(Asked("d", "a", 1e9))
        events = drive.store.events(drive.rollout.id)
        drive.tick(ticks=5)
        assert drive.progress.verdict.outcome is Outcome.PASS
        assert drive.store.events(drive.rollout.id) == events

    def test_the_next_step_begins_with_counts_of_its_own(self, drive: Drive) -> None:
        drive.approve()
        drive.tick()
        assert (drive.progress.index, drive.progress.step.stable.requests) == (2, 0)
        assert drive.plane.router.serves.weight == 2500
        assert drive.until(Phase.PROMOTING).state.step == 2
        assert {look.step for look in drive.store.looks(drive.rollout.id)} == {0, 2}
        assert drive.holds()

    @pytest.mark.parametrize("still", ["", "pause", "drift"])
    def test_a_gate_that_fails_rolls_back(self, still: str, drive: Drive) -> None:
        drive.happen(Asked("d", "a", 1e9))
        if still:
            drive.happen(Drifted(drifting=True, reason="x") if still == "drift" else Commanded("pause", "ada"))
        drive.plane.source.candidate.errors = 0.2
        event = drive.until(Phase.ROLLING_BACK)
        assert event.state.ending == "gate"
        assert "candidate failed" in event.state.reason
        assert drive.plane.router.serves.weight == 0
        assert drive.holds()

    def test_without_measurements_it_only_waits(self, drive: Drive) -> None:
        drive.plane.source.down = True
        assert drive.tick(ticks=3).state.phase is Phase.WAITING
        assert drive.progress.verdict.outcome is Outcome.ERROR

    def test_a_candidate_without_replicas_gets_nothing_and_is_put_back(self, drive: Drive) -> None:
        sides = drive.plane.sides
        drive.plane.sides = {**sides, "candidate": ()}
        assert drive.tick().state.phase is Phase.WAITING
        assert drive.plane.router.serves == Routes(sides["stable"], salt=drive.rollout.id)
        drive.plane.sides = sides
        drive.tick()
        assert drive.plane.router.serves.weight == 500

    def test_time_passes(self, drive: Drive) -> None:
        drive.happen(Asked("d", "a", drive.now + 100.0))
        assert drive.tick(0).state.phase is Phase.WAITING
        drive.now += 100.0
        assert drive.tick(0).state.phase is Phase.WAITING, "what was said in time may not be heard yet"
        drive.now += 60.0
        assert drive.tick(0).state.ending == "expired"
        assert drive.plane.router.serves.weight == 0
        assert drive.holds()

    def test_time_passes_without_measurements_too(self, drive: Drive) -> None:
        drive.plane.source.down = True
        drive.now += DAY
        assert drive.tick().state.ending == "expired"


class TestRestarts:
    def test_in_the_middle_of_it_lose_nothing(self, drive: Drive) -> None:
        drive.happen(Asked("d", "a", 1e9))
        drive.tick()
        before = drive.progress
        drive.restart()
        drive.tick()
        assert drive.progress.began == before.began
        assert drive.progress.evidence.looks == before.evidence.looks + 1
        assert drive.store.last(drive.rollout.id).state.asked == "d"

    def test_with_what_was_kept_lost_it_comes_from_the_log(self, drive: Drive) -> None:
        drive.tick(ticks=2)
        before = drive.progress
        with drive.store._engine.begin() as db:
            db.execute(text("delete from lockgate_progress"))
        drive.tick(0)
        after = drive.progress
        assert (after.index, after.began, after.shares) == (0, before.began, before.shares)
        assert after.evidence == before.evidence
        drive.tick()
        drive.approve()
        drive.until(Phase.PROMOTING)
        assert drive.holds()


class TestAsTheFirstStep:
    @pytest.fixture
    def first(self, drive_of: Callable[..., Drive]) -> Drive:
        return drive_of(approval(expires="1h"), CANARY)

    def test_stable_answers_everything_and_nobody_looks(self, first: Drive) -> None:
        assert first.tick(ticks=3).state.phase is Phase.WAITING
        assert first.plane.router.serves == Routes(first.plane.sides["stable"], salt=first.rollout.id)
        assert first.progress is None
        assert not list(first.store.looks(first.rollout.id))

    def test_time_passes(self, first: Drive) -> None:
        first.now = 3600.0 - TICK
        event = first.tick()
        assert (event.state.ending, event.at) == ("expired", 3600.0)
        assert isinstance(event.happening, Judged)
        assert event.happening.verdict.reason == "no step before it is judged"
        assert first.holds()

    def test_what_is_approved_is_judged_from_its_beginning(self, first: Drive) -> None:
        first.tick()
        first.approve()
        first.tick()
        assert (first.progress.index, first.progress.began) == (1, 10.0)
        assert first.until(Phase.PROMOTING).state.reason == "every step passed"
        assert first.holds()


class TestAsTheLastStep:
    def test_an_approval_promotes_with_the_next_tick_s_routes(self, drive_of: Callable[..., Drive]) -> None:
        drive = drive_of(CANARY, approval())
        drive.until(Phase.WAITING)
        drive.tick(ticks=5)
        assert drive.approve().state.reason == "every step passed, approved by ada"
        drive.tick()
        assert drive.plane.router.serves.weight == 10_000
        assert drive.holds()

    def test_a_log_with_everything_in_it_holds(self, drive_of: Callable[..., Drive]) -> None:
        drive = drive_of(CANARY, approval(required=2, on_expiry="renew"))
        drive.tick()
        drive.happen(Drifted(drifting=True, reason="x"))
        drive.tick(ticks=2)
        drive.happen(Drifted(drifting=False, reason="over"))
        drive.until(Phase.WAITING)
        drive.happen(Asked("d", "a", drive.now + 50.0), Voided("changed"), Asked("e", "a", drive.now + 50.0))
        drive.tick(ticks=12)
        assert drive.store.last(drive.rollout.id).state.asked == ""
        drive.approve()
        drive.happen(Drifted(drifting=True, reason="x"), Commanded("pause", "ada"), Commanded("resume", "ada"))
        drive.tick()
        drive.happen(Commanded("promote", "ada", "now", break_glass=True))
        assert drive.tick().state.phase is Phase.PROMOTING
        assert drive.holds()


def test_a_forged_approval_is_found(drive: Drive) -> None:
    """A log in which somebody's word was added does not lead where it says."""
    drive.happen(Asked("d", "a", 1e9))
    drive.tick()
    rollout, store = drive.rollout, drive.store
    drive.happen(Commanded("promote", "eve", "because", break_glass=True))
    events = store.events(rollout.id)
    events[-1] = Event(events[-1].sequence, events[-1].at, Commanded("promote", "eve"), events[-1].state)
    *_, last = verify(rollout.spec, events, store.looks(rollout.id))
    assert any("cannot promote: approval is not passed" in sentence for sentence in last.wrong)
