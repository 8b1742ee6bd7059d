"""The arithmetic of evidence: its expectation under what it is evidence against, enumerated."""

from __future__ import annotations

from math import comb, exp, log

import numpy as np
import pytest

from lockgate.rollout.analysis import bets


def array(*values: float) -> bets.Array:
    return np.array(values, dtype=np.float64)


def tables(total: int) -> list[tuple[int, int, int]]:
    """(candidate's requests, stable's, bad ones of both) for every small look."""
    return [(n, total - n, bad) for n in range(1, total) for bad in range(total + 1)]


@pytest.mark.parametrize("odds", [1.0, 1.25, 2.0])
@pytest.mark.parametrize("total", [2, 5, 12])
def test_harm_is_not_expected_to_grow_when_the_odds_are_at_most_what_is_tolerated(odds: float, total: int) -> None:
    """Given the totals, the candidate's bad requests are hypergeometric, Fisher's noncentral one at these odds."""
    for n, others, bad in tables(total):
        ks = range(max(0, bad - others), min(n, bad) + 1)
        weights = array(*(comb(n, k) * comb(others, bad - k) * odds**k for k in ks))
        mine = array(*ks)
        logs = bets.conditional(
            (mine, bad - mine), (np.full(len(ks), float(n)), np.full(len(ks), float(others))), odds, bets.RATIOS
        )
        expected = (weights[:, None] * np.exp(logs)).sum(axis=0) / weights.sum()
        assert (expected <= 1 + 1e-9).all(), (n, others, bad)


def test_harm_grows_when_the_odds_are_worse() -> None:
    """Else the test before would hold for a bet on nothing."""
    n, others, bad = 6, 6, 4
    ks = array(*range(5))
    weights = array(*(comb(n, k) * comb(others, bad - k) * 5.0**k for k in range(5)))
    logs = bets.conditional((ks, bad - ks), (ks * 0 + n, ks * 0 + others), 1.0, bets.RATIOS)
    assert ((weights[:, None] * np.exp(logs)).sum(axis=0) / weights.sum()).max() > 1.5


@pytest.mark.parametrize("limit", [0.01, 0.3, 0.9])
@pytest.mark.parametrize(("parts", "safer"), [(bets.WORSE, 0.7), (bets.BETTER, 1.05)])
def test_one_sample_is_fair_at_the_limit_and_loses_on_the_claims_side(
    limit: float, parts: bets.Array, safer: float
) -> None:
    n = 20
    k = np.arange(n + 1.0)

    def expected(share: float) -> bets.Array:
        chance = array(*(comb(n, i) * share**i * (1 - share) ** (n - i) for i in range(n + 1)))
        logs = bets.one_sample(k, np.full(n + 1, float(n)), np.full(n + 1, limit), parts)
        return np.asarray((chance[:, None] * np.exp(logs)).sum(axis=0))

    assert expected(limit) == pytest.approx(1.0)
    assert (expected(limit * safer) < 1).all()


def test_conditional_by_hand() -> None:
    """3 of 4 bad requests are the candidate's, which answered a quarter of 100."""
    (logs,) = bets.conditional((array(3), array(1)), (array(25), array(75)), 1.25, array(2.0))
    assert logs == pytest.approx(3 * log(2) - 4 * log((0.25 * 2.5 + 0.75) / (0.25 * 1.25 + 0.75)))
    (logs,) = bets.conditional((array(3), array(1)), (array(25), array(75)), 1.0, array(2.0))
    assert logs == pytest.approx(3 * log(2) - min(4 * log(1.25), 25 * log(1.04)))


@pytest.mark.parametrize(("bad", "requests"), [((0, 0), (0, 0)), ((5, 0), (5, 0)), ((0, 5), (0, 5)), ((0, 0), (9, 90))])
def test_a_look_at_one_side_or_at_nothing_bad_proves_no_harm(
    bad: tuple[float, float], requests: tuple[float, float]
) -> None:
    logs = bets.conditional((array(bad[0]), array(bad[1])), (array(requests[0]), array(requests[1])), 1.25, bets.RATIOS)
    assert logs.max() <= 1e-12


class TestInterval:
    @pytest.mark.parametrize(
        ("k", "n", "low", "high"),
        [
            (0, 100, 0.0, 3.8415 / 103.8415),  # z²/(n+z²) with z = 1.96
            (100, 100, 100 / 103.8415, 1.0),
            (1, 10, 0.01788, 0.40415),
            (0, 0, 0.0, 1.0),
        ],
    )
    def test_wilsons(self, k: int, n: int, low: float, high: float) -> None:
        found = bets.interval(array(k), array(n), 1.959964)
        assert (float(found[0][0]), float(found[1][0])) == pytest.approx((low, high), abs=2e-5)


class TestCapital:
    def test_nothing_was_won_before_a_bet(self) -> None:
        assert bets.log_capital(bets.no_bets(3, 4)).tolist() == [0.0, 0.0, 0.0]

    def test_what_is_not_bet_is_kept(self) -> None:
        """A quarter on two alternatives that come to 8 and 0, three quarters at rest."""
        it = bets.started(bets.no_bets(1, 2), 0.25)
        it = bets.settled(it, np.array([[log(8.0), -800.0]]))
        assert exp(bets.log_capital(it)[0]) == pytest.approx(0.25 * 4 + 0.75)

    def test_bets_that_begin_later_have_not_lost_before(self) -> None:
        it = bets.settled(bets.started(bets.no_bets(1, 1), 0.5), np.array([[-50.0]]))
        it = bets.settled(bets.started(it, 0.5), np.array([[log(6.0)]]))
        assert exp(bets.log_capital(it)[0]) == pytest.approx(3.0)

    def test_no_more_is_bet_than_there_is(self) -> None:
        it = bets.no_bets(1, 1)
        for _ in range(4):
            it = bets.started(it, 0.4)
        assert it.left[0] == pytest.approx(0.0)
        assert exp(bets.log_capital(it)[0]) == pytest.approx(1.0)

    def test_by_rollout_and_slot(self) -> None:
        it = bets.started(bets.no_bets(2, 3, 4), np.array([1.0, 0.5]))
        assert np.exp(bets.log_capital(it)) == pytest.approx(np.ones((2, 3)))
