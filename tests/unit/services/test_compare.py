"""Two sets of named outputs: tolerance, structure, labels, and the sentence about the worst difference."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from lockgate.services.compile.compare import Rule, beyond, compare, structure
from lockgate.services.compile.words import Arrays, Tolerance

WHO = ("the source", "onnxruntime")
STRICT = Tolerance(rows=32)


def one(value: Any, name: str = "y") -> Arrays:
    return {name: np.asarray(value)}


def passes(want: Arrays, found: Arrays, tolerance: Tolerance = STRICT) -> bool:
    return not beyond(want, found, tolerance, WHO)


def test_nan_equals_nan_and_infinity_its_like() -> None:
    assert passes(one([np.nan, np.inf]), one([np.nan, np.inf]))
    for other in ([0.0, np.inf], [np.nan, -np.inf], [np.nan, 5.0]):
        assert not passes(one([np.nan, np.inf]), one(other))


def test_tolerance_is_absolute_and_relative() -> None:
    assert passes(one([1000.0]), one([1000.9]))
    assert not passes(one([1.0]), one([1.002]))
    assert passes(one([0.0]), one([9e-6]))


def test_the_edge_is_judged_at_the_scale_of_the_outputs() -> None:
    want, found = one([1000.0, 0.001]), one([1000.0, 0.5])
    assert not passes(want, found)
    (compared,) = compare(want, found, Rule(STRICT, edge=True))
    assert not compared.bad_rows.any()


def test_the_largest_of_several_outputs_is_named() -> None:
    want = {"a": np.zeros(3), "b": np.zeros((3, 2))}
    found = {"a": np.array([0, 0.1, 0]), "b": np.array([[0, 0], [0, 0], [0, 7.0]])}
    assert beyond(want, found, STRICT, WHO).startswith(
        "output 'b', row 2, position 1: the source says 0, onnxruntime says 7 (they differ by 7, 1e-05 is allowed; "
        "1 of 3 rows differ so)"
    )


@pytest.mark.parametrize(
    ("want", "found", "sentence"),
    [
        (one([1.0]), one([1.0], "z"), r"answers the outputs \['y'\]"),
        (one([1.0]), one([[1.0]]), r"has shape \[1\] from the source and \[1, 1\]"),
        (one([1.0]), one([1]), "is float64 from the source and int64"),
        (one([1]), one(["1"]), "is int64 from the source and <U1"),
        (one(np.array(["a"], object)), one([1.0]), "is object from the source and float64"),
    ],
)
def test_another_structure_is_refused(want: Arrays, found: Arrays, sentence: str) -> None:
    assert re.search(sentence, structure(want, found, WHO))


@pytest.mark.parametrize(
    ("want", "found"),
    [
        (["a", "b"], np.array(["a", "b"], object)),
        (np.array([3, 4], object), np.array([3, 4])),
        ([True, False], [1, 0]),
        (np.array([1, 2], "int32"), np.array([1, 2], "int64")),
    ],
)
def test_labels_are_equal_in_whatever_type_they_come(want: Any, found: Any) -> None:
    assert passes(one(want), one(found))
    other = np.asarray(found).copy()
    other[0] = other[1]
    assert not passes(one(want), one(other))
