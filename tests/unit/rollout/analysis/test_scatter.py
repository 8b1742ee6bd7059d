"""The design effect: what it measures on data whose dependence is known."""

from __future__ import annotations

import numpy as np
import pytest

from lockgate.rollout.analysis import scatter
from lockgate.rollout.analysis.bets import Array
from lockgate.rollout.analysis.scatter import Scatter

ROLLOUTS, REQUESTS = 40, 2000.0


def after(bad: Array, requests: float = REQUESTS) -> Scatter:
    """`bad` (looks, R) of so many requests in each look."""
    it = scatter.no_scatter(bad.shape[1], 1)
    for look in bad:
        it = scatter.scattered(it, look[:, None], np.full(len(look), requests))
    return it


def effect(it: Scatter, least: float = 1.0) -> float:
    return float(np.median(scatter.design_effect(it, least)))


def independent(looks: int, share: float = 0.01, clump: int = 1) -> Array:
    rng = np.random.default_rng(3)
    return clump * rng.binomial(int(REQUESTS), share / clump, (looks, ROLLOUTS)).astype(np.float64)


def test_independent_requests_have_none() -> None:
    assert effect(after(independent(200))) == pytest.approx(1.0, abs=0.2)


def test_failures_in_threes_are_seen() -> None:
    assert effect(after(independent(200, clump=3))) == pytest.approx(3.0, abs=0.5)


def test_half_of_the_requests_may_be_bad() -> None:
    """Exceedances of the median: without the finite population's correction this would be half."""
    rng = np.random.default_rng(4)
    it = after(4 * rng.binomial(int(REQUESTS) // 4, 0.5, (300, ROLLOUTS)).astype(np.float64))
    assert effect(it) == pytest.approx(4.0, abs=0.8)


def test_clumps_that_last_longer_than_a_look_are_seen_in_longer_blocks() -> None:
    rng = np.random.default_rng(5)
    wobble = np.repeat(rng.gamma(4, 0.25, (30, ROLLOUTS)), 10, axis=0)
    it = after(rng.poisson(10 * wobble).astype(np.float64))
    assert effect(it) > 5
    assert float(np.median(it.total[..., 0] / it.blocks[..., 0])) < 5


def test_an_incident_of_five_minutes_is_not_a_clump() -> None:
    looks = independent(180)
    looks[60:90] *= 10
    assert effect(after(looks)) < 8


@pytest.mark.parametrize("least", [1.0, 1.5])
def test_never_below_the_profiles(least: float) -> None:
    it = after(np.full((50, 1), 20.0))  # steadier than chance
    assert effect(it, least) == least
    assert effect(scatter.no_scatter(1, 1), least) >= least


def test_before_anything_is_measured_clumps_are_assumed_but_not_by_the_fast_profile() -> None:
    nothing = scatter.no_scatter(1, 1)
    assert effect(nothing, 1.0) == 1.0
    assert effect(nothing, 1.5) == pytest.approx(2.5)
    many = scatter.design_effect(nothing, 1.5, expected=np.array([[160.0]]))
    assert many[0, 0] > 10


def test_looks_without_requests_say_nothing() -> None:
    it = after(np.array([[3.0], [0.0], [4.0]]))
    for _ in range(30):
        it = scatter.scattered(it, np.zeros((1, 1)), np.zeros(1))
    assert float(it.blocks[0, 0, 0]) == 2


class TestReplicas:
    def looks(self, replicas: int, wobble: float) -> list[tuple[Array, Array]]:
        rng = np.random.default_rng(6)
        shape = wobble**-2
        made = []
        for _ in range(100):
            rate = 20 * rng.gamma(shape, 1 / shape, (ROLLOUTS, replicas))
            made.append((np.full((ROLLOUTS, replicas), REQUESTS), rng.poisson(rate).astype(np.float64)))
        return made

    def measured(self, looks: list[tuple[Array, Array]]) -> Scatter:
        it = scatter.no_scatter(ROLLOUTS, 1)
        for requests, bad in looks:
            it = scatter.between_replicas(it, requests, bad)
        return it

    def test_replicas_that_wobble(self) -> None:
        it = self.measured(self.looks(4, 0.5))  # variance over mean: 1 + 0.25 x 20
        assert effect(it) == pytest.approx(6.0, abs=1.2)

    def test_the_candidate_wobbles_more_when_it_answers_more_than_one_of_them(self) -> None:
        it = self.measured(self.looks(4, 0.5))
        alone = float(np.median(scatter.design_effect(it, 1.0, np.full(ROLLOUTS, 4.0))))
        assert alone > 2.5 * effect(it)

    def test_their_number_may_change_and_one_may_answer_nothing(self) -> None:
        looks = [*self.looks(4, 0.01), *self.looks(2, 0.01), *self.looks(1, 0.01), *self.looks(3, 0.01)]
        for requests, bad in looks[::7]:
            requests[:, 0] = 0
            bad[:, 0] = 0
        it = self.measured(looks)
        assert effect(it) == pytest.approx(1.0, abs=0.2)
        assert float(it.apart_looks[0]) == pytest.approx(300, abs=20)

    def test_one_that_fails_everything_for_a_look_is_not_a_clump(self) -> None:
        looks = self.looks(4, 0.01)
        looks[50][1][:, 0] = REQUESTS
        assert effect(self.measured(looks)) < 1.5
