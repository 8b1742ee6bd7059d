"""The latest live rows out of captured traffic."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from lockgate.monitoring.drift import captured
from lockgate.monitoring.drift import live as module
from lockgate.monitoring.drift.columns import column
from lockgate.monitoring.drift.live import live, of_table
from lockgate.monitoring.drift.words import Window

BEGAN = 1_700_000_000.0
CANDIDATE = "c" * 64
Make = Callable[..., Any]


def ids(first: int, count: int) -> list[str]:
    return [f"r{i}" for i in range(first, first + count)]


def values(window: Window) -> list[Any]:
    """The latest first."""
    assert window.at is not None
    found = window.inputs["x"].to_pylist()
    return [found[i] for i in np.argsort(-window.at, kind="stable")]


def finished(writer: Any, at: float) -> None:
    """When the file was written last."""
    for path in (writer.growing, writer.rotated):
        if path.exists():
            os.utime(path, (at, at))


def test_the_latest_rows_of_both_variants(tmp_path: Path, replica: Make, records: Make) -> None:
    at = [BEGAN + i for i in range(4)]
    stable = replica().write(records(ids(0, 4), {"input.x": [0, 1, 2, 3], "output.y": [0.5] * 4}, at=at)).rotate()
    other = records(ids(9, 1), {"input.x": [9], "output.y": [0.1]}, at=BEGAN + 2.5, variant="candidate")
    replica(CANDIDATE).write(other)
    window = live(tmp_path, 3)
    assert values(window) == [3, 9, 2]
    assert sorted(window.outputs["y"].to_pylist()) == [0.1, 0.5, 0.5]
    assert (window.rows, window.since, window.until, window.problems) == (3, BEGAN + 2, BEGAN + 3, ())
    assert live(tmp_path, 3, outputs=False).outputs == {}
    assert values(live(tmp_path, 3, until=BEGAN + 2)) == [1, 0]
    assert stable.rotated.exists()


def test_copies_testers_and_failures_are_left_out(tmp_path: Path, replica: Make, records: Make) -> None:
    kinds = ["live", "shadow", "echo", "forced", "live"]
    rows, status = [1, 1, 1, 1, 0], [200, 200, 200, 200, 500]
    replica().write(records(ids(0, 5), {"input.x": [0, 1, 2, 3, None]}, kind=kinds, rows=rows, status=status))
    assert values(live(tmp_path, 10)) == [0]


def test_every_request_counts_once_and_all_of_its_rows(tmp_path: Path, replica: Make, records: Make) -> None:
    at = [BEGAN, BEGAN, BEGAN + 5]
    one = {"input.x": [1, 2, 3]}
    replica().write(records(["a", "a", "b"], one, row=[0, 1, 0], at=at)).rotate()
    replica(CANDIDATE).write(records(["a", "a", "b"], one, row=[0, 1, 0], at=at, digest=CANDIDATE))
    window = live(tmp_path, 10)
    assert sorted(values(window)) == [1, 2, 3]
    assert window.groups is not None
    of = dict(zip(window.inputs["x"].to_pylist(), window.groups.tolist(), strict=True))
    assert of[1] == of[2] != of[3]
    assert window.notes == ()


def test_what_one_side_saw_twice_or_both_at_other_times_are_two_requests(
    tmp_path: Path, replica: Make, records: Make
) -> None:
    replica().write(records(["a", "a", "b"], {"input.x": [1, 2, 3]}, at=[BEGAN, BEGAN + 1, BEGAN]))
    replica(CANDIDATE).write(records(["b"], {"input.x": [4]}, at=BEGAN + 61, digest=CANDIDATE))
    assert sorted(values(live(tmp_path, 10))) == [1, 2, 3, 4]


def test_a_gateway_that_sends_one_id_hides_no_request(tmp_path: Path, replica: Make, records: Make) -> None:
    """Rows of one request are still together: they were answered at once."""
    at = [BEGAN + i // 2 for i in range(400)]
    replica().write(records(["gateway"] * 400 + ids(0, 100), {"input.x": [1] * 500}, at=[*at, *[BEGAN] * 100]))
    replica(CANDIDATE).write(records(["gateway"] * 50, {"input.x": [1] * 50}, at=BEGAN + 300, digest=CANDIDATE))
    window = live(tmp_path, 1000)
    assert window.rows == 550
    assert window.groups is not None
    assert len(set(window.groups.tolist())) == 200 + 100 + 1
    assert window.notes == ("1.0 % of the request ids repeat, in 82 % of the rows: each row counts",)


def test_a_client_that_repeats_its_ids_is_one_group_for_each(tmp_path: Path, replica: Make, records: Make) -> None:
    names = [f"session {i % 100}" for i in range(500)]
    replica().write(records(names, {"input.x": [1] * 500}, at=[BEGAN + i for i in range(500)]))
    groups = live(tmp_path, 1000).groups
    assert groups is not None
    assert len(set(groups.tolist())) == 100


def test_requests_without_an_id_are_each_one(tmp_path: Path, replica: Make, records: Make) -> None:
    replica().write(records([None, None, ""], {"input.x": [1, 2, 3]}))
    window = live(tmp_path, 10)
    assert sorted(values(window)) == [1, 2, 3]
    assert window.groups is not None
    assert len(set(window.groups.tolist())) == 3


def test_rows_are_together_by_user_where_enough_are_known(tmp_path: Path, replica: Make, records: Make) -> None:
    def groups(users: Sequence[str | None], names: Sequence[str | None] = ()) -> int:
        folder = tmp_path / f"{len(users)}-{len(set(users))}-{len(set(names))}"
        folder.mkdir(parents=True)
        writer = type(replica())(folder, CANDIDATE, "r")
        row = list(range(len(users)))
        writer.write(records(names or ids(0, len(users)), {"input.x": [1] * len(users)}, unit=users, row=row))
        writer.sink.close()
        found = live(folder, 1000).groups
        assert found is not None
        return len(set(found.tolist()))

    assert groups([f"u{i % 40}" for i in range(200)]) == 40
    assert groups([f"u{i % 3}" for i in range(200)]) == 200
    users = [f"u{i % 40}" for i in range(200)]
    assert groups([*users, *[None] * 10]) == 50
    assert groups([*users, *[None] * 10], [*ids(0, 200), *["batch"] * 10]) == 41
    assert groups([*users, *[None] * 10], [*ids(0, 200), *["batch"] * 8, None, ""]) == 43


def test_files_behind_the_window_are_not_read(tmp_path: Path, replica: Make, records: Make) -> None:
    """They could not be: they are broken."""
    old = replica().write(records(ids(0, 5), {"input.x": [0] * 5})).rotate()
    old.rotated.write_bytes(b"broken")
    finished(old, BEGAN)
    new = replica().write(records(ids(10, 5), {"input.x": [1] * 5}, at=[BEGAN + 10 + i for i in range(5)]))
    finished(new, BEGAN + 20)
    assert live(tmp_path, 5).problems == ()
    window = live(tmp_path, 6)
    assert len(values(window)) == 5
    (problem,) = window.problems
    assert str(old.rotated) in problem


def test_a_file_that_overlaps_the_window_is_read(tmp_path: Path, replica: Make, records: Make) -> None:
    slow = replica().write(records(["a", "b"], {"input.x": [1, 2]}, at=[BEGAN, BEGAN + 12])).rotate()
    finished(slow, BEGAN + 13)
    fast = replica().write(records(ids(10, 3), {"input.x": [3, 4, 5]}, at=[BEGAN + 10, BEGAN + 11, BEGAN + 14]))
    finished(fast, BEGAN + 20)
    assert values(live(tmp_path, 3)) == [5, 2, 4]


def test_nothing_captured_is_an_empty_window(tmp_path: Path, replica: Make, records: Make) -> None:
    assert (live(tmp_path / "nowhere", 5).rows, live(tmp_path, 5).rows) == (0, 0)
    replica().write(records(ids(0, 2), {"input.x": [1, 2]}, kind="shadow"))
    assert live(tmp_path, 5).rows == 0


def test_tensors_and_columns_that_some_files_lack(tmp_path: Path, replica: Make, records: Make) -> None:
    replica().write(records(["a"], {"input.x": np.ones((1, 3)), "input.z": [1]}, at=BEGAN + 1)).rotate()
    replica().write(records(["b"], {"input.x": np.zeros((1, 3))}))
    window = live(tmp_path, 5)
    assert values(window) == [[1, 1, 1], [0, 0, 0]]
    assert window.inputs["z"].to_pylist() == [1, None]


def test_a_type_that_changed_is_no_error(tmp_path: Path, replica: Make, records: Make) -> None:
    replica().write(records(["a"], {"input.x": [1]}, at=BEGAN + 1)).rotate()
    replica().write(records(["b"], {"input.x": ["hash"]}))
    assert values(live(tmp_path, 5)) == ["1", "hash"]


@pytest.fixture
def large(replica: Make, records: Make, monkeypatch: Any) -> list[str]:
    """Ten files of ten rows of 8,000 bytes each, in a folder of which a window holds 25; what is read of which."""
    monkeypatch.setattr(module, "_LARGEST", 200_000)
    rng, seen = np.random.default_rng(0), list[str]()
    for i in range(10):
        at = [BEGAN + 100 * i + j for j in range(10)]
        file = replica().write(records(ids(10 * i, 10), {"input.x": rng.normal(size=(10, 1000))}, at=at)).rotate()
        finished(file, BEGAN + 100 * i + 20)
    for name in ("about", "values"):
        plain = getattr(captured, name)

        def spied(path: Path, *given: Any, _plain: Any = plain, _name: str = name, **how: Any) -> Any:
            seen.append(_name)
            return _plain(path, *given, **how)

        monkeypatch.setattr(captured, name, spied)
    return seen


def test_a_window_is_bounded_in_bytes(tmp_path: Path, large: list[str]) -> None:
    window = live(tmp_path, 1000)
    assert window.inputs["x"].nbytes <= 201_000
    assert window.rows == 24
    assert (window.since, window.until) == (BEGAN + 706, BEGAN + 909)
    assert large.count("about") <= 6
    assert large.count("values") == 3


def test_values_are_read_of_the_chosen_rows_alone(tmp_path: Path, large: list[str]) -> None:
    assert live(tmp_path, 12).rows == 12
    assert (large.count("about"), large.count("values")) == (2, 2)


@pytest.mark.parametrize("rotated", [True, False])
def test_damaged_text_is_a_problem_of_its_file_and_older_rows_take_its_place(
    tmp_path: Path, replica: Make, records: Make, *, rotated: bool
) -> None:
    old = replica().write(records(ids(0, 5), {"input.x": [f"old {i}" for i in range(5)]}))
    finished(old, BEGAN + 1)
    new = replica().write(records(ids(9, 5), {"input.x": [f"word {i}" for i in range(5)]}, at=BEGAN + 10))
    path = new.growing
    if rotated:
        path = new.rotated
        parquet.write_table(pa.Table.from_batches(new.batches), path, compression="none", use_dictionary=False)
        new.growing.unlink()
    path.write_bytes(path.read_bytes().replace(b"word 3", b"wor\xff 3"))
    finished(new, BEGAN + 20)
    window = live(tmp_path, 5)
    assert sorted(values(window)) == [f"old {i}" for i in range(5)]
    (problem,) = window.problems
    assert problem.startswith(f"{path} cannot be read: ")
    assert column(window.inputs["x"]).form == "label"


@pytest.mark.parametrize("rotated", [True, False])
def test_no_damage_is_an_error(tmp_path: Path, replica: Make, records: Make, *, rotated: bool) -> None:
    columns = {"input.x": [f"word {i}" for i in range(50)], "input.y": np.arange(150.0).reshape(50, 3)}
    file = replica().write(records(ids(0, 50), columns, unit=[f"u{i}" for i in range(50)]))
    path = file.rotate().rotated if rotated else file.growing
    whole, random = path.read_bytes(), np.random.default_rng(0)
    for _ in range(80):
        damaged = np.frombuffer(whole, np.uint8).copy()
        damaged[random.integers(0, len(damaged), random.choice([1, 5, 50]))] = random.integers(0, 256)
        path.write_bytes(damaged.tobytes())
        window = live(tmp_path, 50)
        assert window.rows or window.problems or not rotated
        for values in window.inputs.values():
            column(values)


def test_a_file_that_goes_while_it_is_read_is_no_problem(
    tmp_path: Path, replica: Make, records: Make, monkeypatch: Any
) -> None:
    old = replica().write(records(ids(0, 5), {"input.x": [0] * 5})).rotate()
    finished(old, BEGAN + 1)
    new = replica().write(records(ids(10, 5), {"input.x": [1] * 5}, at=BEGAN + 10)).rotate()
    plain = captured.values

    def gone(*given: Any, **how: Any) -> Any:
        new.rotated.unlink(missing_ok=True)
        return plain(*given, **how)

    monkeypatch.setattr(captured, "values", gone)
    window = live(tmp_path, 5)
    assert (values(window), window.problems) == ([0] * 5, ())


def test_any_table_is_a_window() -> None:
    window = of_table(pa.table({"x": [1, 2], "y": ["a", "b"]}))
    assert (window.rows, list(window.inputs), window.groups) == (2, ["x", "y"], None)
