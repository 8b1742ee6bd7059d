"""The likelihood of odds ratios: fair by enumeration, honest without data, right on simulated users."""

from __future__ import annotations

from math import comb, inf, lgamma, log

import numpy as np
import pytest
from numpy.typing import ArrayLike

from lockgate.rollout.analysis import effects_binary as binary
from lockgate.rollout.analysis.effects import means
from lockgate.rollout.analysis.effects_binary import BLOCK, GRID, BinaryEstimator, Odds
from lockgate.rollout.analysis.evidence import keep, kept_state
from lockgate.rollout.analysis.hypergeometric import log_factorial, log_normaliser
from lockgate.rollout.analysis.seen import BatchArm, BatchGroup

ESTIMATOR = BinaryEstimator()


def arm(units: ArrayLike, did: ArrayLike) -> BatchArm:
    n, k = (np.atleast_1d(np.asarray(each, dtype=np.float64)) for each in (units, did))
    return BatchArm(n, k, k)


def group(mine: tuple[float, float], theirs: tuple[float, float], share: float = 0.5) -> BatchGroup:
    return BatchGroup(share, arm(*theirs), arm(*mine))


def after(*groups: BatchGroup) -> Odds:
    """One look for each group."""
    state = ESTIMATOR.begin(1)
    for each in groups:
        state = ESTIMATOR.look(state, (each,))
    return state


@pytest.mark.parametrize("place", [0, 60, len(GRID) // 2, len(GRID) // 2 + 7, len(GRID) - 40, len(GRID) - 1])
@pytest.mark.parametrize(("n", "others"), [(1, 3), (5, 5), (4, 20)])
def test_a_bet_against_the_true_odds_is_fair(place: int, n: int, others: int) -> None:
    """Given the totals, k is Fisher's noncentral hypergeometric: the mixture's expectation there is 1."""
    for every in range(1, n + others):
        ks = np.arange(max(0, every - others), min(n, every) + 1.0)
        weights = np.array([comb(n, int(k)) * comb(others, every - int(k)) for k in ks]) * np.exp(ks * GRID[place])
        blocks = np.array([[n, others, k, every - k] for k in ks])
        state = Odds(ESTIMATOR.begin(1).sums, binary._likelihood(blocks, np.ones(len(ks), bool)), np.zeros((1, 4, 5)))
        e_values = np.exp(binary._log_e(state)[:, place])
        assert (weights * e_values).sum() / weights.sum() == pytest.approx(1.0), (n, others, every)


def test_that_bet_wins_where_the_odds_are_others() -> None:
    """Else the test before would hold for a bet on nothing."""
    n = others = every = 12
    ks = np.arange(every + 1.0)
    chances = np.array([comb(n, int(k)) * comb(others, every - int(k)) for k in ks]) * np.exp(ks * 2.0)
    blocks = np.array([[n, others, k, every - k] for k in ks])
    state = Odds(ESTIMATOR.begin(1).sums, binary._likelihood(blocks, np.ones(len(ks), bool)), np.zeros((1, 4, 5)))
    assert (chances * np.exp(binary._log_e(state)[:, len(GRID) // 2])).sum() / chances.sum() > 1.5


@pytest.mark.parametrize("counts", [(3, 4, 2), (50, 70, 30), (400, 300, 350), (2000, 18_000, 600)])
def test_the_normaliser_is_the_whole_sum(counts: tuple[int, int, int]) -> None:
    n, others, every = counts
    least, most = max(0, every - others), min(n, every)
    ways = [comb(n, k) * comb(others, every - k) for k in range(least, most + 1)]
    for log_odds in (-4.0, -0.3, 0.0, 0.01, 2.0):
        terms = [log(way) + k * log_odds for k, way in enumerate(ways, least)]
        top = max(terms)
        whole = top + log(sum(np.exp(term - top) for term in terms))
        assert log_normaliser(n, others, every, np.array([log_odds]))[0] == pytest.approx(whole, rel=1e-11)


def test_factorials() -> None:
    n = np.array([0.0, 1, 5, 31, 32, 33, 1000, 1e6])
    assert log_factorial(n) == pytest.approx([lgamma(each + 1) for each in n], rel=1e-13)


def test_the_grid_is_symmetrical_and_fine_near_one() -> None:
    assert np.allclose(GRID, -GRID[::-1])
    assert np.diff(GRID)[abs(GRID[1:]) < 0.04].max() < 0.0011
    assert np.diff(GRID).min() > 0
    assert GRID[-1] > log(50)


@pytest.mark.parametrize(
    "state",
    [
        after(),
        after(group((0, 0), (0, 0))),
        after(group((1, 1), (0, 0))),
        after(group((49, 10), (5000, 1000))),
        after(group((5000, 1000), (49, 1))),
        after(group((500, 100), (500, 1), share=1.0)),
        after(group((500, 100), (500, 1), share=0.0)),
        after(group((np.nan, np.nan), (500, 1))),
    ],
    ids=["nothing", "no users", "one user", "few candidate's", "few stable's", "all", "nobody", "nan"],
)
def test_without_enough_users_of_both_anything_is_possible(state: Odds) -> None:
    found = ESTIMATOR.interval(state, 0.05)
    assert (found.low[0], found.high[0]) == (-inf, inf)
    assert np.isfinite(found.estimate).all()
    assert [side[0] for side in ESTIMATOR.evidence(state, 0.0)] == [0.0, 0.0]


@pytest.mark.parametrize("did", [(0, 0), (500, 500)])
def test_nothing_and_everything_say_nothing_of_the_odds(did: tuple[int, int]) -> None:
    """With all events the effect is bounded all the same: nobody can do it more than always."""
    state = after(group((500, did[0]), (500, did[1])))
    found = ESTIMATOR.interval(state, 0.05)
    assert found.low[0] == pytest.approx(-1.0)
    assert found.high[0] > 0.01
    assert not np.isnan(np.stack([found.estimate, found.low, found.high])).any()
    assert [side[0] for side in ESTIMATOR.evidence(state, 0.0)] == [0.0, 0.0]


def test_evidence_is_what_the_interval_is_made_of() -> None:
    state = after(*(group((25, 2), (25, 1)) for _ in range(60)))
    for effect in (-0.5, -0.1, 0.0, 0.03, 0.2, 1.0, 3.0, 30.0):
        above, below = ESTIMATOR.evidence(state, effect)
        for alpha in (0.05, 0.01):
            found = ESTIMATOR.interval(state, alpha)
            assert (above[0] >= -log(alpha)) == (found.low[0] >= effect)
            assert (below[0] >= -log(alpha)) == (found.high[0] <= effect)


def test_one_look_at_thousands_is_as_good_as_many_at_fifty() -> None:
    large = ESTIMATOR.interval(after(group((10_000, 3300), (10_000, 3000))), 0.05)
    small = ESTIMATOR.interval(after(*(group((25, 8.25 // 1), (25, 7.5 // 1)) for _ in range(400))), 0.05)
    assert large.low[0] == pytest.approx(0.04, abs=0.02)
    assert large.high[0] - large.low[0] == pytest.approx(small.high[0] - small.low[0], rel=0.15)


def test_users_who_come_one_by_one_are_judged_in_blocks() -> None:
    """One user has nobody to be compared with."""
    rng = np.random.default_rng(3)
    state = ESTIMATOR.begin(1)
    for _ in range(3000):
        mine = float(rng.random() < 0.5)
        did = float(rng.random() < (0.6 if mine else 0.3))
        came = group((mine, mine * did), (1 - mine, (1 - mine) * did))
        state = ESTIMATOR.look(state, (came,))
    found = ESTIMATOR.interval(state, 0.05)
    assert 0.5 < found.low[0] < found.high[0] < 1.7
    assert state.waiting[0, :, 1:3].sum() < BLOCK


def test_a_common_rate_that_moves_with_the_share_is_no_effect() -> None:
    """Simpson: in the morning few did it and most got stable, in the evening most did it and got the candidate."""
    morning, evening = group((100, 5), (900, 45), 0.1), group((900, 450), (100, 50), 0.9)
    state = after(*(each for _ in range(10) for each in (morning, evening)))
    mine, theirs = means(ESTIMATOR.sums(state))[0]
    assert mine == pytest.approx(theirs)
    found = ESTIMATOR.interval(state, 0.05)
    assert found.low[0] < 0 < found.high[0]
    assert found.estimate[0] == pytest.approx(0.0, abs=1e-9)


def test_groups_of_several_shares_wait_side_by_side() -> None:
    groups = tuple(group((3, 1), (3, 1), share) for share in (0.3, 0.5, 0.7))
    state = ESTIMATOR.begin(1)
    for _ in range(6):
        state = ESTIMATOR.look(state, groups)
    assert sorted(state.waiting[0, :, 1:3].sum(axis=1)) == [0, 36, 36, 36]
    assert (state.log == 0).all()
    state = ESTIMATOR.look(state, tuple(group((30, 10), (30, 2), share) for share in (0.3, 0.5, 0.7)))
    assert state.waiting.sum() == 0
    assert state.log[0].argmax() > len(GRID) // 2


def test_a_block_that_must_make_room_is_judged_as_it_is() -> None:
    shares = np.linspace(0.2, 0.8, 20)
    state = after(*(group((20, 15), (20, 5), float(share)) for share in shares))
    assert state.log[0].argmax() > len(GRID) // 2
    assert state.sums.units.tolist() == [[400, 400]]


def test_more_who_did_it_than_users_are_no_more_than_users() -> None:
    found = ESTIMATOR.interval(after(group((100, 130), (100, 50))), 0.05)
    assert found.estimate[0] == pytest.approx(1.0)


def test_it_survives_the_event_log() -> None:
    state = after(group((60, 9), (40, 3)), group((3, 1), (4, 0), 0.3))
    again = kept_state(ESTIMATOR.begin(1), keep(state))
    for one, other in ((state.log, again.log), (state.waiting, again.waiting), (state.sums.total, again.sums.total)):
        assert (one == other).all()


@pytest.mark.parametrize(("share", "lift", "weight"), [(0.05, 0.0, 0.5), (0.3, 0.1, 0.5), (0.05, 0.2, 0.1)])
def test_it_covers_the_effect_at_all_looks_together(share: float, lift: float, weight: float) -> None:
    rng, rollouts = np.random.default_rng(11), 150
    state, held = ESTIMATOR.begin(rollouts), np.ones(rollouts, bool)
    for _ in range(80):
        n = rng.binomial(50, weight, rollouts).astype(float)
        did = rng.binomial(n.astype(int), share * (1 + lift)), rng.binomial((50 - n).astype(int), share)
        state = ESTIMATOR.look(state, (BatchGroup(weight, arm(50 - n, did[1]), arm(n, did[0])),))
        found = ESTIMATOR.interval(state, 0.05)
        held &= (found.low <= lift) & (lift <= found.high)
    assert held.mean() >= 0.95
    assert np.median(found.high - found.low) < 2.5
