"""The A/B gate: its decision, its sentence, and that an invalid test wins over everything."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest

from lockgate.monitoring.measurement import Arm, Arrivals, Group
from lockgate.rollout.analysis.ab import AbKind, Trial
from lockgate.rollout.analysis.evidence import keep, kept_state
from lockgate.rollout.analysis.kinds import Terms
from lockgate.rollout.analysis.seen import seen_of
from lockgate.rollout.analysis.words import Look
from lockgate.rollout.metrics import Metric
from lockgate.rollout.profile import PROFILES
from lockgate.rollout.spec import Ab
from lockgate.rollout.verdict import GateVerdict
from lockgate.rollout.words import Outcome

TERMS = Terms(PROFILES["default"], 3, 2)
PASS, FAIL, UNDECIDED = Outcome.PASS, Outcome.FAIL, Outcome.UNDECIDED


def kind(metric: Metric | None = None, tests: int = 1, **ab: Any) -> AbKind:
    step = Ab.model_validate({"weight": 50, "metric": "conversion", **ab})
    return AbKind("ab", step, metric or Metric(), TERMS, tests)


def did(units: int, events: int) -> Arm:
    return Arm(units, events, events)


def spent(units: int, mean: float, seed: int) -> Arm:
    values = np.random.default_rng(seed).normal(mean, 2.0, units)
    return Arm(units, float(values.sum()), float((values**2).sum()))


def look(mine: Arm, theirs: Arm, *arrivals: Arrivals) -> Look:
    came = arrivals or (Arrivals(0.5, theirs.units, mine.units),)
    return Look(0, 0.0, rewards={"conversion": (Group(0.5, theirs, mine),)}, arrivals=came)


def after(of: AbKind, *looks: Look) -> Trial:
    state = of.enter(of.begin(1), shadow=False)
    for each in looks:
        state = of.look(state, seen_of(each))
    return state


def verdict(of: AbKind, *looks: Look) -> GateVerdict:
    return of.told(after(of, *looks))[0]


BETTER = look(did(12_044, 720), did(12_101, 588))
WORSE = look(did(12_000, 480), did(12_000, 600))
SAME = look(did(60_000, 18_000), did(60_000, 18_000))
SLIGHTLY = look(did(200_000, 61_500), did(200_000, 60_000))


@pytest.mark.parametrize(
    ("looks", "minimum", "outcome"),
    [
        ((), 0.0, UNDECIDED),
        ((Look(0, 0.0),), 0.0, UNDECIDED),
        ((look(did(1, 1), did(0, 0)),), 0.0, UNDECIDED),
        ((look(did(49, 49), did(49, 0)),), 0.0, UNDECIDED),
        ((look(did(500, 0), did(500, 0)),), 0.1, UNDECIDED),
        ((look(did(500, 500), did(500, 500)),), 0.0, UNDECIDED),
        ((BETTER,), 0.0, PASS),
        ((BETTER,), 0.05, PASS),
        ((BETTER,), 1.0, FAIL),
        ((WORSE,), 0.0, FAIL),
        ((SAME,), 0.0, UNDECIDED),
        ((SAME,), 0.01, UNDECIDED),
        ((SAME,), 0.05, FAIL),
        ((SLIGHTLY,), 0.0, PASS),
        ((SLIGHTLY,), 0.1, FAIL),
    ],
)
def test_the_decision(looks: tuple[Look, ...], minimum: float, outcome: Outcome) -> None:
    of = kind(minimum_effect=minimum)
    state = after(of, *looks)
    assert of.told(state)[0].outcome is outcome
    assert of.outcomes(state).tolist() == [[{FAIL: -1, UNDECIDED: 0, PASS: 1}[outcome]]]


@pytest.mark.parametrize(("look_", "outcome"), [(BETTER, FAIL), (WORSE, PASS)])
def test_of_what_is_better_when_lower(look_: Look, outcome: Outcome) -> None:
    found = verdict(kind(Metric(better="lower")), look_)
    assert found.outcome is outcome
    word = "worse" if outcome is FAIL else "better"
    assert f"conversion is {word} with the candidate" in found.sentence


def test_lower_has_its_minimum_effect_downwards() -> None:
    lower = Metric(better="lower")
    assert verdict(kind(lower, minimum_effect=0.05), SAME).outcome is FAIL
    assert verdict(kind(lower, minimum_effect=0.5), WORSE).outcome is FAIL
    found = verdict(kind(lower, minimum_effect=0.05), WORSE)
    assert found.outcome is PASS
    assert found.limit == pytest.approx(0.05 * 0.95)


def test_its_arithmetic() -> None:
    found = verdict(kind(minimum_effect="1%"), BETTER)
    mine, theirs = 720 / 12_044, 588 / 12_101
    assert (found.candidate, found.stable) == pytest.approx((mine, theirs))
    assert found.effect == pytest.approx(mine / theirs - 1)
    assert found.interval is not None
    assert found.effect is not None
    assert 0 < found.interval[0] < found.effect < found.interval[1] < 1
    assert found.limit == pytest.approx(theirs * 1.01)
    assert (found.candidate_requests, found.stable_requests) == (12_044, 12_101)
    assert found.passes_from == found.fails_from == 20
    assert found.safety >= 20 > found.harm
    assert found.metric == "ab"
    json.loads(json.dumps(asdict(found)))


def test_challengers_share_alpha() -> None:
    close = look(did(12_000, 706), did(12_000, 588))
    one, five = (verdict(kind(tests=tests), close) for tests in (1, 5))
    assert (one.outcome, five.outcome) == (PASS, UNDECIDED)
    assert five.passes_from == five.fails_from == 100
    assert one.interval is not None
    assert five.interval is not None
    assert five.interval[0] < one.interval[0]


def test_the_sentences() -> None:
    said = verdict(kind(), BETTER).sentence
    assert said.startswith(
        "ab: pass, conversion is better with the candidate: 5.98% against 4.86%, +23.0% (at any moment "
    )
    assert said.endswith("alpha 5%), of 12,044 and 12,101 users")
    assert verdict(kind(minimum_effect=1), BETTER).sentence.startswith(
        "ab: fail, conversion is better with the candidate, but by less than 100%: "
    )
    assert "conversion is not better by 5% with the candidate" in verdict(kind(minimum_effect=0.05), SAME).sentence
    few = verdict(kind(), look(did(20, 3), did(30, 2))).sentence
    assert few == "ab: undecided, conversion: 15.00% against 6.67%, +125.0% (too early to say more), of 20 and 30 users"
    assert verdict(kind()).sentence == "ab: no data from the candidate yet"


def test_amounts() -> None:
    of = kind(Metric(kind="continuous"), minimum_effect="2%")
    found = verdict(of, look(spent(5000, 11.0, 1), spent(5000, 10.0, 2)))
    assert found.outcome is PASS
    assert "conversion is better with the candidate: 1" in found.sentence
    assert found.limit == pytest.approx((found.stable or 0) * 1.02)
    few = look(spent(999, 20.0, 1), spent(5000, 10.0, 2), Arrivals(0.5, 5000, 5000))
    assert verdict(of, few).outcome is UNDECIDED


class TestInvalid:
    def test_it_wins_over_everything(self) -> None:
        found = verdict(kind(), look(did(12_044, 720), did(12_101, 588), Arrivals(0.5, 4700, 5300)))
        assert found.outcome is FAIL
        assert found.sentence.startswith(
            "ab: fail, the test is invalid: 5,300 of 10,000 users got the candidate where 50% "
        )
        assert "is not what the routes say" in found.sentence
        assert found.effect is not None

    def test_it_needs_no_rewards(self) -> None:
        found = verdict(kind(), Look(0, 0.0, arrivals=(Arrivals(0.1, 500, 500),)))
        assert found.outcome is FAIL
        assert found.sentence.startswith(
            "ab: fail, the test is invalid: 500 of 1,000 users got the candidate where 10% "
        )

    def test_users_on_both_sides(self) -> None:
        crossing = look(did(1000, 10), did(1000, 10), Arrivals(0.5, 1000, 1000, crossed=100))
        found = verdict(kind(), crossing)
        assert found.outcome is FAIL
        assert "100 of 2,000 users (5.0%) were answered by both sides" in found.sentence

    def test_some_have_to_cross_where_the_split_moves(self) -> None:
        crossing = look(did(1000, 10), did(1000, 10), Arrivals(0.5, 1000, 1000, crossed=100))
        assert verdict(kind(allocation="thompson"), crossing).outcome is UNDECIDED

    def test_it_stays_so(self) -> None:
        of = kind()
        state = after(
            of,
            look(did(100, 5), did(100, 5), Arrivals(0.5, 4700, 5300)),
            look(did(0, 0), did(0, 0), Arrivals(0.5, 5300, 4700)),
        )
        assert of.outcomes(state).tolist() == [[-1]]


def test_a_failed_test_stays_failed_in_the_next_step_and_the_rest_begins_anew() -> None:
    of = kind()
    failed, passed = (of.enter(after(of, each), shadow=False) for each in (WORSE, BETTER))
    assert of.outcomes(failed).tolist() == [[-1]]
    assert of.told(failed)[0].sentence == "ab: failed in an earlier step"
    assert of.outcomes(passed).tolist() == [[0]]
    assert passed.effect.sums.units.sum() == 0


@pytest.mark.parametrize("metric", [Metric(), Metric(kind="continuous")])
def test_it_survives_the_event_log(metric: Metric) -> None:
    of = kind(metric)
    state = after(of, look(did(60, 9), did(41, 3)), BETTER, look(did(3, 1), did(4, 1)))
    again = kept_state(of.begin(1), keep(state))
    assert keep(again) == keep(state)
    assert of.told(again) == of.told(state)


def test_another_metrics_users_are_not_its_own() -> None:
    of = kind()
    other = Look(0, 0.0, rewards={"revenue": (Group(0.5, did(12_000, 600), did(12_000, 100)),)})
    assert verdict(of, other).candidate_requests == 0
