"""An outage ends at the tick that finds it, however far apart the looks are; and what is none is left to the gates."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from lockgate.rollout.advance import fold
from lockgate.rollout.controller import Controller
from lockgate.rollout.progress import LONGEST
from lockgate.rollout.spec import RolloutSpec
from lockgate.rollout.state import Commanded, State
from lockgate.rollout.store import Event, Rollout, Store
from lockgate.rollout.verify import verify
from lockgate.rollout.words import Endpoint, Outcome, Phase

SpecOf = Callable[..., RolloutSpec]
Plane = Any
LIVE = 20
"""Requests between two ticks, which are a second apart."""
DAY = 86_400.0
AT_MOST = 10
"""Ticks from the fault to the way back."""
LONG = {"hold": {"min_requests": 10**9}, "timeout": "30d"}
STEPS = {
    "shadow": {"shadow": {"percent": 100, **LONG}},
    "canary at 5 %": {"canary": {"weight": 5, **LONG}},
    "canary at 50 %": {"canary": {"weight": 50, **LONG}},
    "ab": {"ab": {"weight": 20, "metric": "conversion", **LONG}},
}
GATES: dict[str, dict[str, Any]] = {
    "errors": {"metric": "error_rate", "margin": "1%"},
    "slow": {"metric": "latency", "quantile": 0.9, "margin": "20%"},
    "asked": {"query": "up", "max": 1.0},
}


@pytest.fixture
def memory() -> Iterator[Store]:
    store = Store("sqlite://")
    yield store
    store.close()


@dataclass
class Drive:
    store: Store
    rollout: Rollout
    plane: Plane
    now: float = 1000.0
    controller: Controller = field(init=False)

    def __post_init__(self) -> None:
        self.controller = self.another()

    def another(self) -> Controller:
        return Controller(self.rollout, self.store, self.plane.router, self.plane.source, lambda: self.plane.sides)

    def tick(self, live: int = LIVE) -> State:
        self.plane.source.traffic(live)
        self.now += 1.0
        return self.controller.tick("me", self.now).state

    def fail(self, share: float = 1.0) -> None:
        self.plane.source.candidate.errors = self.plane.source.shadow.errors = share

    def ticks_to_the_way_back(self, most: int = 60) -> int | None:
        return next((i for i in range(1, most + 1) if self.tick().phase is Phase.ROLLING_BACK), None)

    def grow_old(self, ticks: int = 35) -> None:
        """Three days at this traffic, in a few ticks; at their end, looks are far apart."""
        self.tick()
        self.tick(LIVE * int(3 * DAY))
        self.now += 3 * DAY
        for _ in range(ticks):
            self.tick()

    @property
    def looks(self) -> int:
        return len(list(self.store.looks(self.rollout.id)))

    @property
    def last(self) -> Event:
        return self.store.last(self.rollout.id)

    def holds(self) -> bool:
        events = self.store.events(self.rollout.id)
        assert fold(self.rollout.spec, [(e.at, e.happening) for e in events]) == events[-1].state
        return not [c.wrong for c in verify(self.rollout.spec, events, self.store.looks(self.rollout.id)) if c.wrong]


@pytest.fixture
def drive_of(memory: Store, plane: Plane, rollout_of: Any, begin: Any, spec_of: SpecOf) -> Callable[..., Drive]:
    def make(*steps: dict[str, Any], gates: tuple[str, ...] = ("errors",), profile: str = "default") -> Drive:
        rollout = rollout_of(spec_of(*steps, gates={name: GATES[name] for name in gates}, profile=profile))
        begin(memory, rollout, 1000.0)
        return Drive(memory, rollout, plane)

    return make


class TestAnOutage:
    @pytest.mark.parametrize("age", ["new", "old"])
    @pytest.mark.parametrize("step", STEPS)
    def test_ends_with_the_tick_that_finds_it(self, step: str, age: str, drive_of: Callable[..., Drive]) -> None:
        drive = drive_of(STEPS[step])
        drive.grow_old() if age == "old" else [drive.tick() for _ in range(5)]
        drive.fail()
        ticks = drive.ticks_to_the_way_back()
        assert ticks is not None
        assert ticks <= AT_MOST
        routes = drive.plane.router.serves
        assert (routes.weight, routes.mirror) == (0, 0)
        state = drive.last.state
        assert state.ending == "gate"
        if age == "old":  # in a new step the statistics may be as quick
            assert state.reason.startswith("outage: fail, candidate failed")
        assert drive.holds()

    @pytest.mark.parametrize("profile", ["fast", "default", "strict"])
    @pytest.mark.parametrize("gate", GATES)
    def test_needs_no_gate_that_would_find_it(self, gate: str, profile: str, drive_of: Callable[..., Drive]) -> None:
        drive = drive_of(STEPS["canary at 5 %"], gates=(gate,), profile=profile)
        drive.grow_old()
        drive.fail()
        assert drive.ticks_to_the_way_back() == 5

    def test_is_the_one_look_out_of_turn(self, drive_of: Callable[..., Drive]) -> None:
        drive = drive_of(STEPS["canary at 5 %"])
        drive.grow_old(35)
        before = drive.looks
        drive.fail()
        drive.ticks_to_the_way_back()
        assert drive.looks == before + 1

    def test_is_one_while_a_person_paused_or_is_asked(self, drive_of: Callable[..., Drive]) -> None:
        asked = {"canary": {"weight": 5, "until": "held", "hold": {"min_requests": 1}, "timeout": "30d"}}
        drive = drive_of(asked, {"approval": {}})
        while drive.tick().phase is not Phase.WAITING:
            pass
        drive.store.append(drive.rollout, drive.last, Commanded("pause", "ada"), drive.now)
        drive.fail()
        assert drive.ticks_to_the_way_back() == 5

    def test_that_began_before_is_found_by_whoever_takes_over(self, drive_of: Callable[..., Drive]) -> None:
        drive = drive_of(STEPS["canary at 5 %"])
        drive.grow_old()
        drive.fail()
        drive.tick()
        drive.controller = drive.another()
        assert drive.ticks_to_the_way_back() == 6  # what came since the last look was not failures only

    def test_whose_recording_was_lost_is_recorded_next(
        self, drive_of: Callable[..., Drive], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class Killed(BaseException):
            pass

        def killed(*_: object) -> None:
            raise Killed

        drive = drive_of(STEPS["canary at 5 %"])
        drive.tick()
        drive.fail()
        monkeypatch.setattr(drive.controller, "record", killed)
        with pytest.raises(Killed):
            drive.ticks_to_the_way_back()
        drive.controller = drive.another()
        assert drive.tick(0).phase is Phase.ROLLING_BACK
        assert drive.holds()


class TestNone:
    @pytest.mark.parametrize("gate", ["errors", "slow"])
    def test_stable_fails_alike(self, gate: str, drive_of: Callable[..., Drive]) -> None:
        drive = drive_of(STEPS["canary at 5 %"], gates=(gate,))
        drive.grow_old()
        drive.fail()
        drive.plane.source.stable.errors = 1.0
        assert drive.ticks_to_the_way_back() is None
        drive.plane.source.stable.errors = 0.0  # and when stable is back and the candidate is not, it is one
        assert drive.ticks_to_the_way_back() in (3, 4, 5)

    def test_both_are_slower_than_the_candidates_deadline(self, drive_of: Callable[..., Drive]) -> None:
        """Stable has more time; what takes it longer than that would have failed too."""
        drive = drive_of(STEPS["canary at 5 %"])
        drive.grow_old()
        drive.fail()
        drive.plane.source.stable.latency_ms = 3000.0
        assert drive.ticks_to_the_way_back() is None
        drive.plane.source.stable.latency_ms = 8.0
        assert drive.ticks_to_the_way_back() in (3, 4, 5)

    def test_two_of_three_fail(self, drive_of: Callable[..., Drive]) -> None:
        """A new step's statistics find it at a look; a gate that does not ask for it lets it go on."""
        drive = drive_of({"canary": {"weight": 15, **LONG}}, gates=("slow",))
        drive.fail(2 / 3)
        assert drive.ticks_to_the_way_back() is None
        drive.fail()
        assert drive.ticks_to_the_way_back() == 4

    def test_two_of_three_fail_and_the_statistics_say_so(self, drive_of: Callable[..., Drive]) -> None:
        drive = drive_of({"canary": {"weight": 15, **LONG}})
        [drive.tick() for _ in range(5)]
        drive.fail(2 / 3)
        assert drive.ticks_to_the_way_back() is not None
        assert drive.last.state.reason.startswith("errors: fail")
        assert "outage" not in drive.last.state.reason

    @pytest.mark.parametrize("live", [0, 19])
    def test_nothing_is_answered(self, live: int, drive_of: Callable[..., Drive]) -> None:
        drive = drive_of(STEPS["canary at 5 %"])
        drive.grow_old()
        drive.fail()
        looks = drive.looks
        assert {drive.tick(live).phase for _ in range(60)} == {Phase.PROGRESSING}
        assert drive.looks - looks <= 1 + 60 / LONGEST

    def test_its_replica_died_and_came_back(self, drive_of: Callable[..., Drive]) -> None:
        """Everybody knows: it is given no traffic, and what it failed before is not held against the next one."""
        drive = drive_of(STEPS["canary at 5 %"])
        drive.grow_old()
        drive.fail()
        for _ in range(4):
            drive.tick()
        sides = drive.plane.sides
        drive.plane.sides = {**sides, "candidate": ()}
        drive.tick(0)
        drive.plane.sides = sides
        drive.tick()  # which routes to it again
        assert {drive.tick().phase for _ in range(4)} == {Phase.PROGRESSING}
        assert drive.tick().phase is Phase.ROLLING_BACK

    def test_the_counters_are_not_to_be_had(self, drive_of: Callable[..., Drive]) -> None:
        drive = drive_of(STEPS["canary at 5 %"])
        drive.grow_old()
        drive.tick()
        before, drive.plane.source.down = drive.store.progress(drive.rollout.id), True
        assert {drive.tick().phase for _ in range(5)} == {Phase.PROGRESSING}
        assert drive.store.progress(drive.rollout.id) == before  # no look was due


class TestOfSeveral:
    @pytest.fixture
    def drive(self, drive_of: Callable[..., Drive], plane: Plane) -> Drive:
        ab = {"weight": 60, "metric": "conversion", "others": ["small", "big"], **LONG}
        plane.sides |= {"small": (Endpoint("127.0.0.1", 9003),), "big": (Endpoint("127.0.0.1", 9004),)}
        drive = drive_of({"ab": ab})
        drive.grow_old()
        return drive

    @pytest.mark.parametrize("name", ["candidate", "small"])
    def test_the_rest_go_on(self, name: str, drive: Drive) -> None:
        source = drive.plane.source
        (source.candidate if name == "candidate" else source.others[name]).errors = 1.0
        looks = drive.looks
        for _ in range(AT_MOST):
            drive.tick()
        state, routes = drive.last.state, drive.plane.router.serves
        assert (state.phase, state.dropped) == (Phase.PROGRESSING, (name,))
        with_servers = {one.name for one in routes.others if one.endpoints} | (
            {"candidate"} if routes.candidate else set()
        )
        assert with_servers == {"candidate", "small", "big"} - {name}
        assert drive.looks - looks <= 2
        assert drive.holds()

    def test_when_all_are_out_the_rollout_goes_back(self, drive: Drive) -> None:
        source = drive.plane.source
        for of in (source.candidate, *source.others.values()):
            of.errors = 1.0
        assert drive.ticks_to_the_way_back() == 4
        assert drive.plane.router.serves.weight == 0
        assert drive.last.happening.verdict.outcome is Outcome.FAIL
        assert drive.holds()
