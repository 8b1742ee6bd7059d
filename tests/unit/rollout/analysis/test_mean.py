"""The guardrail `mean`: proven harm beyond the margin fails, a kept margin passes, and a shadow says nothing."""

from __future__ import annotations

from typing import Any

import pytest

from lockgate.monitoring.measurement import Arm, Group
from lockgate.rollout.analysis.evidence import keep, kept_state
from lockgate.rollout.analysis.kinds import Terms
from lockgate.rollout.analysis.mean import Guard, MeanKind
from lockgate.rollout.analysis.seen import seen_of
from lockgate.rollout.analysis.words import Look
from lockgate.rollout.gates import Mean
from lockgate.rollout.metrics import Metric
from lockgate.rollout.profile import PROFILES
from lockgate.rollout.words import Outcome

PASS, FAIL, UNDECIDED = Outcome.PASS, Outcome.FAIL, Outcome.UNDECIDED
LOWER = Metric(better="lower")


def kind(metric: Metric | None = None, votes: int = 1, steps: int = 1, **gate: Any) -> MeanKind:
    asked = Mean.model_validate({"metric": "mean", "of": "refunds", **gate})
    return MeanKind("refunds", asked, metric or Metric(), Terms(PROFILES["fast"], votes, steps))


def look(mine: tuple[int, int], theirs: tuple[int, int], share: float = 0.5) -> Look:
    arms = [Arm(units, did, did) for units, did in (theirs, mine)]
    return Look(0, 0.0, rewards={"refunds": (Group(share, *arms),)})


def after(of: MeanKind, *looks: Look, shadow: bool = False) -> Guard:
    state = of.enter(of.begin(1), shadow=shadow)
    for each in looks:
        state = of.look(state, seen_of(each))
    return state


@pytest.mark.parametrize(
    ("looks", "metric", "outcome"),
    [
        ((), None, UNDECIDED),
        ((Look(0, 0.0),), None, UNDECIDED),
        ((look((1, 1), (0, 0)),), None, UNDECIDED),
        ((look((40, 0), (4000, 4000)),), None, UNDECIDED),
        ((look((400, 0), (400, 0)),), None, UNDECIDED),
        ((look((50_000, 15_000), (50_000, 15_000)),), None, PASS),
        ((look((20_000, 5000), (20_000, 6000)),), None, FAIL),
        ((look((20_000, 5000), (20_000, 6000)),), LOWER, PASS),
        ((look((20_000, 6000), (20_000, 5000)),), LOWER, FAIL),
        ((look((300, 90), (300, 90)),), None, UNDECIDED),
    ],
)
def test_the_decision(looks: tuple[Look, ...], metric: Metric | None, outcome: Outcome) -> None:
    of = kind(metric)
    state = after(of, *looks)
    (told,) = of.told(state)
    assert told.outcome is outcome
    assert of.votes(state).tolist() == [[1]]


def test_proven_harm_within_the_margin_is_tolerated() -> None:
    """3 % worse, beyond doubt."""
    within = look((200_000, 58_200), (200_000, 60_000))
    assert after_outcome(kind(margin="5%"), within) is PASS
    assert after_outcome(kind(margin="2%"), within) is FAIL
    (told,) = kind(margin="5%").told(after(kind(margin="5%"), within))
    assert told.harm >= told.fails_from
    assert told.limit == pytest.approx(0.3 * 0.95)


def after_outcome(of: MeanKind, *looks: Look) -> Outcome:
    return of.told(after(of, *looks))[0].outcome


def test_a_fail_is_paid_for_by_all_gates_and_steps_and_a_pass_is_not() -> None:
    close = look((5000, 1350), (5000, 1500))
    assert after_outcome(kind(margin=0), close) is FAIL
    many = kind(votes=5, steps=4, margin=0)
    (told,) = many.told(after(many, close))
    assert told.outcome is UNDECIDED
    assert (told.fails_from, told.passes_from) == (400, 20)


def test_in_a_shadow_step_it_says_nothing() -> None:
    of = kind()
    state = after(of, look((20_000, 5000), (20_000, 6000)), shadow=True)
    (told,) = of.told(state)
    assert (told.outcome, told.votes) == (UNDECIDED, False)
    assert "the candidate answers nobody in this step" in told.sentence
    assert of.votes(state).tolist() == [[0]]


def test_a_step_begins_anew_and_a_failed_gate_stays_failed() -> None:
    of = kind()
    failed = of.enter(after(of, look((20_000, 5000), (20_000, 6000))), shadow=False)
    assert of.told(failed)[0].outcome is FAIL
    assert of.votes(of.enter(failed, shadow=True)).tolist() == [[1]]
    passed = of.enter(after(of, look((50_000, 15_000), (50_000, 15_000))), shadow=False)
    assert of.told(passed)[0].outcome is UNDECIDED
    assert of.told(passed)[0].effect is None


def test_the_sentence() -> None:
    of = kind(LOWER)
    (told,) = of.told(after(of, look((20_000, 6000), (20_000, 5000))))
    assert told.sentence.startswith(
        "refunds: fail, refunds is worse with the candidate: 30.00% against 25.00%, +20.0% ("
    )
    assert told.sentence.endswith("of 20,000 and 20,000 users; limit 26.25%")
    assert told.interval is not None
    assert told.interval[0] < told.effect < told.interval[1]  # type: ignore[operator]


@pytest.mark.parametrize("metric", [Metric(), Metric(kind="continuous")])
def test_it_survives_the_event_log(metric: Metric) -> None:
    of = kind(metric)
    state = after(of, look((2000, 500), (2100, 600)), look((3, 1), (9, 2), 0.3))
    again = kept_state(of.begin(1), keep(state))
    assert keep(again) == keep(state)
    assert of.told(again) == of.told(state)


@pytest.mark.parametrize("metric", [LOWER, Metric(kind="continuous", better="lower", lowest=0, highest=1)])
def test_harm_where_stable_has_none_is_harm(metric: Metric) -> None:
    """There is no ratio to nothing, and yet a tenth of the users is more than none."""
    of = kind(metric)
    state = after(of, look((10_000, 500), (10_000, 0)), look((10_000, 500), (10_000, 0)))
    (told,) = of.told(state)
    assert told.outcome is FAIL
    assert told.effect is None
    assert "where there is no ratio" in told.sentence
