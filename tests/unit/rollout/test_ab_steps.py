"""Rollouts with an `ab` step, on a data plane made of numbers and users made of dice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest

from lockgate.monitoring.measurement import Arm, Arrivals, Group
from lockgate.rollout.advance import advance, label, routes, weight
from lockgate.rollout.analysis.allocation import moved
from lockgate.rollout.controller import Controller
from lockgate.rollout.errors import NotNow
from lockgate.rollout.ports import Observed, Observer, Span
from lockgate.rollout.spec import Ab, RolloutSpec
from lockgate.rollout.state import Allocated, Judged, State
from lockgate.rollout.store import Event, Rollout, Store
from lockgate.rollout.tables import progress as progress_table
from lockgate.rollout.verify import verify
from lockgate.rollout.words import WHOLE, Endpoint, Outcome, Phase, Routes

SpecOf = Callable[..., RolloutSpec]
Plane = Any
SIDES = {"stable": (Endpoint("127.0.0.1", 1),), "candidate": (Endpoint("127.0.0.1", 2),)}
AB = {"weight": 50, "metric": "conversion", "timeout": "7d"}
TICK = 600.0


@pytest.fixture
def memory() -> Iterator[Store]:
    store = Store("sqlite://")
    yield store
    store.close()


@dataclass
class Users(Observer):
    """So many come to each look, and convert with these chances. Some of the candidate's may be sent to stable."""

    stable: float
    candidate: float
    each_look: int = 400
    lost: float = 0.0
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(7))
    shares: list[tuple[tuple[float, float], ...]] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)

    def observe(self, span: Span) -> Observed:
        self.shares.append(span.shares)
        self.steps.append(span.step)
        share = span.shares[-1][1]
        mine = int(self.rng.binomial(self.each_look, share * (1 - self.lost)))
        theirs = self.each_look - mine
        arms = [
            Arm(n, float(k), float(k))
            for n, k in (
                (theirs, self.rng.binomial(theirs, self.stable)),
                (mine, self.rng.binomial(mine, self.candidate)),
            )
        ]
        groups = (Group(share, arms[0], arms[1]),)
        return Observed(rewards={"conversion": groups}, arrivals=(Arrivals(share, theirs, mine),))


@dataclass
class Drive:
    store: Store
    rollout: Rollout
    plane: Plane
    users: Users
    now: float = 0.0
    clock: float = 0.0

    def until(self, over: Callable[[Event], bool], ticks: int = 900) -> Event:
        plane = self.plane
        sources = plane.source, self.users
        later = lambda: self.now + self.clock  # noqa: E731 - as the controller takes it
        controller = Controller(self.rollout, self.store, plane.router, sources, lambda: plane.sides, later)
        for _ in range(ticks):
            self.now += TICK
            plane.source.traffic(2000)
            if over(event := controller.tick("me", self.now)):
                return event
        pytest.fail(f"not in {ticks} ticks: {self.store.last(self.rollout.id).state}")


DriveOf = Callable[..., Drive]


@pytest.fixture
def drive_of(memory: Store, rollout_of: Any, begin: Any, plane: Plane, spec_of: SpecOf) -> DriveOf:
    def make(users: Users, *after: dict[str, Any], **ab: object) -> Drive:
        rollout = rollout_of(spec_of({"canary": {"weight": 20}}, {"ab": AB | ab}, *after, profile="default"))
        begin(memory, rollout, 0.0)
        return Drive(memory, rollout, plane, users)

    return make


def ended(event: Event) -> bool:
    return event.state.phase not in (Phase.PROGRESSING, Phase.WAITING)


def holds(drive: Drive) -> bool:
    store, rollout = drive.store, drive.rollout
    return not [c for c in verify(rollout.spec, store.events(rollout.id), store.looks(rollout.id)) if c.wrong]


def test_users_are_split_by_the_weight(spec_of: SpecOf) -> None:
    spec = spec_of({"ab": AB})
    state = State(Phase.PROGRESSING)
    assert routes(spec, state, SIDES, "salt").weight == 5000
    assert label(spec.steps[0]) == "ab 50 %"
    moved = advance(spec, state, Allocated(7000, "why"), 60.0)
    assert (moved.weight, moved.weighed_at) == (7000, 60.0)
    assert routes(spec, moved, SIDES, "salt").weight == 7000


def test_shares_are_moved_in_ab_steps_that_go_on_only(spec_of: SpecOf) -> None:
    ab, canary = spec_of({"ab": AB}), spec_of({"canary": {"weight": 5}})
    for spec, state in (
        (canary, State(Phase.PROGRESSING)),
        (ab, State(Phase.WAITING)),
        (ab, State(Phase.PROGRESSING, paused_at=3.0)),
        (ab, State(Phase.PROMOTING)),
    ):
        with pytest.raises(NotNow, match=str(state.phase)):
            advance(spec, state, Allocated(7000, "why"), 60.0)


def test_what_was_moved_ends_with_the_step(spec_of: SpecOf, verdict_of: Any) -> None:
    spec = spec_of({"ab": AB}, {"canary": {"weight": 60}})
    state = advance(spec, State(Phase.PROGRESSING, weight=7000), Judged(verdict_of("pass")), 60.0)
    assert (state.step, weight(spec.steps[1], state)) == (1, 6000)


def test_a_candidate_that_users_like_better_is_promoted(drive_of: DriveOf) -> None:
    drive = drive_of(Users(0.10, 0.13))
    event = drive.until(ended)
    assert event.state.phase is Phase.PROMOTING
    assert isinstance(event.happening, Judged)
    test = event.happening.verdict.gates[-1]
    assert (test.gate, test.outcome) == ("ab", Outcome.PASS)
    assert test.interval is not None
    assert 0 < test.interval[0] < 0.3 < test.interval[1]
    assert holds(drive)


def test_one_that_is_no_better_by_the_minimum_effect_goes_back(drive_of: DriveOf) -> None:
    drive = drive_of(Users(0.30, 0.30, each_look=4000), minimum_effect="5%")
    event = drive.until(ended)
    assert (event.state.phase, event.state.ending) == (Phase.ROLLING_BACK, "gate")
    assert event.state.reason.startswith("ab: fail")
    assert holds(drive)


def test_an_assignment_that_is_not_what_the_routes_say_ends_the_test(drive_of: DriveOf) -> None:
    drive = drive_of(Users(0.10, 0.20, lost=0.15))
    event = drive.until(ended)
    assert event.state.phase is Phase.ROLLING_BACK
    assert "the test is invalid" in event.state.reason


def test_the_test_begins_with_its_step(drive_of: DriveOf) -> None:
    """Users of the canary before it are no part of it."""
    drive = drive_of(Users(0.10, 0.10))
    drive.until(lambda event: event.state.step == 1)
    drive.until(lambda _: drive.now > 0, ticks=1)
    drive.until(lambda _: True, ticks=1)
    progress = drive.store.progress(drive.rollout.id)
    assert progress is not None
    assert progress.verdict is not None
    test = next(gate for gate in progress.verdict.gates if gate.gate == "ab")
    assert test.candidate_requests + test.stable_requests <= 800


def test_a_lost_progress_is_computed_anew(drive_of: DriveOf) -> None:
    drive = drive_of(Users(0.10, 0.10))
    drive.until(lambda event: event.state.step == 1)
    drive.until(lambda _: len(drive.users.shares) > 20)
    before = drive.store.progress(drive.rollout.id)
    controller = Controller(
        drive.rollout, drive.store, drive.plane.router, (drive.plane.source, drive.users), lambda: drive.plane.sides
    )
    assert before is not None
    assert controller._evidence() == before.evidence


class TestThompson:
    def test_the_better_side_gets_more_and_the_log_says_so(self, drive_of: DriveOf) -> None:
        drive = drive_of(Users(0.10, 0.112), allocation="thompson")
        event = drive.until(ended)
        assert event.state.phase is Phase.PROMOTING
        moves = [e for e in drive.store.events(drive.rollout.id) if isinstance(e.happening, Allocated)]
        assert moves
        last = moves[-1].happening
        assert isinstance(last, Allocated)
        assert 5000 < last.weight <= 9000
        assert "chance" in last.reason
        assert holds(drive)

    def test_users_are_judged_by_the_share_they_came_with(self, drive_of: DriveOf) -> None:
        drive = drive_of(Users(0.10, 0.112), allocation="thompson")
        drive.until(ended)
        moves = [e for e in drive.store.events(drive.rollout.id) if isinstance(e.happening, Allocated)]
        shares = drive.users.shares[-1]
        assert [share for _, share in shares] == [0.5, *(m.happening.weight / WHOLE for m in moves)]  # type: ignore[union-attr]
        assert [at for at, _ in shares] == sorted(at for at, _ in shares)

    def test_in_the_approval_after_it_the_share_stays(self, drive_of: DriveOf) -> None:
        drive = drive_of(Users(0.10, 0.112), {"approval": {"expires": "30d"}}, allocation="thompson")
        event = drive.until(lambda event: event.state.phase is Phase.WAITING)
        share = event.state.weight
        assert share is not None
        assert share > 5000
        asked, looks = drive.now, len(drive.users.shares)
        drive.until(lambda _: drive.now > asked + 7 * 86_400, ticks=2000)
        assert drive.plane.router.serves.weight == share
        assert len(drive.users.shares) > looks + 100
        assert drive.users.shares[-1][-1][1] == share / WHOLE
        assert drive.users.shares[-1] == drive.users.shares[looks]
        assert set(drive.users.steps[looks:]) == {1}  # their ledger is that of the test
        assert holds(drive)

    def test_stable_keeps_a_fifth_of_its_share(self, drive_of: DriveOf) -> None:
        drive = drive_of(Users(0.30, 0.10), allocation="thompson", minimum_effect="1%")
        event = drive.until(ended)
        assert event.state.phase is Phase.ROLLING_BACK
        assert min(share for _, share in drive.users.shares[-1]) >= 0.1

    def test_without_users_nobody_is_moved(self, drive_of: DriveOf) -> None:
        drive = drive_of(Users(0.10, 0.10, each_look=0), allocation="thompson")
        drive.until(lambda event: event.state.step == 1)
        drive.until(lambda _: drive.now > 300_000)
        assert not [e for e in drive.store.events(drive.rollout.id) if isinstance(e.happening, Allocated)]

    @pytest.mark.parametrize(
        ("weight", "chance", "share"),
        [(5, 0.5, 0.05), (20, 0.5, 0.2), (50, 1.0, 0.9), (5, 0.0, 0.01), (5, 0.95, 0.5), (80, 0.5, 0.8)],
    )
    def test_an_even_chance_is_the_weight_itself(self, weight: float, chance: float, share: float) -> None:
        ab = Ab.model_validate(AB | {"weight": weight, "allocation": "thompson"})
        found = moved(ab, State(Phase.PROGRESSING, weight=0), chance)
        got = found.weight / WHOLE if found else 0.0
        assert got == pytest.approx(share if share >= 0.02 else 0.0, abs=0.001)

    def test_a_forged_move_is_found(self, drive_of: DriveOf) -> None:
        drive = drive_of(Users(0.10, 0.112), allocation="thompson")
        drive.until(ended)
        events = drive.store.events(drive.rollout.id)
        place = next(i for i, e in enumerate(events) if isinstance(e.happening, Allocated))
        forged = [*events]
        said = forged[place].happening
        assert isinstance(said, Allocated)
        forged[place] = replace(forged[place], happening=replace(said, weight=9999))
        found = [c for c in verify(drive.rollout.spec, forged, drive.store.looks(drive.rollout.id)) if c.wrong]
        assert any("the share was moved to 99.99%" in said for said in found[0].wrong)


class TestWhenSharesAreOn:
    def test_they_are_known_before_and_timed_after(self, drive_of: DriveOf) -> None:
        """A driver that dies between the two leaves no user without a share."""
        drive = drive_of(Users(0.10, 0.112), allocation="thompson")
        drive.until(lambda event: event.state.step == 1)
        router, known = drive.plane.router, []
        serve = router.apply

        def apply(routes: Routes, still: Callable[[], bool]) -> bool:
            progress = drive.store.progress(drive.rollout.id)
            assert progress is not None
            known.append((progress.shares[-1][1], routes.weight / WHOLE))
            return serve(routes, still)

        router.apply = apply
        drive.clock = 5.0  # seconds that a tick takes
        event = drive.until(lambda event: isinstance(event.happening, Allocated))
        assert known == [(known[0][1],) * 2]
        progress = drive.store.progress(drive.rollout.id)
        assert progress is not None
        assert progress.shares[-1] == (event.at + 5.0, known[0][1])

    def test_those_of_a_lost_progress_are_in_the_log(self, drive_of: DriveOf) -> None:
        drive = drive_of(Users(0.10, 0.112), allocation="thompson")
        drive.until(lambda event: isinstance(event.happening, Allocated))
        before = drive.store.progress(drive.rollout.id)
        with drive.store._engine.begin() as db:
            db.execute(progress_table.delete())
        drive.until(lambda _: drive.store.progress(drive.rollout.id) is not None)
        after = drive.store.progress(drive.rollout.id)
        assert before is not None
        assert after is not None
        assert (after.began, after.shares) == (before.began, before.shares)
