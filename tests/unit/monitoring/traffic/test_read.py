"""Captured traffic as one table."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lockgate.monitoring.traffic.errors import Unreadable
from lockgate.monitoring.traffic.read import read

BEGAN = 1_700_000_000.0
Make = Callable[..., Any]


@pytest.fixture
def folder(tmp_path: Path, replica: Make, records: Make) -> Path:
    """A stream and a Parquet file, of one second each."""
    replica("a" * 64).write(records(["a", "b"], {"input.x": [1, 2], "output.y": np.ones((2, 3))})).rotate()
    replica("b" * 64).write(records(["c"], {"input.x": ["hash"], "output.y": np.ones((1, 2))}, at=BEGAN + 1))
    return tmp_path


def test_a_folder_of_streams_and_parquet_files(folder: Path) -> None:
    table = read(folder)
    assert table.column("request_id").to_pylist() == ["a", "b", "c"]
    assert table.column("kind").to_pylist() == ["live"] * 3
    assert table.column("input.x").to_pylist() == ["1", "2", "hash"]
    assert table.column("output.y").to_pylist() == [[1, 1, 1], [1, 1, 1], [1, 1]]


def test_some_columns(folder: Path) -> None:
    assert read(folder, ["input.x", "request_id", "nothing"]).column_names == ["input.x", "request_id"]


def test_columns_by_a_rule(folder: Path) -> None:
    assert read(folder, lambda name: name.startswith("output.")).column_names == ["output.y"]


def test_a_column_whose_name_begins_like_another(tmp_path: Path, replica: Make, records: Make) -> None:
    replica().write(records(["a"], {"input.x": [1], "input.x.y": [2]})).rotate()
    assert read(tmp_path, ["input.x"]).to_pydict() == {"input.x": [1]}


@pytest.mark.parametrize(
    ("since", "until", "ids"),
    [
        (None, BEGAN + 1, ["a", "b"]),
        (BEGAN + 1, None, ["c"]),
        (BEGAN, BEGAN + 2, ["a", "b", "c"]),
        (BEGAN + 9, None, []),
    ],
)
def test_a_window(folder: Path, since: float | None, until: float | None, ids: list[str]) -> None:
    assert read(folder, ["request_id"], since, until).to_pydict().get("request_id", []) == ids


def test_files_by_name(folder: Path) -> None:
    (stream,) = folder.rglob("*.arrows")
    assert read([stream]).num_rows == 1
    assert read(stream).num_rows == 1


def test_a_torn_stream_is_read_up_to_there(tmp_path: Path, replica: Make, records: Make) -> None:
    writer = replica().write(records(["a"], {})).write(records(["b"], {}))
    writer.growing.write_bytes(writer.growing.read_bytes()[:-5])
    assert read(tmp_path).column("request_id").to_pylist() == ["a"]


def test_nothing_there(tmp_path: Path) -> None:
    assert read(tmp_path).num_rows == 0
    with pytest.raises(Unreadable, match="does not exist"):
        read(tmp_path / "nowhere")
    with pytest.raises(Unreadable, match="does not exist"):
        read([tmp_path / "nowhere.parquet"])


def test_a_damaged_file_is_named(folder: Path) -> None:
    (bad,) = folder.rglob("*.parquet")
    bad.write_bytes(b"PAR1 not PAR1")
    with pytest.raises(Unreadable, match=bad.name):
        read(folder)
    problems: list[str] = []
    assert read(folder, problems=problems).column("request_id").to_pylist() == ["c"]
    assert len(problems) == 1
    assert bad.name in problems[0]
