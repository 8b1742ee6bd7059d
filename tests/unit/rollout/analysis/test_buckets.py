"""Histograms as arrays: the same answers as `Histogram` gives."""

from __future__ import annotations

from itertools import accumulate, pairwise
from math import inf

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lockgate.monitoring.measurement import Histogram
from lockgate.rollout.analysis import buckets
from lockgate.rollout.envoy.bootstrap import latency_buckets

EDGES = (1.0, 2.0, 5.0, 10.0, inf)
COUNTS = st.lists(st.integers(0, 1000), min_size=5, max_size=5)


@given(COUNTS, COUNTS, st.sampled_from([0.0, 0.01, 0.5, 0.99, 1.0]), st.sampled_from([0.1, 1.0, 3.0, 5.0, 10.0, 20.0]))
@example([0] * 5, [0, 0, 0, 0, 7], 0.99, 5.0)
@example([3, 0, 0, 0, 0], [0, 0, 0, 4, 0], 0.5, 0.5)
def test_as_histogram_says(one: list[int], other: list[int], q: float, limit: float) -> None:
    histograms = [Histogram(EDGES, tuple(accumulate(counts))) for counts in (one, other)]
    edges, counts = np.array(EDGES), np.array([h.counts for h in histograms], dtype=np.float64)
    assert buckets.quantile(edges, counts, q).tolist() == pytest.approx([h.quantile(q) for h in histograms])
    limits = np.array([limit, limit])
    assert buckets.above(edges, counts, limits).tolist() == [h.above(limit) for h in histograms]
    assert buckets.perhaps_above(edges, counts, limits).tolist() == [h.perhaps_above(limit) for h in histograms]
    each = buckets.above(edges, counts, np.array([[limit, 2.0], [limit, 2.0]]))
    assert each.tolist() == [[h.above(limit), h.above(2.0)] for h in histograms]


class TestChosenEdges:
    EDGES = np.array([*latency_buckets().values(), inf])

    def counts(self, *latencies_ms: float) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
        return np.array([[sum(x <= edge for x in latencies_ms) for edge in self.EDGES]], dtype=np.float64)

    def used(self, *latencies_ms: float) -> list[float]:
        (slots,) = buckets.chosen(self.EDGES, self.counts(*latencies_ms))
        assert slots.shape == (buckets.SLOTS,)
        return [float(edge) for edge in slots if edge]

    def test_from_below_the_median_to_beyond_the_p99(self) -> None:
        used = self.used(*[40.0] * 50, *[100.0] * 50)
        assert used[0] <= 15
        assert used[-1] >= 700
        assert set(used) <= set(self.EDGES.tolist())
        assert used == sorted(set(used))
        assert max(b / a for a, b in pairwise(used)) < 1.5

    def test_a_wide_range_has_no_more_of_them(self) -> None:
        used = self.used(*[20.0] * 50, *[20_000.0] * 50)
        assert len(used) <= buckets.SLOTS
        assert used[-1] == 30_000.0

    def test_one_bucket(self) -> None:
        assert self.used(*[0.2] * 9)[0] == 1.0
        edges = np.array([inf])
        assert not buckets.chosen(edges, np.array([[7.0]])).any()
