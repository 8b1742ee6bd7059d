"""Counts of one variant: what came since, what was slower, which quantile."""

from __future__ import annotations

from dataclasses import replace
from itertools import accumulate, pairwise
from math import ceil, inf

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from lockgate.monitoring.measurement import Histogram, Tally

EDGES = (10.0, 20.0, 40.0, inf)
SOME = Histogram(EDGES, (50, 80, 95, 100))
BUCKETS = st.lists(st.integers(0, 1000), min_size=4, max_size=4)


def histogram(buckets: list[int]) -> Histogram:
    return Histogram(EDGES, tuple(accumulate(buckets)))


TALLIES = st.builds(
    lambda buckets, errors: Tally(sum(buckets), min(errors, sum(buckets)), histogram(buckets)),
    BUCKETS,
    st.integers(0, 4000),
)


class TestHistogram:
    @pytest.mark.parametrize(
        ("edge", "surely", "perhaps"),
        [
            (0.0, 50, 100),
            (9.9, 50, 100),
            (10.0, 50, 50),
            (10.1, 20, 50),
            (20.0, 20, 20),
            (39.0, 5, 20),
            (40.0, 5, 5),
            (41.0, 0, 5),
            (inf, 0, 0),
        ],
    )
    def test_how_many_were_slower(self, edge: float, surely: int, perhaps: int) -> None:
        assert (SOME.above(edge), SOME.perhaps_above(edge)) == (surely, perhaps)

    @pytest.mark.parametrize(
        ("q", "milliseconds"),
        [
            (0.25, 5.0),
            (0.5, 10.0),
            (0.65, 15.0),
            (0.8, 20.0),
            (0.95, 40.0),
            (0.99, 40.0),  # beyond the last edge: at least that
            (1.0, 40.0),
        ],
    )
    def test_quantiles_are_linear_inside_a_bucket(self, q: float, milliseconds: float) -> None:
        assert SOME.quantile(q) == pytest.approx(milliseconds)

    @pytest.mark.parametrize("empty", [Histogram(), Histogram(EDGES, (0, 0, 0, 0))])
    def test_nothing_was_counted(self, empty: Histogram) -> None:
        assert (empty.total, empty.quantile(0.5), empty.above(1.0), empty.perhaps_above(1.0)) == (0, 0.0, 0, 0)

    def test_an_empty_bucket_before_the_quantile(self) -> None:
        assert histogram([0, 0, 10, 0]).quantile(0.5) == 30.0

    @given(BUCKETS, st.lists(st.floats(0, 1), min_size=2))
    def test_a_larger_quantile_is_never_faster(self, buckets: list[int], qs: list[float]) -> None:
        values = [histogram(buckets).quantile(q) for q in sorted(qs)]
        assert values == sorted(values)
        assert all(0 <= value <= 40 for value in values)

    @given(st.lists(st.floats(0, 100), min_size=1, max_size=200), st.floats(0.01, 0.99))
    def test_agrees_with_the_latencies_themselves(self, latencies: list[float], q: float) -> None:
        """The quantile is in its bucket, and what was slower than a bound is between the two counts."""
        it = Histogram(EDGES, tuple(sum(x <= edge for x in latencies) for edge in EDGES))
        true = sorted(latencies)[ceil(q * len(latencies)) - 1]
        low, high = next((a, b) for a, b in pairwise((0.0, *EDGES)) if true <= b)
        assert low <= it.quantile(q) <= high
        for bound in (*EDGES, 5.0, 33.0):
            assert it.above(bound) <= sum(x > bound for x in latencies) <= it.perhaps_above(bound)

    def test_infinity_survives_json(self) -> None:
        """PostgreSQL refuses the word Infinity outside of quotes."""
        adapter = TypeAdapter(Histogram)
        written = adapter.dump_json(SOME)
        assert b'"Infinity"' in written
        assert adapter.validate_json(written) == SOME


class TestSince:
    def test_what_came(self) -> None:
        before = Tally(100, 3, SOME)
        after = Tally(150, 4, Histogram(EDGES, (60, 100, 140, 150)))
        assert after.since(before) == Tally(50, 1, Histogram(EDGES, (10, 20, 45, 50)))

    @given(TALLIES, TALLIES)
    def test_counts_that_only_grow_are_cut_and_joined_exactly(self, first: Tally, came: Tally) -> None:
        assert first.plus(came).since(first) == came
        assert first.plus(first.plus(came).since(first)) == first.plus(came)

    @pytest.mark.parametrize(
        "after",
        [
            Tally(40, 1, Histogram(EDGES, (10, 20, 30, 40))),
            Tally(200, 1, Histogram(EDGES, (50, 80, 150, 200))),  # of requests there are more, of errors fewer
            Tally(200, 9, Histogram(EDGES, (90, 92, 94, 200))),  # one bucket alone tells
        ],
        ids=["requests", "errors", "bucket"],
    )
    def test_a_reset_of_one_count_is_a_reset_of_all(self, after: Tally) -> None:
        assert after.since(Tally(100, 3, SOME)) == after

    @given(TALLIES, TALLIES)
    def test_no_bucket_is_ever_negative(self, before: Tally, after: Tally) -> None:
        came = after.since(before)
        assert min(came.requests, came.errors, *came.latency.counts) >= 0
        assert list(came.latency.counts) == sorted(came.latency.counts)

    def test_the_first_histogram_after_none(self) -> None:
        assert Tally(100, 3, SOME).since(Tally(20, 1)) == Tally(80, 2, SOME)

    def test_nothing_before_and_nothing_after(self) -> None:
        assert Tally(5, 1, SOME).since(Tally()) == Tally(5, 1, SOME)
        assert Tally().since(Tally(5, 1, SOME)) == Tally()


class TestPlus:
    def test_adds_everything(self) -> None:
        assert Tally(100, 3, SOME).plus(Tally(100, 3, SOME)) == Tally(200, 6, Histogram(EDGES, (100, 160, 190, 200)))

    def test_nothing_is_neutral(self) -> None:
        one = Tally(100, 3, SOME)
        assert one.plus(Tally()) == one == Tally().plus(one)

    def test_other_edges_cannot_be_added_the_newer_stay(self) -> None:
        other = Histogram((5.0, inf), (1, 2))
        assert Tally(100, 3, SOME).plus(Tally(2, 0, other)) == replace(Tally(102, 3), latency=other)
