"""The controller's tick, on a data plane made of numbers: healthy, failing, interrupted, contested."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from itertools import count, pairwise
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
from sqlalchemy import text

from lockgate.rollout.advance import fold
from lockgate.rollout.controller import LEASE, Controller
from lockgate.rollout.errors import Fenced, RouterDown, RouterRefused
from lockgate.rollout.spec import RolloutSpec
from lockgate.rollout.state import Asked, Broke, Commanded, Decided, Judged, Settled, State
from lockgate.rollout.store import Event, Rollout, Store
from lockgate.rollout.verify import verify
from lockgate.rollout.words import WHOLE, Endpoint, Outcome, Phase, Routes

SpecOf = Callable[..., RolloutSpec]
RolloutOf = Callable[..., Rollout]
Begin = Callable[[Store, Rollout, float], Event]
Plane = Any
"""conftest.py's"""

LIVE = 20_000
"""Requests between two ticks: enough for every gate to be decided at a step's second look."""
TICK = 10.0
SHARES = [(0, WHOLE), (500, 0), (2500, 0), (WHOLE, 0)]
"""(weight, mirror) of every step in its order, and of promoting."""


@pytest.fixture
def memory() -> Iterator[Store]:
    store = Store("sqlite://")
    yield store
    store.close()


@dataclass
class Drive:
    """One rollout on one data plane, whose ticks are ten seconds apart."""

    store: Store
    rollout: Rollout
    plane: Plane
    now: float = 0.0
    controller: Controller = field(init=False)

    def __post_init__(self) -> None:
        self.controller = self.another()

    def another(self) -> Controller:
        return Controller(self.rollout, self.store, self.plane.router, self.plane.source, lambda: self.plane.sides)

    def tick(self, live: int = LIVE, owner: str = "me") -> Event:
        self.plane.source.traffic(live)
        self.now += TICK
        return self.controller.tick(owner, self.now)

    def almost(self, owner: str = "me") -> None:
        """The first step begins its counts, and is looked at once: limits are taken from earlier looks."""
        self.tick(owner=owner)
        self.tick(owner=owner)

    def until(self, phase: Phase, step: int = 0, ticks: int = 20) -> Event:
        for _ in range(ticks):
            event = self.tick()
            if event.state.phase is phase and event.state.step >= step:
                return event
        raise AssertionError(f"still {event.state} after {ticks} ticks")

    def say(self, command: str) -> Event:
        return self.store.append(self.rollout, self.last, Commanded(command, "ada"), self.now)  # type: ignore[arg-type]

    @property
    def last(self) -> Event:
        return self.store.last(self.rollout.id)

    def shares(self) -> list[tuple[int, int]]:
        """What was applied, without what was applied again."""
        applied = [(r.weight, r.mirror) for r in self.plane.router.history]
        return [b for a, b in pairwise([None, *applied]) if a != b and b is not None]

    def steps(self) -> list[tuple[Phase, int]]:
        """Of the log, from the first step on."""
        return [(e.state.phase, e.state.step) for e in self.store.events(self.rollout.id)[1:]]


@pytest.fixture
def drive(memory: Store, plane: Plane, rollout_of: RolloutOf, begin: Begin) -> Drive:
    rollout = rollout_of()
    begin(memory, rollout, 0.0)
    return Drive(memory, rollout, plane)


HEALTHY = [(Phase.PROGRESSING, 0), (Phase.PROGRESSING, 1), (Phase.PROGRESSING, 2), (Phase.PROMOTING, 2)]


class TestHealthy:
    def test_is_lifted_step_by_step(self, drive: Drive) -> None:
        event = drive.until(Phase.PROMOTING)
        assert drive.shares() == SHARES
        assert drive.steps() == HEALTHY
        assert event.state.reason == "every step passed"
        drive.controller.record(event, Settled(), drive.now)
        assert drive.tick().state.phase is Phase.SUCCEEDED
        assert drive.plane.router.serves == Routes(drive.plane.sides["candidate"], salt=drive.rollout.id)

    def test_every_advance_carries_a_pass_with_its_numbers(self, drive: Drive) -> None:
        drive.until(Phase.PROMOTING)
        judged = [e.happening for e in drive.store.events(drive.rollout.id) if isinstance(e.happening, Judged)]
        assert len(judged) == 3
        for happening in judged:
            assert happening.verdict.outcome is Outcome.PASS
            assert happening.verdict.requests >= 100
            assert {g.outcome for g in happening.verdict.gates} == {Outcome.PASS}

    def test_a_tick_that_changes_nothing_writes_and_applies_nothing(self, drive: Drive) -> None:
        drive.tick(0)
        events, applied = drive.store.events(drive.rollout.id), len(drive.plane.router.history)
        for _ in range(3):
            drive.tick(10)
        assert drive.store.events(drive.rollout.id) == events
        assert len(drive.plane.router.history) == applied
        progress = drive.store.progress(drive.rollout.id)
        assert progress is not None
        assert (progress.step.shadow.requests, progress.verdict.outcome) == (30, Outcome.UNDECIDED)

    def test_what_was_counted_before_a_step_is_not_its_evidence(self, drive: Drive) -> None:
        drive.until(Phase.PROGRESSING, step=1)
        progress = drive.store.progress(drive.rollout.id)
        assert progress is not None
        assert (progress.index, progress.step.stable.requests, progress.verdict) == (1, 0, None)
        assert progress.seen == drive.plane.source.measure()

    @pytest.mark.parametrize("phase", [Phase.BUILDING, Phase.FAILED])
    def test_before_the_steps_and_after_a_failure_traffic_is_left_alone(
        self, phase: Phase, memory: Store, plane: Plane, rollout_of: RolloutOf
    ) -> None:
        rollout = rollout_of()
        memory.open(rollout, 0.0)
        if phase is Phase.FAILED:
            memory.append(rollout, memory.last(rollout.id), Broke("no signature", refused=True), 1.0)
        plane.router.down = True
        assert Drive(memory, rollout, plane).tick().state.phase is phase


class TestRollback:
    @pytest.mark.parametrize("step", [0, 1, 2])
    def test_on_errors_in_any_step(self, step: int, drive: Drive) -> None:
        drive.until(Phase.PROGRESSING, step=step)
        side = drive.plane.source.shadow if step == 0 else drive.plane.source.candidate
        side.errors = 0.2
        event = drive.tick()
        assert (event.state.phase, event.state.ending) == (Phase.ROLLING_BACK, "gate")
        assert "candidate failed" in event.state.reason
        assert drive.shares() == [*SHARES[: step + 1], (0, 0)]
        drive.controller.record(event, Settled(), drive.now)
        assert drive.tick().state.phase is Phase.ROLLED_BACK
        assert drive.plane.router.serves == Routes(drive.plane.sides["stable"], salt=drive.rollout.id)

    def test_on_latency(self, drive: Drive) -> None:
        drive.until(Phase.PROGRESSING, step=1)
        drive.plane.source.candidate.latency_ms = 30.0
        assert drive.until(Phase.ROLLING_BACK).state.ending == "gate"

    @pytest.mark.parametrize("command", ["pause", "nothing"])
    def test_on_errors_while_paused_or_waiting(self, command: str, drive: Drive, spec_of: SpecOf) -> None:
        if command == "pause":
            drive.tick()
            drive.say("pause")
        else:
            spec = spec_of({"shadow": {"timeout": "5s", "on_timeout": "hold", "hold": {"min_requests": 10**9}}})
            object.__setattr__(drive.rollout, "spec", spec)
            drive.until(Phase.WAITING)
        drive.plane.source.shadow.errors = 0.2
        assert drive.until(Phase.ROLLING_BACK).state.ending == "gate"

    def test_by_hand(self, drive: Drive) -> None:
        drive.until(Phase.PROGRESSING, step=2)
        drive.say("abort")
        assert drive.tick().state.phase is Phase.ROLLING_BACK
        assert drive.shares()[-1] == (0, 0)


class TestMeasurementsAreLost:
    def test_is_an_error_that_never_advances(self, drive: Drive) -> None:
        drive.tick()
        drive.plane.source.down = True
        for _ in range(10):
            assert drive.tick().state.step == 0
        progress = drive.store.progress(drive.rollout.id)
        assert progress is not None
        assert (progress.verdict.outcome, progress.verdict.reason) == (Outcome.ERROR, "no measurements to be had")
        drive.plane.source.down = False
        drive.until(Phase.PROGRESSING, step=1)

    def test_until_the_timeout_which_rolls_back(self, drive: Drive) -> None:
        drive.tick()
        drive.plane.source.down = True
        drive.now += 3600.0
        state = drive.tick().state
        assert (state.phase, state.ending) == (Phase.ROLLING_BACK, "undecided")
        assert "was error when its timeout" in state.reason

    def test_from_the_first_moment_of_a_step_does_not_keep_it_open_for_ever(self, drive: Drive) -> None:
        drive.plane.source.down = True
        for _ in range(3):
            assert drive.tick().state.phase is Phase.PROGRESSING
        assert drive.store.progress(drive.rollout.id) is None
        drive.now += 3600.0
        assert drive.tick().state.ending == "undecided"
        assert drive.shares() == [(0, WHOLE), (0, 0)]

    def test_from_the_first_moment_of_a_step_costs_only_time(self, drive: Drive) -> None:
        drive.plane.source.down = True
        drive.tick()
        drive.plane.source.down = False
        drive.until(Phase.PROMOTING)
        assert drive.shares() == SHARES

    def test_counters_that_are_reset_in_mid_step_lose_nothing(self, drive: Drive) -> None:
        drive.until(Phase.PROGRESSING, step=1)
        drive.tick(400)
        drive.plane.source.reset()
        drive.tick(300)
        drive.tick(100)
        progress = drive.store.progress(drive.rollout.id)
        assert progress is not None
        assert (progress.step.stable.requests, progress.step.candidate.requests) == (760, 40)
        assert progress.step.stable.latency.total == 760


class TestWhatIsKeptIsLost:
    def test_evidence_is_computed_anew_from_the_looks(self, drive: Drive) -> None:
        """An earlier version's progress cannot be read, or its row is gone: the log has every look."""
        drive.until(Phase.PROGRESSING, step=1)
        drive.tick()
        before = drive.store.progress(drive.rollout.id)
        assert before is not None
        with drive.store._engine.begin() as db:
            db.execute(text("delete from lockgate_progress"))
        drive.tick(0)
        after = drive.store.progress(drive.rollout.id)
        assert after is not None
        assert after.evidence == before.evidence
        drive.until(Phase.PROMOTING)


class TestTheDataPlaneDiffers:
    def test_what_somebody_else_changed_is_put_right(self, drive: Drive) -> None:
        drive.until(Phase.PROGRESSING, step=1)
        wanted = drive.plane.router.serves
        drive.plane.router.serves = Routes((Endpoint("127.0.0.1", 1),), weight=9999)
        drive.tick(0)
        assert drive.plane.router.serves == wanted

    def test_new_replicas_are_routed_to(self, drive: Drive) -> None:
        drive.tick()
        more = (*drive.plane.sides["stable"], Endpoint("127.0.0.1", 9101))
        drive.plane.sides = {**drive.plane.sides, "stable": more}
        drive.tick(0)
        assert drive.plane.router.serves.stable == more

    @pytest.mark.parametrize("step", [0, 1, 2])
    def test_a_candidate_without_replicas_gets_no_traffic_and_does_not_advance(self, step: int, drive: Drive) -> None:
        """What was counted before it died would pass: a candidate that is not there must not be promoted by it."""
        drive.until(Phase.PROGRESSING, step=step)
        sides = drive.plane.sides
        drive.plane.source.traffic(LIVE)
        drive.plane.sides = {**sides, "candidate": ()}
        for _ in range(3):
            assert drive.tick().state.step == step
        assert drive.plane.router.serves == Routes(sides["stable"], salt=drive.rollout.id)
        progress = drive.store.progress(drive.rollout.id)
        assert progress is not None
        assert (progress.verdict.outcome, len(progress.verdict.gates)) == (Outcome.ERROR, 2)
        drive.plane.sides = sides
        drive.until(Phase.PROMOTING)

    def test_a_candidate_that_failed_before_it_died_is_rolled_back(self, drive: Drive) -> None:
        drive.until(Phase.PROGRESSING, step=1)
        drive.plane.source.candidate.errors = 0.5
        drive.plane.source.traffic(LIVE)
        drive.plane.sides = {**drive.plane.sides, "candidate": ()}
        assert drive.tick(0).state.ending == "gate"

    def test_a_router_that_is_down_is_said_and_healed_when_it_is_back(self, drive: Drive) -> None:
        drive.almost()
        drive.plane.router.down = True
        with pytest.raises(RouterDown):
            drive.tick()
        assert drive.last.state.step == 1  # decided and recorded; only the routes are late
        with pytest.raises(RouterDown):
            drive.tick()
        assert drive.last.state.step == 1  # and nobody counts for a step whose routes are not on
        drive.plane.router.down = False
        drive.until(Phase.PROMOTING)
        assert drive.shares() == SHARES

    def test_who_slept_until_somebody_else_went_on_changes_no_routes(self, drive: Drive) -> None:
        drive.almost()
        before, router = drive.plane.router.serves, drive.plane.router
        router.meanwhile = lambda: drive.say("abort")  # between the record and the routes of a step
        with pytest.raises(Fenced, match="went on"):
            drive.tick()
        assert drive.last.state.phase is Phase.ROLLING_BACK
        assert router.serves == before

    def test_endpoints_that_have_changed_meanwhile_are_applied_by_the_next_tick(self, drive: Drive) -> None:
        drive.almost()
        before, plane = drive.plane.router.serves, drive.plane
        old, other = dict(plane.sides), (Endpoint("127.0.0.1", 9009),)
        plane.router.meanwhile = lambda: setattr(plane, "sides", {**old, "stable": other})
        drive.tick()
        assert plane.router.serves == before
        plane.router.meanwhile = tuple
        drive.tick()
        assert plane.router.serves.stable == other

    def test_a_router_that_refuses_a_step_for_ever_is_rolled_back_at_its_timeout(
        self, drive: Drive, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def apply(routes: Routes, _: object) -> bool:
            if routes.weight:
                raise RouterRefused("no")
            drive.plane.router.serves = routes
            return True

        monkeypatch.setattr(drive.plane.router, "apply", apply)
        drive.almost()
        for _ in range(2):
            with pytest.raises(RouterRefused):
                drive.tick()
        drive.now += 3600.0
        assert drive.tick().state.ending == "undecided"
        assert drive.plane.router.serves.weight == 0


class TestPeople:
    def test_a_command_between_load_and_record_wins_and_the_next_tick_goes_on(
        self, drive: Drive, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        drive.almost()
        measure = drive.plane.source.measure

        def slow_measure() -> object:
            monkeypatch.setattr(drive.plane.source, "measure", measure)
            drive.say("pause")
            return measure()

        monkeypatch.setattr(drive.plane.source, "measure", slow_measure)
        with pytest.raises(Fenced, match="recorded event 3"):
            drive.tick()
        assert drive.tick().state.paused_at is not None
        assert drive.tick().state.step == 0
        drive.say("resume")
        assert drive.tick().state.step == 1

    def test_promote_skips_what_is_left(self, drive: Drive) -> None:
        drive.tick()
        drive.say("promote")
        assert drive.tick().state.phase is Phase.PROMOTING
        assert drive.shares() == [(0, WHOLE), (WHOLE, 0)]


class TestTwoControllers:
    def test_one_drives_and_the_other_takes_over_when_the_lease_ends(self, drive: Drive) -> None:
        drive.almost(owner="a")
        drive.controller = drive.another()
        with pytest.raises(Fenced, match=f"{drive.rollout.id} is driven by a"):
            drive.tick(owner="b")
        drive.now += LEASE
        assert drive.tick(owner="b").state.step == 1
        with pytest.raises(Fenced, match="is driven by b"):
            drive.tick(owner="a")

    def test_an_unknown_holder_is_not_an_empty_word(self, drive: Drive, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Store, "lease", lambda *_: False)
        with pytest.raises(Fenced, match="is driven by another controller"):
            drive.tick()

    def test_of_four_that_believe_to_drive_one_decides(
        self, tmp_path: Path, plane: Plane, rollout_of: RolloutOf, begin: Begin
    ) -> None:
        """All of them with one name, so that the lease holds nobody back: the fence alone decides."""
        url, rollout, barrier = f"sqlite:///{tmp_path}/lockgate.db", rollout_of(), Barrier(4)
        with closing(Store(url)) as store:
            begin(store, rollout, 0.0)
            Drive(store, rollout, plane).almost()
            plane.source.traffic(LIVE)

            def one(_: int) -> Event | Fenced:
                with closing(Store(url)) as mine:
                    controller = Drive(mine, rollout, plane).controller
                    barrier.wait(30)
                    try:
                        return controller.tick("me", 3 * TICK)
                    except Fenced as fenced:
                        return fenced

            with ThreadPoolExecutor(4) as threads:
                results = list(threads.map(one, range(4)))
            assert [e.state.step for e in store.events(rollout.id)] == [0, 0, 1]
        assert all(isinstance(r, Fenced) or r.state.step == 1 for r in results), results
        assert plane.router.serves.weight == 500


class Crash(BaseException):
    """The process is killed: nothing may catch it."""


@dataclass
class Killer:
    """Kills whoever makes the k-th call to the store, the router, the source or the sides: before it, or after."""

    at: int
    after: bool
    calls: int = 0

    def watching(self, it: Any) -> Any:
        killer = self

        class Watched:
            def __getattr__(self, name: str) -> Any:
                return killer.watched(getattr(it, name))

        return Watched()

    def watched(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any) -> Any:
            self.calls += 1
            mine = self.calls
            if mine == self.at and not self.after:
                raise Crash
            result = call(*args)
            if mine == self.at:
                raise Crash
            return result

        return counted


def asked_or_decided(state: State) -> Asked | Decided:
    """What comes next in an approval step."""
    if not state.asked:
        return Asked("d", "a", 1e9)
    return Decided(approved=True, by="ada", digest=state.asked)


def killed_once(drive: Drive, killer: Killer, owner: str) -> bool:
    """Drive to the end with the killer about, a fresh controller following one that died; was one killed?"""
    plane, killed = drive.plane, False
    watching = [killer.watching(x) for x in (drive.store, plane.router, plane.source)]
    drive.controller = Controller(drive.rollout, *watching, killer.watched(lambda: plane.sides))
    for _ in range(40):
        try:
            event = drive.tick(owner=owner if killed else "me")
            if event.state.phase is Phase.WAITING:
                drive.controller.record(event, asked_or_decided(event.state), drive.now)
            if event.state.phase is Phase.PROMOTING:
                drive.controller.record(event, Settled(), drive.now)
        except Crash:
            killed, drive.controller = True, drive.another()
        except Fenced:
            pass  # the dead one's lease still runs
        if drive.last.state.phase is Phase.SUCCEEDED:
            drive.now, drive.controller = drive.now + LEASE, drive.another()
            drive.tick(owner="the last")
            return killed
    raise AssertionError(f"killed at call {killer.at}: {drive.last.state}")


APPROVED = [
    (Phase.PROGRESSING, 0),
    (Phase.PROGRESSING, 1),
    (Phase.WAITING, 2),
    (Phase.WAITING, 2),
    (Phase.PROGRESSING, 3),
    (Phase.PROMOTING, 3),
]
"""The same with a person who is asked, and approves, before the last step."""


@pytest.mark.parametrize(("moment", "owner"), [("before", "the next one"), ("after", "me")])
@pytest.mark.parametrize("steps", [HEALTHY, APPROVED], ids=["judged", "approved"])
def test_killed_at_any_call_the_next_controller_goes_on(  # noqa: PLR0913, PLR0917 - pytest passes them
    moment: str,
    owner: str,
    steps: list[tuple[Phase, int]],
    new_plane: Callable[[], Plane],
    rollout_of: RolloutOf,
    begin: Begin,
    spec_of: SpecOf,
) -> None:
    calls, row = 0, [{"shadow": {"percent": 100}}, {"canary": {"weight": 5}}, {"canary": {"weight": 25}}]
    if steps is APPROVED:
        row.insert(2, {"approval": {}})
    for k in count(1):
        with closing(Store("sqlite://")) as store:
            rollout, plane = rollout_of(spec_of(*row)), new_plane()
            begin(store, rollout, 0.0)
            drive = Drive(store, rollout, plane)
            killed = killed_once(drive, Killer(k, moment == "after"), owner)
            assert drive.steps() == [*steps, (Phase.SUCCEEDED, len(row) - 1)], f"killed at call {k}"
            assert drive.shares() == [*SHARES, (0, 0)], f"killed at call {k}"
            assert plane.router.serves == Routes(plane.sides["candidate"], salt=rollout.id)
            log = store.events(rollout.id)
            assert fold(rollout.spec, [(e.at, e.happening) for e in log]) == log[-1].state
            assert not [check for check in verify(rollout.spec, log, store.looks(rollout.id)) if check.wrong]
        if not killed:
            break
        calls = k
    assert calls > 30  # the killer did its work
