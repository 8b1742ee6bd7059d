"""The confidence sequence of amounts: what it needs, what it says, and that it holds."""

from __future__ import annotations

from math import inf, log

import numpy as np
import pytest
from numpy.typing import NDArray

from lockgate.rollout.analysis.bets import Array
from lockgate.rollout.analysis.effects_continuous import ContinuousEstimator, Scores
from lockgate.rollout.analysis.evidence import keep, kept_state
from lockgate.rollout.analysis.seen import BatchArm, BatchGroup

ESTIMATOR = ContinuousEstimator()


def arm(values: Array, there: NDArray[np.bool_] | None = None) -> BatchArm:
    """`values` (R, N)."""
    table = np.atleast_2d(values)
    some = np.ones_like(table) if there is None else there.astype(float)
    return BatchArm(some.sum(axis=1), (table * some).sum(axis=1), (table**2 * some).sum(axis=1))


def group(mine: Array, theirs: Array, share: float = 0.5) -> BatchGroup:
    return BatchGroup(share, arm(theirs), arm(mine))


def after(*groups: BatchGroup) -> Scores:
    state = ESTIMATOR.begin(1)
    for each in groups:
        state = ESTIMATOR.look(state, (each,))
    return state


def amounts(units: int, mean: float = 10.0, seed: int = 1) -> Array:
    return np.random.default_rng(seed).normal(mean, 3.0, units)


SAME = np.full(2000, 5.0)
NOBODY = np.zeros(2000)
NONE = np.zeros(0)
FEW = np.where(np.arange(2000) % 33 == 0, 1.0, 0.0)


@pytest.mark.parametrize(
    "state",
    [
        after(),
        after(group(NONE, NONE)),
        after(group(amounts(1), NONE)),
        after(group(amounts(999), amounts(9000))),
        after(group(amounts(9000), amounts(999))),
        after(group(SAME, SAME)),
        after(group(NOBODY, NOBODY)),
        after(group(FEW, FEW)),
        after(group(amounts(5000, 0.0, 1), amounts(5000, 0.0, 2))),
        after(group(amounts(2000), amounts(2000), share=1.0)),
        after(group(np.full(2000, np.nan), amounts(2000))),
    ],
    ids=["-", "nobody", "one", "mine", "theirs", "no variance", "all 0", "few weighty", "mean 0", "all mine", "nan"],
)
def test_where_the_limit_theorem_says_nothing_anything_is_possible(state: Scores) -> None:
    found = ESTIMATOR.interval(state, 0.05)
    assert (found.low[0], found.high[0]) == (-inf, inf)
    assert np.isfinite(found.estimate).all()
    for effect in (-0.1, 0.0, 0.1):
        assert max(side[0] for side in ESTIMATOR.evidence(state, effect)) < log(20)


def test_a_mean_near_nothing_bounds_no_effect_and_proves_none() -> None:
    state = after(group(amounts(5000, 1.0, 1), amounts(5000, 0.0, 2)))
    assert ESTIMATOR.interval(state, 0.05).high[0] == inf
    assert max(side[0] for side in ESTIMATOR.evidence(state, 0.1)) < log(20)
    assert ESTIMATOR.evidence(state, 0.0)[0][0] > log(20)  # that it is more needs no ratio


def test_evidence_is_what_the_interval_is_made_of() -> None:
    state = after(*(group(amounts(200, 10.6, seed), amounts(200, 10.0, seed + 99)) for seed in range(15)))
    for effect in (-0.5, 0.0, 0.02, 0.04, 0.08, 0.1, 2.0):
        above, below = ESTIMATOR.evidence(state, effect)
        for alpha in (0.05, 0.01):
            found = ESTIMATOR.interval(state, alpha)
            assert (above[0] >= -log(alpha)) == (found.low[0] >= effect)
            assert (below[0] >= -log(alpha)) == (found.high[0] <= effect)


def test_one_look_at_thousands_says_what_many_small_ones_say() -> None:
    mine, theirs = amounts(4000, 11.0, 1), amounts(4000, 10.0, 2)
    once = ESTIMATOR.interval(after(group(mine, theirs)), 0.05)
    many = ESTIMATOR.interval(
        after(*(group(mine[at : at + 40], theirs[at : at + 40]) for at in range(0, 4000, 40))), 0.05
    )
    assert once.low[0] == pytest.approx(many.low[0], abs=0.01)
    assert once.high[0] == pytest.approx(many.high[0], abs=0.01)
    assert once.low[0] < mine.mean() / theirs.mean() - 1 < once.high[0]


def test_a_level_far_from_nothing_costs_nothing() -> None:
    """Without the means of earlier looks, users of 1000 +- 3 would weigh like users of +-1000."""
    found = ESTIMATOR.interval(
        after(*(group(amounts(100, 1000.0, seed), amounts(100, 1000.0, seed + 50)) for seed in range(20))), 0.05
    )
    assert found.high[0] - found.low[0] < 0.003


def test_an_effect_is_relative_to_the_size_of_the_mean() -> None:
    """A loss of 9 in place of one of 10 is 10 % up."""
    found = ESTIMATOR.interval(after(group(amounts(4000, -9.0, 1), amounts(4000, -10.0, 2))), 0.05)
    assert 0.05 < found.low[0] < 0.1 < found.high[0] < 0.15
    above, below = ESTIMATOR.evidence(after(group(amounts(4000, -9.0, 1), amounts(4000, -10.0, 2))), 0.05)
    assert above[0] > log(20)
    assert below[0] == 0


def test_a_level_that_moves_with_the_share_is_no_effect() -> None:
    state = ESTIMATOR.begin(1)
    for seed in range(30):
        morning = group(amounts(10, 5.0, seed), amounts(90, 5.0, seed + 100), 0.1)
        evening = group(amounts(90, 50.0, seed + 200), amounts(10, 50.0, seed + 300), 0.9)
        state = ESTIMATOR.look(state, (morning, evening))
    found = ESTIMATOR.interval(state, 0.05)
    assert found.low[0] < 0 < found.high[0]
    assert abs(found.estimate[0]) < 0.05


def test_a_candidate_that_brings_nothing_is_seen() -> None:
    rng = np.random.default_rng(4)
    theirs = np.where(rng.random(3000) < 0.1, 10.0, 0.0)
    found = ESTIMATOR.interval(after(group(np.zeros(3000), theirs)), 0.05)
    assert found.low[0] < -0.9
    assert found.high[0] < -0.5


def test_squares_that_were_rounded_are_no_negative_variance() -> None:
    short = BatchArm(np.array([2000.0]), np.array([2000.0 * 0.1]), np.array([2000.0 * 0.01 - 1e-9]))
    found = ESTIMATOR.interval(ESTIMATOR.look(ESTIMATOR.begin(1), (BatchGroup(0.5, short, short),)), 0.05)
    assert not np.isnan(found.low).any()


def test_it_survives_the_event_log() -> None:
    state = after(group(amounts(1500), amounts(1200), 0.55), group(amounts(500), amounts(700), 0.4))
    again = kept_state(ESTIMATOR.begin(1), keep(state))
    assert ESTIMATOR.interval(again, 0.05) == ESTIMATOR.interval(state, 0.05)


@pytest.mark.parametrize(("lift", "weight"), [(0.0, 0.5), (0.2, 0.3)])
def test_it_covers_the_effect_at_all_looks_together(lift: float, weight: float) -> None:
    rng, rollouts = np.random.default_rng(12), 100
    state, held = ESTIMATOR.begin(rollouts), np.ones(rollouts, bool)
    for _ in range(40):
        mine = rng.random((rollouts, 200)) < weight
        values = np.exp(rng.standard_normal(mine.shape)) * np.where(mine, 1 + lift, 1.0)
        state = ESTIMATOR.look(state, (BatchGroup(weight, arm(values, ~mine), arm(values, mine)),))
        found = ESTIMATOR.interval(state, 0.05)
        held &= (found.low <= lift) & (lift <= found.high)
    assert held.mean() >= 0.95
    assert np.median(found.high - found.low) < 0.35


def test_who_answers_more_often_is_not_better_for_it() -> None:
    """Of `take: mean` only users with a value are counted: all of the candidate's, a quarter of stable's."""
    wrong = {}
    for answering in (True, False):
        of, rng = ContinuousEstimator(answering=answering), np.random.default_rng(5)
        state, left = of.begin(60), np.zeros(60, bool)
        for _ in range(300):
            came = rng.binomial(200, 0.9, 60)
            counted = came, rng.binomial(200 - came, 0.25)
            arms = [arm(rng.lognormal(0, 0.5, (60, 200)), np.arange(200) < n[:, None]) for n in counted]
            state = of.look(state, (BatchGroup(0.9, arms[1], arms[0]),))
            left |= np.maximum(*of.evidence(state, 0.0)) >= log(20)
        wrong[answering] = left.mean()
    assert wrong[True] <= 0.05
    assert wrong[False] > 0.15
