"""Several challengers in one `ab` step: who is dropped, who wins, and who is moved by it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from lockgate.monitoring.measurement import Arm, Arrivals, Group
from lockgate.rollout.advance import advance, routes
from lockgate.rollout.controller import Controller
from lockgate.rollout.errors import NotNow
from lockgate.rollout.ports import Observed, Observer, Span, Users
from lockgate.rollout.spec import RolloutSpec
from lockgate.rollout.state import Commanded, Dropped, Judged, State
from lockgate.rollout.store import Event, Rollout, Store
from lockgate.rollout.tables import progress as progress_table
from lockgate.rollout.verify import verify
from lockgate.rollout.words import Endpoint, Other, Outcome, Phase, Routes

SpecOf = Callable[..., RolloutSpec]
Plane = Any
AB = {"weight": 60, "metric": "conversion", "timeout": "7d", "others": ["small", "big"]}
SIDES = {name: (Endpoint("127.0.0.1", 9001 + i),) for i, name in enumerate(("stable", "candidate", "small", "big"))}
TICK = 600.0


@pytest.fixture
def memory() -> Iterator[Store]:
    store = Store("sqlite://")
    yield store
    store.close()


@dataclass
class People(Observer):
    """So many of each arm come to each look, and convert with these chances; their shares are the ones asked for."""

    chances: dict[str, float]
    each_look: int = 400
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(11))
    shares: dict[str, list[float]] = field(default_factory=dict)

    def observe(self, span: Span) -> Observed:
        shares = {"candidate": span.shares[-1][1]} | {name: of[-1][1] for name, of in span.others.items()}
        for name, share in shares.items():
            self.shares.setdefault(name, []).append(share)
        of = {name: self._pair(name, share) for name, share in shares.items()}
        own = of.pop("candidate")
        return Observed(rewards=own.rewards, arrivals=own.arrivals, others=of)

    def _pair(self, name: str, share: float) -> Users:
        mine = int(self.rng.binomial(self.each_look, share))
        theirs = self.each_look - mine
        k, m = self.rng.binomial(mine, self.chances[name]), self.rng.binomial(theirs, self.chances["stable"])
        group = Group(share, Arm(theirs, float(m), float(m)), Arm(mine, float(k), float(k)))
        return Users({"conversion": (group,)}, (Arrivals(share, theirs, mine),))


@dataclass
class Drive:
    store: Store
    rollout: Rollout
    plane: Plane
    people: People
    now: float = 0.0

    def until(self, over: Callable[[Event], bool], ticks: int = 900) -> Event:
        plane = self.plane
        plane.sides = SIDES
        controller = Controller(self.rollout, self.store, plane.router, (plane.source, self.people), lambda: SIDES)
        for _ in range(ticks):
            self.now += TICK
            plane.source.traffic(2000)
            if over(event := controller.tick("me", self.now)):
                return event
        pytest.fail(f"not in {ticks} ticks: {self.store.last(self.rollout.id).state}")

    def holds(self) -> bool:
        checks = verify(self.rollout.spec, self.store.events(self.rollout.id), self.store.looks(self.rollout.id))
        return not [check for check in checks if check.wrong]


@pytest.fixture
def drive_of(memory: Store, rollout_of: Any, begin: Any, plane: Plane, spec_of: SpecOf) -> Callable[..., Drive]:
    def make(chances: dict[str, float], *after: dict[str, Any], **ab: object) -> Drive:
        gates = {"errors": {"metric": "error_rate", "margin": "1%"}}
        steps = {"canary": {"weight": 20}}, {"ab": AB | ab}, *after
        rollout = rollout_of(spec_of(*steps, gates=gates, profile="default"))
        begin(memory, rollout, 0.0)
        return Drive(memory, rollout, plane, People(chances))

    return make


def ended(event: Event) -> bool:
    return event.state.phase not in (Phase.PROGRESSING, Phase.WAITING)


def test_challengers_share_the_weight_equally(spec_of: SpecOf) -> None:
    spec = spec_of({"ab": AB})
    assert routes(spec, State(Phase.PROGRESSING), SIDES, "s") == Routes(
        SIDES["stable"],
        SIDES["candidate"],
        2000,
        salt="s",
        others=(Other("small", SIDES["small"], 2000), Other("big", SIDES["big"], 2000)),
    )


def test_one_that_is_dropped_keeps_its_place_and_nobody_else_is_moved(spec_of: SpecOf) -> None:
    spec = spec_of({"ab": AB})
    whole = routes(spec, State(Phase.PROGRESSING), SIDES, "s")
    for name in ("candidate", "small"):
        left = routes(spec, State(Phase.PROGRESSING, dropped=(name,)), SIDES, "s")
        assert (left.weight, [other.weight for other in left.others]) == (2000, [2000, 2000])
        of = {"candidate": left.candidate} | {other.name: other.endpoints for other in left.others}
        before = {"candidate": whole.candidate} | {other.name: other.endpoints for other in whole.others}
        assert of == before | {name: ()}


def test_the_winner_gets_everything(spec_of: SpecOf) -> None:
    spec = spec_of({"ab": AB})
    promoting = State(Phase.PROMOTING, winner="small")
    assert routes(spec, promoting, SIDES, "s") == Routes(SIDES["stable"], SIDES["small"], 10_000, salt="s")
    assert routes(spec, State(Phase.SUCCEEDED, winner="small"), SIDES, "s") == Routes(SIDES["small"], salt="s")


def test_the_best_of_those_that_are_better_is_promoted(drive_of: Callable[..., Drive]) -> None:
    drive = drive_of({"stable": 0.10, "candidate": 0.15, "small": 0.20, "big": 0.13})
    event = drive.until(ended)
    assert (event.state.phase, event.state.winner) == (Phase.PROMOTING, "small")
    assert isinstance(event.happening, Judged)
    assert event.happening.verdict.reason.startswith("small: ")
    assert set(event.happening.verdict.others) == {"small", "big"}
    assert drive.plane.router.serves.candidate == SIDES["small"]
    assert drive.holds()


def test_people_are_asked_for_the_best_one_while_the_test_goes_on(drive_of: Callable[..., Drive]) -> None:
    drive = drive_of({"stable": 0.10, "candidate": 0.15, "small": 0.20, "big": 0.13}, {"approval": {}})
    event = drive.until(lambda event: event.state.phase is Phase.WAITING)
    assert (event.state.step, event.state.winner) == (2, "small")
    served, looks = drive.plane.router.serves, len(list(drive.store.looks(drive.rollout.id)))
    drive.until(lambda _: len(list(drive.store.looks(drive.rollout.id))) >= looks + 5)
    assert drive.plane.router.serves == served
    last = list(drive.store.looks(drive.rollout.id))[-1]
    assert (last.step, set(last.others)) == (1, {"small", "big"})
    assert last.others["small"].rewards
    drive.people.chances["small"] = 0.0  # nobody likes it any more: what was asked for is not what it was
    event = drive.until(ended)
    assert (event.state.phase, event.state.ending) == (Phase.ROLLING_BACK, "gate")
    assert event.state.reason.startswith("small, which was to be approved, failed: ab: fail")
    assert drive.holds()


def test_how_users_were_split_while_people_were_asked_is_in_the_log(drive_of: Callable[..., Drive]) -> None:
    drive = drive_of({"stable": 0.10, "candidate": 0.15, "small": 0.20, "big": 0.13}, {"approval": {"expires": "7d"}})
    drive.until(lambda event: event.state.phase is Phase.WAITING)
    drive.now += TICK
    drive.store.append(drive.rollout, drive.store.last(drive.rollout.id), Dropped("big", "it died"), drive.now)
    drive.now -= TICK  # the tick that applies it comes in the same moment
    drive.until(lambda _: True, ticks=1)
    before = drive.store.progress(drive.rollout.id)
    with drive.store._engine.begin() as db:
        db.execute(progress_table.delete())
    drive.until(lambda _: drive.store.progress(drive.rollout.id) is not None)
    after = drive.store.progress(drive.rollout.id)
    assert before is not None
    assert after is not None
    assert (after.index, after.began) == (before.index, before.began)
    assert (after.shares, after.others) == (before.shares, before.others)
    assert len(after.others["big"]) == 2


def test_one_that_does_worse_is_dropped_and_the_test_goes_on(drive_of: Callable[..., Drive]) -> None:
    drive = drive_of({"stable": 0.20, "candidate": 0.10, "small": 0.26, "big": 0.20})
    event = drive.until(lambda event: bool(event.state.dropped))
    assert event.state.dropped == ("candidate",)
    assert event.state.phase is Phase.PROGRESSING
    assert drive.plane.router.serves.candidate == ()
    drive.until(lambda _: True, ticks=1)
    assert drive.people.shares["small"][0] == pytest.approx(0.2 / 0.6)
    drive.until(lambda _: drive.people.shares["small"][-1] == pytest.approx(0.2 / 0.8), ticks=3)  # stable has more now
    assert drive.people.shares["candidate"][-1] == 0.0
    assert drive.holds()


def test_when_all_are_worse_stable_stays(drive_of: Callable[..., Drive]) -> None:
    drive = drive_of({"stable": 0.20, "candidate": 0.10, "small": 0.08, "big": 0.12})
    event = drive.until(ended)
    assert event.state.phase is Phase.ROLLING_BACK
    assert all(f"{name}: " in event.state.reason for name in ("candidate", "small", "big"))
    assert drive.holds()


def test_alpha_is_shared_by_the_challengers(drive_of: Callable[..., Drive]) -> None:
    drive = drive_of({"stable": 0.10, "candidate": 0.15, "small": 0.20, "big": 0.13})
    event = drive.until(ended)
    assert isinstance(event.happening, Judged)
    verdict = event.happening.verdict
    for gates in (verdict.gates, *verdict.others.values()):
        by = {gate.gate: gate for gate in gates}
        assert by["ab"].passes_from == pytest.approx(3 / 0.05)
        assert by["errors"].fails_from == pytest.approx(3 / 0.05)


def test_no_winner_without_replicas(drive_of: Callable[..., Drive]) -> None:
    drive = drive_of({"stable": 0.10, "candidate": 0.10, "small": 0.30, "big": 0.05})
    drive.until(lambda event: event.state.step == 1)
    gone = {**SIDES, "small": ()}
    plane = drive.plane
    controller = Controller(drive.rollout, drive.store, plane.router, (plane.source, drive.people), lambda: gone)
    for _ in range(60):
        drive.now += TICK
        plane.source.traffic(2000)
        event = controller.tick("me", drive.now)
        assert event.state.phase is not Phase.PROMOTING


def test_a_person_may_promote_any_that_is_left(spec_of: SpecOf) -> None:
    spec, state = spec_of({"ab": AB}), State(Phase.WAITING, dropped=("candidate",))
    assert advance(spec, state, Commanded("promote", "ada", variant="big"), 1.0).winner == "big"
    with pytest.raises(NotNow, match="cannot promote candidate: it was dropped; name one of small, big"):
        advance(spec, state, Commanded("promote", "ada"), 1.0)
    with pytest.raises(NotNow, match="is not in this step"):
        advance(spec, state, Commanded("promote", "ada", variant="huge"), 1.0)


def test_an_error_in_one_holds_all(spec_of: SpecOf) -> None:
    """Nothing is promoted while a challenger that is left may yet be the better one."""
    from lockgate.rollout.analysis.several import best_of
    from lockgate.rollout.verdict import Verdict

    def of(outcome: str) -> Verdict:
        return Verdict(Outcome(outcome), (), 10, 0.05, outcome)

    metric = spec_of({"ab": AB}).metric("conversion")
    for outcome in ("undecided", "error"):
        found = best_of({"candidate": of("pass"), "small": of(outcome), "big": of("fail")}, metric)
        assert (found.outcome, found.dropped) == (Outcome(outcome), ("big",))


def test_one_that_cannot_be_served_is_dropped_and_the_last_one_ends_it(spec_of: SpecOf) -> None:
    spec, state = spec_of({"ab": AB}), State(Phase.PROGRESSING)
    for name in ("big", "candidate"):
        state = advance(spec, state, Dropped(name, "it died"), 1.0)
    assert (state.phase, state.dropped) == (Phase.PROGRESSING, ("big", "candidate"))
    ended = advance(spec, state, Dropped("small", "it died"), 2.0)
    assert (ended.phase, ended.ending, ended.reason) == (Phase.ROLLING_BACK, "broken", "it died")
    with pytest.raises(NotNow, match="it is not one of several"):
        advance(spec_of({"ab": {**AB, "others": []}}), State(Phase.PROGRESSING), Dropped("candidate", "x"), 1.0)


def test_the_rest_decide_without_one_that_was_dropped(drive_of: Callable[..., Drive]) -> None:
    drive = drive_of({"stable": 0.10, "candidate": 0.10, "small": 0.20, "big": 0.05})
    drive.until(lambda event: event.state.step == 1)
    drive.store.append(drive.rollout, drive.store.last(drive.rollout.id), Dropped("candidate", "it died"), drive.now)
    event = drive.until(ended)
    assert (event.state.phase, event.state.winner) == (Phase.PROMOTING, "small")
    assert drive.holds()


def test_one_that_makes_no_difference_keeps_no_winner_waiting_for_ever(drive_of: Callable[..., Drive]) -> None:
    drive = drive_of({"stable": 0.10, "candidate": 0.10, "small": 0.30, "big": 0.10}, timeout="2d")
    event = drive.until(ended)
    assert (event.state.phase, event.state.winner) == (Phase.PROMOTING, "small")
    assert event.state.reason == "small is proven to be better"
    assert event.at >= 2 * 86_400
    assert drive.holds()


def test_a_candidate_that_is_away_hides_nothing_of_the_others(drive_of: Callable[..., Drive]) -> None:
    drive = drive_of({"stable": 0.10, "candidate": 0.10, "small": 0.10, "big": 0.10})
    drive.until(lambda event: event.state.step == 1)
    away = {**SIDES, "candidate": ()}
    plane = drive.plane
    controller = Controller(drive.rollout, drive.store, plane.router, (plane.source, drive.people), lambda: away)
    for _ in range(5):
        drive.now += TICK
        plane.source.traffic(2000)
        controller.tick("me", drive.now)
    progress = drive.store.progress(drive.rollout.id)
    assert progress is not None
    assert progress.verdict is not None
    assert progress.verdict.outcome is Outcome.UNDECIDED
