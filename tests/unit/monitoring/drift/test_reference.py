"""Training rows out of files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import csv, parquet

from lockgate.monitoring.drift import reference as module
from lockgate.monitoring.drift.columns import column
from lockgate.monitoring.drift.errors import NoReference
from lockgate.monitoring.drift.reference import rows_of_file, rows_of_table

INPUTS = {"age": 0, "job": 0}


def table(n: int) -> Any:
    return pa.table({"age": np.arange(n), "job": [f"job {i % 3}" for i in range(n)], "label": np.zeros(n)})


@pytest.fixture(params=["parquet", "csv", "csv.gz"])
def file(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    path = tmp_path / f"reference.{request.param}"
    if request.param == "parquet":
        parquet.write_table(table(50_000), path, row_group_size=7_000)
    else:
        with pa.CompressedOutputStream(path, "gzip") if request.param == "csv.gz" else path.open("wb") as opened:
            csv.write_csv(table(50_000), opened)
    return path


def test_a_file_gives_the_columns_of_the_inputs(file: Path) -> None:
    found = rows_of_file(file, INPUTS, ["label"])
    assert list(found.inputs) == ["age", "job"]
    assert list(found.outputs) == ["label"]
    assert (found.rows, found.notes) == (50_000, ())
    assert found.inputs["age"].to_numpy().sum() == 50_000 * 49_999 / 2


def test_a_sample_is_of_the_whole_file_and_always_the_same(file: Path) -> None:
    found, again = (rows_of_file(file, INPUTS, most=1000) for _ in range(2))
    ages = found.inputs["age"].to_numpy()
    assert found.rows == 1000
    assert np.histogram(ages, bins=5, range=(0, 50_000))[0].min() > 130
    assert len(set(ages.tolist())) == 1000
    np.testing.assert_array_equal(ages, again.inputs["age"].to_numpy())


def test_large_rows_are_fewer(file: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(module, "_LARGEST", 200_000)
    assert 1000 < rows_of_file(file, INPUTS).rows < 15_000
    monkeypatch.setattr(module, "_LARGEST", 1)
    with pytest.raises(NoReference, match="has rows of more than"):
        rows_of_file(file, INPUTS)


def test_inputs_that_are_not_there_are_told(file: Path) -> None:
    found = rows_of_file(file, {**INPUTS, "income": 0})
    assert found.notes == ("income: the reference has no such column; it is not compared",)
    with pytest.raises(NoReference, match="none of the model's inputs x, y: it has age, job, label"):
        rows_of_file(file, {"x": 0, "y": 0})


def test_what_is_no_file_of_rows_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(NoReference, match="does not exist; log it with the model"):
        rows_of_file(tmp_path / "reference.parquet", INPUTS)
    for name, says in (("a.parquet", "cannot be read as Parquet"), ("a.xlsx", "is neither Parquet nor CSV")):
        (tmp_path / name).write_bytes(b"\x00\x01")
        with pytest.raises(NoReference, match=says):
            rows_of_file(tmp_path / name, INPUTS)
    (tmp_path / "a.csv").write_text("age,job\n1,2,3\n")
    with pytest.raises(NoReference, match="cannot be read as CSV"):
        rows_of_file(tmp_path / "a.csv", INPUTS)
    parquet.write_table(table(0), tmp_path / "none.parquet")
    with pytest.raises(NoReference, match="the reference has no rows"):
        rows_of_file(tmp_path / "none.parquet", INPUTS)


def test_empty_fields_of_a_csv_file_are_missing(tmp_path: Path) -> None:
    pd.DataFrame({"age": [1.0, None], "job": ["a", None]}).to_csv(tmp_path / "a.csv", index=False)
    found = rows_of_file(tmp_path / "a.csv", INPUTS)
    assert column(found.inputs["age"]).missing.tolist() == [False, True]
    assert column(found.inputs["job"]).missing.tolist() == [False, True]


def test_columns_of_numbers_are_the_elements_of_the_only_input() -> None:
    plain = pa.table({"a": [1, 2], "b": [0.5, None], "score": [0.1, 0.2]})
    found = rows_of_table(plain, {"x": 2}, ["score"])
    np.testing.assert_array_equal(found.inputs["x"], np.array([[1, 0.5], [2, np.nan]], np.float32))
    assert found.notes == ("x: its 2 elements are taken to be the reference's columns, in their order",)
    for inputs, outputs in (
        ({"x": 3}, ["score"]),
        ({"x": 0}, ["score"]),
        ({"x": 1, "y": 1}, ["score"]),
        ({"x": 2}, []),
    ):
        with pytest.raises(NoReference, match="none of the model's inputs"):
            rows_of_table(plain, inputs, outputs)


def test_a_frame_is_a_table() -> None:
    frame = pd.DataFrame({"age": [1, 2], "job": ["a", None]}, index=[7, 9])
    found = rows_of_table(frame, INPUTS)
    assert column(found.inputs["job"]).missing.tolist() == [False, True]
