"""Drift holds a rollout and blames nobody; a person may let it go on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from lockgate.rollout.advance import advance, routes
from lockgate.rollout.errors import NotNow
from lockgate.rollout.spec import RolloutSpec
from lockgate.rollout.state import Allocated, Commanded, Drifted, Judged, State
from lockgate.rollout.verdict import Verdict
from lockgate.rollout.words import Endpoint, Phase

SpecOf = Callable[..., RolloutSpec]
VerdictOf = Callable[..., Verdict]
SIDES = {"stable": (Endpoint("127.0.0.1", 1),), "candidate": (Endpoint("127.0.0.1", 2),)}
DRIFT, OVER = Drifted(drifting=True, reason="amount drifts"), Drifted(drifting=False, reason="as before")
PAUSE, RESUME = Commanded("pause", "ada"), Commanded("resume", "ada")
START = State(Phase.PROGRESSING)


@pytest.fixture
def spec(spec_of: SpecOf) -> RolloutSpec:
    return spec_of({"canary": {"weight": 5, "hold": {"duration": "60s"}, "timeout": "10m"}}, {"canary": {"weight": 25}})


@pytest.fixture
def passing(verdict_of: VerdictOf) -> Judged:
    return Judged(verdict_of("pass"))


def test_no_step_goes_on_and_traffic_stays(spec: RolloutSpec, passing: Judged) -> None:
    state = advance(spec, START, DRIFT, 10.0)
    assert (state.phase, state.held, state.held_at) == (Phase.PROGRESSING, "amount drifts", 10.0)
    assert routes(spec, state, SIDES, "s") == routes(spec, START, SIDES, "s")
    assert advance(spec, state, passing, 9e9) == state


def test_a_gate_that_fails_rolls_back_nevertheless(spec: RolloutSpec, verdict_of: VerdictOf) -> None:
    state = advance(spec, advance(spec, START, DRIFT, 10.0), Judged(verdict_of("fail")), 20.0)
    assert (state.phase, state.ending, state.held, state.held_at) == (Phase.ROLLING_BACK, "gate", "", 0.0)


def test_no_timeout_is_due_to_it(spec: RolloutSpec, passing: Judged, verdict_of: VerdictOf) -> None:
    state = fold_on(spec, START, (50.0, DRIFT), (5050.0, OVER))
    assert (state.held, state.held_at, state.since) == ("", 0.0, 5000.0)
    assert advance(spec, state, passing, 5059.0).step == 0
    assert advance(spec, state, passing, 5060.0).step == 1
    assert advance(spec, state, Judged(verdict_of("undecided")), 5599.0).phase is Phase.PROGRESSING
    assert advance(spec, state, Judged(verdict_of("undecided")), 5600.0).ending == "undecided"


def test_it_holds_since_it_began_whatever_drifts_by_now(spec: RolloutSpec) -> None:
    state = fold_on(spec, START, (50.0, DRIFT), (90.0, replace(DRIFT, reason="amount and hour drift")))
    assert (state.held, state.held_at) == ("amount and hour drift", 50.0)
    assert advance(spec, START, replace(DRIFT, reason=""), 1.0).held


def test_a_person_may_let_it_go_on_and_is_not_asked_again(spec: RolloutSpec, passing: Judged) -> None:
    state = fold_on(spec, START, (50.0, DRIFT), (150.0, RESUME))
    assert (state.held, state.drift_accepted, state.since) == ("", True, 100.0)
    assert advance(spec, state, DRIFT, 160.0) == state
    state = advance(spec, state, passing, 170.0)
    assert (state.step, state.drift_accepted) == (1, True)
    assert not advance(spec, state, DRIFT, 180.0).held


def test_a_resume_after_a_pause_accepts_no_drift(spec: RolloutSpec) -> None:
    state = fold_on(spec, START, (10.0, PAUSE), (20.0, RESUME))
    assert not state.drift_accepted
    assert advance(spec, state, DRIFT, 30.0).held
    assert advance(spec, START, RESUME, 5.0) == START


@pytest.mark.parametrize(
    ("happened", "since"),
    [
        ([(10.0, PAUSE), (20.0, DRIFT), (30.0, OVER), (40.0, RESUME)], 30.0),
        ([(10.0, DRIFT), (20.0, PAUSE), (30.0, OVER), (40.0, RESUME)], 30.0),
        ([(10.0, PAUSE), (20.0, DRIFT), (40.0, RESUME)], 30.0),
        ([(10.0, DRIFT), (20.0, PAUSE), (40.0, RESUME)], 30.0),
        ([(10.0, DRIFT), (20.0, OVER), (30.0, PAUSE), (40.0, RESUME)], 20.0),
        ([(0.0, DRIFT), (20.0, OVER)], 20.0),
        ([(20.0, DRIFT), (20.0, OVER)], 0.0),
    ],
)
def test_both_at_once_are_not_counted_twice(
    happened: list[tuple[float, Drifted | Commanded]], since: float, spec: RolloutSpec
) -> None:
    state = fold_on(spec, START, *happened)
    assert (state.since, state.held, state.paused_at) == (since, "", None)


def test_while_either_lasts_nothing_goes_on(spec: RolloutSpec, passing: Judged) -> None:
    both = fold_on(spec, START, (10.0, DRIFT), (20.0, PAUSE))
    only_paused = advance(spec, both, OVER, 30.0)
    assert only_paused.paused_at is not None
    for state in (both, only_paused):
        assert advance(spec, state, passing, 9e9) == state


def test_an_alert_changes_nothing(spec: RolloutSpec) -> None:
    assert advance(spec, START, replace(DRIFT, action="alert"), 10.0) == START
    assert advance(spec, START, OVER, 10.0) == START


def test_where_the_spec_says_so_it_rolls_back(spec: RolloutSpec) -> None:
    state = advance(spec, START, replace(DRIFT, action="rollback"), 10.0)
    assert (state.phase, state.ending, state.reason) == (Phase.ROLLING_BACK, "drift", "amount drifts")


@pytest.mark.parametrize("phase", [phase for phase in Phase if not phase.stepping])
def test_outside_of_the_steps_there_is_nothing_to_hold(phase: Phase, spec: RolloutSpec) -> None:
    for happening in (DRIFT, OVER, replace(DRIFT, action="rollback")):
        assert advance(spec, State(phase), happening, 10.0) == State(phase)


def test_a_person_may_promote_or_abort_what_is_held(spec: RolloutSpec) -> None:
    held = advance(spec, START, DRIFT, 10.0)
    for command, phase in (("promote", Phase.PROMOTING), ("abort", Phase.ROLLING_BACK)):
        state = advance(spec, held, Commanded(command, "ada"), 20.0)  # type: ignore[arg-type]
        assert (state.phase, state.held) == (phase, "")


def test_users_are_not_shared_out_anew_meanwhile(spec_of: SpecOf) -> None:
    spec = spec_of({"ab": {"weight": 50, "metric": "conversion", "timeout": "7d"}})
    with pytest.raises(NotNow, match="not going on in an ab step"):
        advance(spec, advance(spec, START, DRIFT, 10.0), Allocated(7000, "why"), 60.0)


def fold_on(spec: RolloutSpec, state: State, *happened: tuple[float, Drifted | Commanded]) -> State:
    for at, happening in happened:
        state = advance(spec, state, happening, at)
    return state
