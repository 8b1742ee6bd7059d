"""When two answers are the same, for each kind of output."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats  # type: ignore[import-untyped, unused-ignore]

from lockgate.monitoring.answers.columns import Column, column, stacked
from lockgate.monitoring.answers.compare import FARTHEST, compare
from lockgate.monitoring.answers.correlation import spearman
from lockgate.monitoring.answers.errors import Incomparable
from lockgate.monitoring.answers.words import Comparison

NAN, INF = float("nan"), float("inf")


def of(values: Any) -> Column:
    if isinstance(values, np.ndarray) and values.ndim > 1:
        flat = pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), int(np.prod(values.shape[1:])))
        return column(flat, pa.field("x", flat.type))
    array = values if isinstance(values, pa.Array) else pa.array(values)
    return column(array, pa.field("x", array.type))


def differ(stable: Any, candidate: Any, **how: Any) -> list[bool]:
    found = compare(of(stable), of(candidate), Comparison(**how))
    assert np.isfinite(found.far).all()
    return list(found.differ.tolist())


@pytest.mark.parametrize("by", ["auto", "label"])
@pytest.mark.parametrize(
    ("stable", "candidate", "wrong"),
    [
        ([1, 2, 3], [1, 2, 4], [0, 0, 1]),
        (["a", "b", ""], ["a", "c", ""], [0, 1, 0]),
        ([True, False], [True, True], [0, 1]),
        (np.array([[1, 2], [3, 4]]), np.array([[1, 2], [3, 5]]), [0, 1]),
        (pa.array([["x", "y"], ["z"]]), pa.array([["x", "y"], ["z", "w"]]), [0, 1]),
        (pa.array(["a", "b"]).dictionary_encode(), ["a", "a"], [0, 1]),
        ([1, 0], [True, True], [0, 1]),
        (np.array([[0.7, 0.3], [0.7, 0.3]]), np.array([[0.6, 0.4], [0.4, 0.6]]), [0, 1]),
        (np.array([[0.5, 0.5]]), np.array([[0.4999999, 0.5000001]]), [0]),
        (np.array([[0.7, 0.3]] * 2), np.array([[NAN, 0.3], [0.7, NAN]]), [1, 1]),
    ],
)
def test_labels(by: str, stable: Any, candidate: Any, wrong: list[int]) -> None:
    assert differ(stable, candidate, by=by) == [bool(w) for w in wrong]


@pytest.mark.parametrize("by", ["auto", "score"])
@pytest.mark.parametrize(
    ("stable", "candidate", "wrong"),
    [
        ([1.0, 1.0, 0.0], [1.01, 1.02, 0.002], [0, 1, 1]),
        ([NAN, NAN, 1.0], [NAN, 1.0, NAN], [0, 1, 1]),
        ([INF, INF, INF, 1.0], [INF, -INF, 1.0, INF], [0, 1, 1, 1]),
        (np.array([[5.0, 1.0], [5.0, 1.0]]), np.array([[5.0, 1.0], [5.0, 1.1]]), [0, 1]),
        (pa.array([1, 2]), [1.0, 2.5], [0, 1]),
        (pa.array([[1.0], [1.0, 2.0]]), pa.array([[1.0], [1.0]]), [0, 1]),
    ],
)
def test_scores(by: str, stable: Any, candidate: Any, wrong: list[int]) -> None:
    assert differ(stable, candidate, by=by) == [bool(w) for w in wrong]


def test_scores_of_whole_numbers_are_not_labels() -> None:
    assert differ([1000], [1001], by="score") == [False]
    assert differ([1000], [1001]) == [True]


def test_how_far_scores_are() -> None:
    how = Comparison(by="score", atol=0.5, rtol=0.0)
    assert compare(of([1.0, 1.0, 1.0]), of([1.0, 3.0, NAN]), how).far.tolist() == [0.0, 4.0, FARTHEST]
    exactly = Comparison(by="score", atol=0.0, rtol=0.0)
    assert compare(of([1.0, 1.0]), of([1.0, 1.1]), exactly).far.tolist() == [0.0, FARTHEST]


@pytest.mark.parametrize(
    ("stable", "candidate", "wrong"),
    [
        ([[1.0, 2.0, 3.0]], [[10.0, 20.0, 30.0]], False),
        ([[1.0, 2.0, 3.0]], [[3.0, 2.0, 1.0]], True),
        ([[1.0, 1.0, 1.0]], [[2.0, 2.0, 2.0]], False),
        ([[1.0, 1.0, 1.0]], [[1.0, 2.0, 3.0]], True),
        ([[1.0, NAN, 3.0]], [[1.0, 2.0, 3.0]], True),
        ([[1.0, NAN, 3.0]], [[1.0, NAN, 3.0]], False),
    ],
)
def test_ranks(*, stable: Any, candidate: Any, wrong: bool) -> None:
    assert differ(np.array(stable), np.array(candidate), by="rank") == [wrong]


def test_ranks_with_ties_are_those_of_scipy() -> None:
    random = np.random.default_rng(1)
    ours, theirs = random.integers(0, 5, (40, 12)).astype(float), random.integers(0, 5, (40, 12)).astype(float)
    expected = [stats.spearmanr(a, b).statistic for a, b in zip(ours, theirs, strict=True)]
    assert spearman(ours, theirs) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("stable", "candidate", "wrong"),
    [
        ([[1.0, 2.0]], [[2.0, 4.0]], False),
        ([[1.0, 0.0]], [[0.0, 1.0]], True),
        ([[0.0, 0.0]], [[0.0, 0.0]], False),
        ([[0.0, 0.0]], [[1.0, 0.0]], True),
        ([[1.0, 0.0]], [[NAN, 0.0]], True),
        ([[1e300, 1e300]], [[1e300, 1e300]], False),
        ([[1e-300, 0.0]], [[1e-300, 0.0]], False),
    ],
)
def test_cosines(*, stable: Any, candidate: Any, wrong: bool) -> None:
    assert differ(np.array(stable), np.array(candidate), by="cosine", least=1.0) == [wrong]


@pytest.mark.parametrize("by", ["score", "rank", "cosine"])
def test_text_has_only_labels(by: str) -> None:
    with pytest.raises(Incomparable, match="by: label"):
        differ(["a"], ["b"], by=by)


def test_one_score_has_no_order() -> None:
    with pytest.raises(Incomparable, match="by: score"):
        differ([1.0], [2.0], by="rank")


@pytest.mark.parametrize("by", ["auto", "label", "score", "rank", "cosine"])
def test_empty_answers_are_the_same(by: str) -> None:
    empty = pa.array([[], []], pa.list_(pa.float64()))
    if by == "rank":
        with pytest.raises(Incomparable):
            differ(empty, empty, by=by)
    else:
        assert differ(empty, empty, by=by) == [False, False]


def test_a_files_shape_that_changes_makes_vectors_of_varying_length() -> None:
    both = stacked([of(np.ones((2, 3))), of(np.ones((1, 4)))])
    assert both.ragged
    assert [len(row) for row in both.values] == [3, 3, 4]


@pytest.mark.parametrize(
    ("lists", "shape", "found"),
    [
        (pa.list_(pa.float64()), "[2, 3]", (2, 2, 3)),
        (pa.list_(pa.float64(), 6), "[2, 3]", (2, 2, 3)),
        (pa.list_(pa.float64(), 6), "[4, 3]", (2, 6)),  # it cannot be
        (pa.list_(pa.float64(), 6), "nonsense", (2, 6)),
        (pa.list_(pa.float64()), "[-1, 3]", (2,)),
        (pa.list_(pa.float64()), "[4, 3]", (2,)),
        (pa.list_(pa.float64()), "", (2,)),
    ],
)
def test_tensors_get_their_shape_back(lists: Any, shape: str, found: tuple[int, ...]) -> None:
    array = pa.array([list(range(6)), None, list(range(6))], lists)
    shaped = column(array, pa.field("x", lists, metadata={"shape": shape}))
    assert shaped.values.shape == (3, *found[1:])
    assert shaped.present.tolist() == [True, False, True]
    assert shaped.ragged == (len(found) == 1)


def test_lists_that_do_not_hold_to_their_shape() -> None:
    array = pa.array([[1.0], [2.0, 3.0, 4.0]])
    assert column(array, pa.field("x", array.type, metadata={"shape": "[2]"})).ragged
