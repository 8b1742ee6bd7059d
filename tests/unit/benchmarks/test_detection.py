"""The benchmark's rivals, bounds and traffic on cases that can be checked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from benchmarks.detection.bounds import conditional, divergence, sprt
from benchmarks.detection.field import Field
from benchmarks.detection.rivals import Argo, Flagger, Kayenta, error_rates, quantiles
from benchmarks.detection.rows import Row, seeded, summarised
from benchmarks.detection.traffic import EDGES, P99, Arm, Cell, Kind, Law, Split, Traffic, bins

HOUR = 3600.0


def test_flagger_adds_up_failed_checks_and_forgets_none() -> None:
    bad = np.array([[1, 0, 1, 0, 0, 1], [1, 1, 0, 0, 0, 0], [1, 1, 1, 0, 0, 0]], bool)
    assert Flagger(threshold=3).minutes(bad).tolist() == [6, 0, 3]


def test_argo_tolerates_as_many_failures_as_its_limit() -> None:
    bad = np.array([[1, 1, 1, 0, 1], [1, 1, 1, 0, 0]], bool)
    assert Argo(interval=5, failure_limit=3).minutes(bad).tolist() == [25, 0]


def test_kayenta_is_high_when_even_the_lower_end_is_a_quarter_of_the_estimate() -> None:
    """With five points on each side the interval's lower end is the smallest difference."""
    baseline = np.array([[1.0, 2.0, 3.0, 4.0, 5.0]])
    assert Kayenta().high(baseline + 10, baseline).tolist() == [True]  # from 6 on, estimate 10
    assert Kayenta().high(baseline + 5, baseline).tolist() == [False]  # from 1 on, estimate 5
    assert Kayenta().high(baseline - 10, baseline).tolist() == [False]  # better is not High


def test_kayentas_interval_is_asymptotic() -> None:
    """1..10 and 9..18: 100 differences around 8, sigma 13.2; the interval begins at the 19th of them, which is 4."""
    steps = np.arange(10.0)[None]
    for tolerance, high in ((0.49, True), (0.51, False)):
        assert Kayenta(tolerance=tolerance).high(steps + 8, steps).tolist() == [high]


def test_kayenta_looks_only_at_its_own_times_and_scores_the_share_of_good_metrics() -> None:
    good = np.tile(np.arange(10.0), (1, 1))
    bad = good + 100
    assert Kayenta(every=5).minutes((bad, good)).tolist() == [5]
    assert Kayenta(every=10).minutes((bad, good)).tolist() == [10]
    assert Kayenta(every=5).minutes((bad, good), (good, good)).tolist() == [5]  # 50 points
    assert Kayenta(every=5, marginal=40).minutes((bad, good), (good, good)).tolist() == [0]


def test_kayenta_leaves_out_minutes_without_data() -> None:
    series = np.array([[np.nan, 1.0, 2.0, 3.0, 4.0, 5.0]])
    assert Kayenta().high(series + 10, series).tolist() == [True]
    assert Kayenta().high(np.full((1, 6), np.nan), series).tolist() == [False]


def test_no_value_is_a_failed_check_of_the_counting_rules_only() -> None:
    """Flagger: no values found. Argo: NaN misses the condition. Kayenta: no data."""
    silent = _split(candidate=0, stable=100)
    field = Field(latency=False)
    for _ in range(30):
        field.add(silent, 60.0)
    found = field.errors(0.01)
    assert [bool(np.isfinite(at[0])) for at in found.values()] == [True, True, False, False]


def test_a_rollback_costs_the_requests_up_to_the_end_of_its_minute() -> None:
    field = Field(latency=False)
    for _ in range(60):
        field.add(_split(candidate=7, stable=100, errors=7), 30.0)
    found = field.errors(0.01)
    assert [at.tolist() for at in found.values()] == [[70.0], [280.0], [70.0], [420.0]]


def test_quantiles_are_linear_inside_a_bucket() -> None:
    counts = np.zeros((3, len(EDGES)), np.int64)
    counts[0, 9:] = 100  # all between 9 and 10 ms
    counts[1, -1] = 10  # all beyond the last finite edge
    values = quantiles(counts, 0.5)
    assert values[0] == pytest.approx(9.5)
    assert values[1] == EDGES[-2]
    assert math.isnan(values[2])


def test_an_error_rate_of_nothing_is_no_number() -> None:
    assert np.array_equal(error_rates(np.array([0, 4]), np.array([0, 1])), np.array([np.nan, 0.25]), equal_nan=True)


def test_walds_bound() -> None:
    assert round(sprt(0.001, 0.01, 0.05)) == 213
    assert round(sprt(0.01, 0.02, 0.05)) == 765
    assert divergence(0.3, 0.3) == 0.0


def test_learning_stables_rate_costs_nothing_at_no_weight_and_thrice_at_half() -> None:
    known = sprt(0.001, 0.01, 0.05)
    assert conditional(0.001, 0.01, 1e-6, 0.05) == pytest.approx(known, rel=1e-4)
    assert [round(conditional(0.001, 0.01, weight, 0.05)) for weight in (0.01, 0.05, 0.25, 0.5)] == [219, 244, 387, 698]


def test_traffic_has_the_rates_that_it_was_asked_for() -> None:
    split = _taken(Cell(200, 0.05), (Law(0.01), Law(0.02, 2.0)), HOUR)
    assert split.stable.requests.mean() == pytest.approx(200 * 0.95 * HOUR, rel=0.01)
    assert split.candidate.requests.mean() == pytest.approx(200 * 0.05 * HOUR, rel=0.01)
    assert _rate(split.stable) == pytest.approx(0.01, rel=0.02)
    assert _rate(split.candidate) == pytest.approx(0.02, rel=0.02)
    assert quantiles(split.stable.counts.sum(0), 0.99) == pytest.approx(P99, rel=0.02)
    assert quantiles(split.candidate.counts.sum(0), 0.99) == pytest.approx(2 * P99, rel=0.02)
    assert (split.candidate.counts[:, -1] == split.candidate.requests).all()


def test_a_slow_tail_leaves_the_others_alone() -> None:
    healthy, slow = bins(1.0).cumsum(), bins(2.0).cumsum()
    p95 = int(np.searchsorted(healthy, 0.95))
    assert slow[:p95] == pytest.approx(healthy[:p95])
    assert (slow[p95 : len(EDGES) // 2] <= healthy[p95 : len(EDGES) // 2]).all()
    assert slow[-1] == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("kind", "variants", "replicas"),
    [
        (Kind(), 1.0, 1.0),
        (Kind(clump=3), 3.0, 3.0),
        (Kind(clump=3, spread=True), 3.0, 1.5),  # 1 + (clump - 1) / 4 in each replica
        (Kind(pod_cv=0.5), 1 + 0.25 * 20 / 4, 1 + 0.25 * 5),  # 1 + cv² x events in a look
    ],
)
def test_dependence_scatters_counts_as_much_as_it_says(kind: Kind, variants: float, replicas: float) -> None:
    """Variance over mean of the errors in one look: of all of stable's, and of one replica's."""
    split = _taken(Cell(200, 0.0), (Law(0.01), Law(0.01)), 10.0, kind, rollouts=20_000)
    errors = split.replicas[1]
    assert split.stable.errors.var() / split.stable.errors.mean() == pytest.approx(variants, rel=0.06)
    assert errors.var() / errors.mean() == pytest.approx(replicas, rel=0.06)
    assert _rate(split.stable) == pytest.approx(0.01, rel=0.03)


def test_an_incident_and_a_wave_hit_both_sides() -> None:
    for kind, least in ((Kind(incident=10.0), 1.8), (Kind(wave=True), 1.05)):
        traffic = Traffic(Cell(2000, 0.5), (Law(0.01), Law(0.01)), 20, kind, latency=False)
        traffic.begin(seeded("shared"), 1800.0)
        looks = [traffic.take(60.0) for _ in range(30)]
        mine, theirs = (sum(getattr(look, side).errors.sum() for look in looks) for side in ("candidate", "stable"))
        requests = sum(look.stable.requests.sum() for look in looks)
        assert mine == pytest.approx(theirs, rel=0.02)
        assert theirs / requests > least * 0.01


def test_rollouts_without_a_rollback_count_as_infinitely_long() -> None:
    row = Row("faults", "", "", 200, 0.05, 0, 0)
    assert summarised(row, np.array([10.0, np.inf, np.inf])).median is None
    found = summarised(row, np.array([10.0, 20.0, np.inf]))
    assert (found.median, found.high, found.rollouts, round(found.share, 3)) == (20.0, 20.0, 3, 0.667)


def _taken(cell: Cell, sides: tuple[Law, Law], seconds: float, kind: Kind | None = None, rollouts: int = 10) -> Split:
    traffic = Traffic(cell, sides, rollouts, kind, latency=kind is None)
    traffic.begin(seeded("test"), seconds)
    return traffic.take(seconds)


def _rate(arm: Arm) -> float:
    return float(arm.errors.sum() / arm.requests.sum())


def _split(candidate: int, stable: int, errors: int = 0) -> Split:
    one = np.array([candidate])
    arms = Arm(np.array([stable]), np.array([0]), np.array([[stable]])), Arm(one, np.array([errors]), one[:, None])
    return Split(*arms, (np.array([[stable]]), np.array([[0]])))
