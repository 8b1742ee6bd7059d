"""Chances against scipy's."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats  # type: ignore[import-untyped, unused-ignore]

from lockgate.monitoring.drift.chance import chi_square, proven, two_shares


@given(st.floats(1e-6, 3000), st.integers(1, 300))
def test_chi_square_is_scipys(statistic: float, freedom: int) -> None:
    assert chi_square(statistic, freedom) == pytest.approx(stats.chi2.sf(statistic, freedom), rel=1e-9, abs=1e-13)


def test_chi_square_far_out_is_no_error() -> None:
    assert chi_square(1e9, 9) == 0.0
    assert chi_square(0.0, 9) == chi_square(5.0, 0) == 1.0


@given(st.integers(1, 300), st.integers(1, 3000), st.data())
def test_two_shares_is_fishers_test_with_twice_the_smaller_tail(of: int, of_others: int, data: st.DataObject) -> None:
    some, others = data.draw(st.integers(0, of)), data.draw(st.integers(0, of_others))
    every = some + others
    table = stats.hypergeom(of + of_others, every, of)
    wanted = min(1.0, 2 * min(table.cdf(some), table.sf(some - 1)))
    assert two_shares(some, of, others, of_others) == pytest.approx(wanted, rel=1e-6, abs=1e-13)


def test_two_shares_of_many_rows_is_fishers_test_too() -> None:
    exact = 2 * stats.hypergeom(1_100_000, 330_000, 100_000).sf(30_599)
    assert two_shares(30_600, 100_000, 299_400, 1_000_000) == pytest.approx(exact, rel=0.1)


def test_two_shares_of_nothing_are_alike() -> None:
    assert two_shares(0, 0, 5, 10) == two_shares(0, 10, 0, 10) == two_shares(10, 10, 10, 10) == 1.0


def test_benjamini_and_hochberg_accept_all_up_to_the_last_that_passes() -> None:
    assert proven([0.04, 0.001, 0.03, 0.9], 0.05) == [False, True, False, False]
    assert proven([0.036, 0.001, 0.03, 0.9], 0.05) == [True, True, True, False]
    assert proven([], 0.05) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_benjamini_and_hochberg_are_scipys(chances: list[float]) -> None:
    wanted = stats.false_discovery_control(chances) <= 0.05
    assert proven(chances, 0.05) == wanted.tolist()
