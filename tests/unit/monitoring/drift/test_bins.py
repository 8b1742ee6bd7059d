"""Bins of numbers and of labels."""

from __future__ import annotations

from typing import Any

import numpy as np

from lockgate.monitoring.drift.columns import Column, column
from lockgate.monitoring.drift.labels import Labels, labels_of
from lockgate.monitoring.drift.quantiles import Numbers, numbers


def bins(values: Any) -> Numbers:
    found = numbers(column(np.asarray(values)).values)
    assert found is not None
    return found


def placed(found: Numbers, values: Any) -> list[int]:
    return np.bincount(found.place(column(np.asarray(values)).values), minlength=len(found.counts)).tolist()


def test_ten_bins_of_as_many_rows() -> None:
    found = bins(np.random.default_rng(0).permutation(1000))
    assert found.counts == (100,) * 10
    assert (found.least, found.most) == (0, 999)
    assert found.quantiles == (50, 250, 500, 750, 950)


def test_few_distinct_values_have_a_bin_each_and_one_on_either_side() -> None:
    found = bins([1] * 50 + [2] * 30 + [7])
    assert found.counts == (0, 50, 30, 1, 0)
    assert placed(found, [0, 1, 1, 2, 7, 8]) == [1, 2, 1, 1, 1]


def test_a_frequent_value_has_a_bin_of_its_own_among_others() -> None:
    rng = np.random.default_rng(0)
    found = bins(np.concatenate([np.zeros(600), rng.exponential(size=400)]))
    assert 600 in found.counts
    assert sum(found.counts) == 1000
    assert placed(found, [0.0])[found.counts.index(600)] == 1
    assert placed(found, [-1.0])[found.counts.index(600)] == 0


def test_a_constant_has_bins_below_and_above() -> None:
    for value in (0.0, 5.0, -1e30, 1e-30):
        found = bins(np.full(300, value))
        assert found.counts == (0, 300, 0)
        assert placed(found, [value - abs(value) - 1, value, value + abs(value) + 1]) == [1, 1, 1]


def test_a_value_has_its_bin_in_every_precision() -> None:
    values = np.repeat([0.1, 0.2, 0.3, 19.99], [400, 300, 200, 100])
    found = bins(values)
    assert placed(found, values.astype(np.float32)) == list(found.counts)
    assert not found.outside(column(values.astype(np.float32)).values).any()
    assert placed(bins(values.astype(np.float32)), values) == list(found.counts)


def test_numbers_as_large_as_they_get() -> None:
    found = bins([-3.4e38, 3.4e38, 0.0, np.inf, -np.inf, 1e300] * 50)
    assert sum(found.counts) == 300
    assert found.infinite == 150
    assert np.isfinite(found.edges).all()
    assert found.outside(column([3.4e38, 3.402823e38, np.inf]).values).tolist() == [False, True, True]


def test_nothing_finite_has_no_bins() -> None:
    assert numbers(np.array([np.inf, -np.inf], np.float32)) is None
    assert numbers(np.array([], np.float32)) is None


def test_outside_is_what_the_reference_does_not_reach() -> None:
    found = bins([1.0, 2.0, 3.0] * 10)
    assert found.outside(np.array([0.9, 1.0, 3.0, 3.1, np.inf, -np.inf])).tolist() == [1, 0, 0, 1, 1, 1]


def test_the_extremes_of_a_few_are_rounded_outward() -> None:
    found = bins([18.375, 97.25, *np.linspace(30, 40, 998)])
    assert (found.least, found.most) == (18.3, 97.3)
    assert "97.25" not in str(found)
    found = bins([-52341.0, 52341.0, *np.linspace(-100, 100, 998)])
    assert (found.least, found.most) == (-52400, 52400)
    found = bins(1.7e9 + np.arange(0, 864_000, 128.0))
    assert 1.7e9 - 2000 < found.least <= 1.7e9
    assert 1.7e9 + 864_000 - 128 <= found.most < 1.7e9 + 866_000


def test_extremes_that_several_rows_have_are_kept_as_they_are() -> None:
    found = bins([1234.5] * 5 + [5678.9] * 4 + [2000.0, 3000.0] * 50)
    assert found.least == 1234.5
    assert found.most == 5680


def test_what_lies_between_the_greatest_value_and_what_is_kept_of_it_is_in_its_bin() -> None:
    found = bins([1.0] * 50 + [2.0] * 50 + [1234.5])
    assert found.most == 1240
    assert placed(found, [1234.5, 1238, 1241]) == [0, 0, 0, 2, 1]
    assert "1234.5" not in str(found)


def label_bins(values: list[str]) -> tuple[Labels, Column]:
    found = column(values)
    return labels_of(found.values, found.labels), found


def test_few_labels_have_a_bin_each() -> None:
    found, _ = label_bins(["a"] * 5 + ["b"] * 10)
    assert (found.names, found.counts, found.digests) == (("b", "a"), (10, 5, 0), ())


def test_of_many_labels_the_frequent_ones_have_bins_and_the_others_share_some() -> None:
    found, came = label_bins(["often"] * 5000 + [f"rare {i}" for i in range(500) for _ in range(5)] + ["once"])
    assert found.names == ("often",)
    assert found.counts[0] == 5000
    assert sum(found.counts) == came.rows
    assert len(found.digests) == 501
    assert found.once == 1
    assert not found.unknown(came.labels).any()
    assert found.unknown(["new", "rare 3"]).tolist() == [True, False]


def test_names_of_rare_labels_are_not_in_the_bins() -> None:
    found, _ = label_bins([f"person {i}" for i in range(400)] * 2)
    assert "person" not in str(found)


def test_long_labels_that_differ_at_their_end_are_two() -> None:
    one, other = ("https://shop.example/" + "a" * 70 + end for end in "12")
    found, _ = label_bins([one] * 10 + ["b"] * 5)
    assert found.place(np.array([0, 1, 2]), [one, other, "b"]).tolist() == [0, 2, 1]
    assert found.unknown([one, other]).tolist() == [False, True]
    assert max(map(len, found.names)) == 80


def test_labels_keep_their_bins_in_another_order() -> None:
    found, _ = label_bins(["a"] * 5 + ["b"] * 10)
    assert found.place(np.array([0, 1, 2]), ["new", "a", "b"]).tolist() == [2, 1, 0]
