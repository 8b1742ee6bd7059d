"""The same values, however they come."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from lockgate.monitoring.drift.columns import Column, as_label, as_number, column

NUMBERS = [1.0, 0.1, None, 3.0]


def plain(found: Column) -> Any:
    return found.values.tolist()  # noqa: PD011 - no frame's


def words(found: Column) -> list[str | None]:
    return [None if code < 0 else found.labels[code] for code in plain(found)]


@pytest.mark.parametrize(
    "values",
    [
        NUMBERS,
        np.array([1, 0.1, np.nan, 3]),
        np.array([1, 0.1, np.nan, 3], np.float32),
        np.array([1, 0.1, None, 3], object),
        pa.array(NUMBERS),
        pa.array([Decimal("1.0"), Decimal("0.1"), None, Decimal("3.0")]),
        pa.chunked_array([[1.0, 0.1], [None, 3.0]]),
        pd.Series(NUMBERS),
        pd.Series(NUMBERS, dtype="Float64"),
    ],
)
def test_numbers(values: Any) -> None:
    found = column(values)
    assert found.form == "number"
    np.testing.assert_array_equal(found.values, np.array([1, 0.1, np.nan, 3], np.float32))
    assert found.missing.tolist() == [False, False, True, False]


@pytest.mark.parametrize(
    "values",
    [
        ["a", None, "b", "a"],
        np.array(["a", None, "b", "a"], object),
        pa.array(["a", None, "b", "a"], pa.large_string()),
        pa.array(["a", None, "b", "a"]).dictionary_encode(),
        pa.chunked_array([pa.array(["a", None]).dictionary_encode(), pa.array(["b", "a"]).dictionary_encode()]),
        pa.DictionaryArray.from_arrays(pa.array([0, 3, 2, 1]), pa.array(["a", "a", "b", None])),
        pd.Series(["a", None, "b", "a"]),
        pd.Series(["a", None, "b", "a"], dtype="category"),
    ],
)
def test_labels(values: Any) -> None:
    found = column(values)
    assert found.form == "label"
    assert words(found) == ["a", None, "b", "a"]
    assert found.missing.tolist() == [False, True, False, False]


@pytest.mark.parametrize(
    "values",
    [
        np.arange(6.0).reshape(2, 3),
        np.arange(6).reshape(2, 3, 1),
        [[0, 1, 2], [3, 4, 5]],
        [np.arange(3), np.arange(3, 6)],
        pa.array([[0, 1, 2], [3, 4, 5]]),
        pa.array([[[0], [1], [2]], [[3], [4], [5]]]),
        pa.array([[0, 1, 2], [3, 4, 5]], pa.list_(pa.float32(), 3)),
        pd.Series([[0, 1, 2], [3, 4, 5]]),
    ],
)
def test_vectors(values: Any) -> None:
    found = column(values)
    assert found.form == "vector"
    assert plain(found) == [[0, 1, 2], [3, 4, 5]]


def test_a_torch_tensor() -> None:
    torch = pytest.importorskip("torch")
    assert plain(column(torch.ones(2, 3))) == [[1, 1, 1], [1, 1, 1]]
    assert column(torch.ones(2, 3, requires_grad=True)).form == "odd"


def test_a_vector_that_is_missing_is_a_row_without_numbers() -> None:
    found = column(pa.array([[1.0, 2.0], None, [3.0, 4.0]]))
    assert found.missing.tolist() == [False, True, False]
    np.testing.assert_array_equal(found.values, [[1, 2], [np.nan, np.nan], [3, 4]])


def test_vectors_of_many_lengths() -> None:
    found = column(pa.array([[1.0], None, [], [2.0, 3.0]]))
    assert found.form == "ragged"
    assert [vector.tolist() for vector in found.vectors] == [[1], [], [2, 3]]
    assert [vector.tolist() for vector in found.take(np.array([1, 3])).vectors] == [[2, 3]]


@pytest.mark.parametrize(
    ("values", "form"),
    [
        ([None, None], "nothing"),
        (pa.array([[], []], pa.list_(pa.float32())), "nothing"),
        ([], "nothing"),
        ([dt.datetime(2020, 1, 1, tzinfo=dt.UTC), None], "time"),
        (np.array(["2020-01-01", "NaT"], "datetime64[s]"), "time"),
        ([{"a": 1}], "odd"),
        ([["a"], ["b"]], "odd"),
        (np.array([1j]), "odd"),
        (object(), "odd"),
        ("text", "label"),
    ],
)
def test_other_things(values: Any, form: str) -> None:
    assert column(values).form == form


def test_several_types_in_one_column_are_labels() -> None:
    found = column([1, "a", 2.0, None, True, float("nan"), pd.NA])
    assert words(found) == [
        "1", "a", "2", None, "true", None, None
    ]  # fmt: skip


def test_a_text_that_is_no_unicode_is_no_error() -> None:
    found = column(["a\ud800"])
    assert found.form == "label"
    assert found.labels == ("a?",)


def test_truth_values_are_labels_and_numbers() -> None:
    found = column([True, False, None])
    assert words(found)[:2] == ["true", "false"]
    as_numbers = as_number(found)
    assert as_numbers is not None
    np.testing.assert_array_equal(as_numbers.values, [1, 0, np.nan])


def test_labels_that_are_numbers() -> None:
    as_numbers = as_number(column(["1", None, "2.5"]))
    assert as_numbers is not None
    np.testing.assert_array_equal(as_numbers.values, [1, np.nan, 2.5])
    assert as_number(column(["1", "one", None])) is None


def test_text_that_is_no_number_is_missing_among_numbers() -> None:
    found = as_number(column(["1", "n/a", "2.5", None, "true"]))
    assert found is not None
    np.testing.assert_array_equal(found.values, [1, np.nan, 2.5, np.nan, 1])
    assert found.missing.tolist() == [False, True, False, True, False]


def test_long_texts_that_differ_at_their_end_are_two() -> None:
    long = "a" * 5000
    assert len(column([long + "1", long + "2", long + "1"]).labels) == 2
    assert len(column([long + "1", 7]).labels[0]) == 4096


def test_numbers_as_labels_read_the_same_as_whole_numbers_and_as_floats() -> None:
    for values in ([1, 2, 1], [1.0, 2.0, 1.0]):
        found = as_label(column(values))
        assert found is not None
        assert words(found) == ["1", "2", "1"]
