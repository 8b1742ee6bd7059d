"""Every row once, whatever happens to the files meanwhile."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from lockgate.monitoring.traffic.tail import Tail

STABLE, CANDIDATE = "5" * 64, "c" * 64
BEGAN = 1_700_000_000.0
Make = Callable[..., Any]


@pytest.fixture
def tail(tmp_path: Path) -> Tail:
    return Tail(tmp_path, {STABLE, CANDIDATE}, since=0.0)


def ids(batches: list[Any]) -> list[str]:
    return [name for batch in batches for name in batch.column("request_id").to_pylist()]


def drained(tail: Tail, limit: int = 20_000) -> list[str]:
    found: list[str] = []
    while came := ids(tail.came(limit)):
        found += came
    return found


def names(start: int, stop: int) -> list[str]:
    return [f"id{i}" for i in range(start, stop)]


@pytest.fixture
def batch(records: Make) -> Make:
    def made(start: int, stop: int, **given: Any) -> Any:
        return records(names(start, stop), {"output.score": np.arange(start, stop, dtype="f4")}, **given)

    return made


class TestGrowing:
    def test_each_batch_comes_once(self, tail: Tail, replica: Make, batch: Make) -> None:
        writer = replica().write(batch(0, 3))
        assert ids(tail.came()) == names(0, 3)
        assert tail.came() == []
        writer.write(batch(3, 5)).write(batch(5, 6))
        assert ids(tail.came()) == names(3, 6)

    def test_dictionaries_that_change_while_it_grows(self, tail: Tail, replica: Make, batch: Make) -> None:
        writer = replica().write(batch(0, 2))
        tail.came()
        writer.write(batch(2, 4, kind=["live", "echo"]))
        assert tail.came()[0].column("kind").to_pylist() == ["live", "echo"]

    @pytest.mark.parametrize("missing", [1, 60, 300, 900, 1500])
    def test_a_torn_tail_waits(self, tail: Tail, replica: Make, batch: Make, missing: int) -> None:
        writer = replica().write(batch(0, 3)).write(batch(3, 200))
        whole = writer.growing.read_bytes()
        writer.growing.write_bytes(whole[:-missing])
        assert ids(tail.came()) == names(0, 3)
        assert tail.problems == ()
        writer.growing.write_bytes(whole)
        assert ids(tail.came()) == names(3, 200)

    def test_not_even_a_schema_yet(self, tail: Tail, replica: Make, batch: Make) -> None:
        writer = replica().write(batch(0, 3))
        whole = writer.growing.read_bytes()
        for size in (0, 5, 100):
            writer.growing.write_bytes(whole[:size])
            assert tail.came() == []
        writer.growing.write_bytes(whole)
        assert ids(tail.came()) == names(0, 3)


class TestRotated:
    def test_every_row_once_across_a_rotation(self, tail: Tail, replica: Make, batch: Make) -> None:
        writer = replica().write(batch(0, 3))
        assert ids(tail.came()) == names(0, 3)
        writer.write(batch(3, 9)).rotate()
        assert ids(tail.came()) == names(3, 9)
        assert tail.came() == []

    def test_the_parquet_file_counts_where_both_are_there(self, tail: Tail, replica: Make, batch: Make) -> None:
        writer = replica().write(batch(0, 3))
        stream = writer.growing.read_bytes()
        writer.rotate()
        writer.growing.write_bytes(stream)
        assert drained(tail) == names(0, 3)

    def test_one_that_is_not_yet_renamed_does_not_count(self, tail: Tail, replica: Make, batch: Make) -> None:
        writer = replica().write(batch(0, 3)).rotate()
        writer.rotated.rename(writer.rotated.with_suffix(".parquet.new"))
        assert tail.came() == []

    def test_in_the_middle_of_a_row_group(self, tail: Tail, replica: Make, batch: Make) -> None:
        writer = replica().write(batch(0, 5))
        tail.came()
        writer.write(batch(5, 30))
        parquet.write_table(pa.Table.from_batches(writer.batches), writer.rotated, row_group_size=3)
        assert drained(tail) == names(5, 30)

    def test_rotated_between_two_calls_of_which_the_first_met_its_limit(
        self, tail: Tail, replica: Make, batch: Make
    ) -> None:
        writer = replica()
        for start in range(0, 50, 10):
            writer.write(batch(start, start + 10))
        assert ids(tail.came(limit=15)) == names(0, 20)
        writer.rotate()
        assert ids(tail.came(limit=10)) == names(20, 50)

    def test_a_leftover_without_its_torn_tail(self, tail: Tail, replica: Make, batch: Make) -> None:
        writer = replica().write(batch(0, 5)).write(batch(5, 90))
        writer.growing.write_bytes(writer.growing.read_bytes()[:-10])
        assert ids(tail.came()) == names(0, 5)
        writer.batches.pop()
        writer.rotate()
        assert tail.came() == []
        assert tail.problems == ()


class TestOthersGoOn:
    @pytest.mark.parametrize(
        "damage",
        [
            lambda whole: whole[:0],
            lambda whole: whole[:200],
            lambda whole: whole[: len(whole) // 2] + bytes(100) + whole[len(whole) // 2 + 100 :],
            lambda whole: b"PAR1" + bytes(len(whole)) + b"PAR1",
        ],
    )
    def test_a_corrupt_parquet_file(self, tail: Tail, replica: Make, batch: Make, damage: Any) -> None:
        bad = replica().write(batch(0, 2000)).rotate()
        whole = bad.rotated.read_bytes()
        bad.rotated.write_bytes(damage(whole))
        replica().write(batch(5000, 5003))
        assert ids(tail.came()) == names(5000, 5003)
        assert len(tail.problems) == 1
        assert bad.rotated.name in tail.problems[0]
        assert tail.came() == []
        bad.rotated.write_bytes(whole)  # it was only half copied
        assert drained(tail) == names(0, 2000)
        assert tail.problems == ()

    @pytest.mark.parametrize("byte", range(0, 1400, 61))
    def test_a_damaged_byte_of_a_stream(self, tail: Tail, replica: Make, batch: Make, byte: int) -> None:
        bad = replica().write(batch(0, 4)).write(batch(4, 8))
        whole = bytearray(bad.growing.read_bytes())
        whole[byte] ^= 0xFF
        bad.growing.write_bytes(whole)
        replica().write(batch(10, 12))
        found = drained(tail)
        assert set(names(10, 12)) <= set(found)
        assert len(found) <= 10

    def test_it_goes_on_behind_damaged_rows(self, tail: Tail, replica: Make, batch: Make) -> None:
        bad = replica().write(batch(0, 2)).write(batch(3, 5)).write(batch(6, 8))
        bad.growing.write_bytes(bad.growing.read_bytes().replace(b"id3", b"\xff\xff\xff"))
        assert ids(tail.came()) == names(0, 2)
        assert "2 rows are damaged" in tail.problems[0]
        os.utime(bad.growing, (BEGAN, BEGAN))  # it was written on
        assert ids(tail.came()) == names(6, 8)
        assert tail.problems

    def test_what_is_no_stream(self, tail: Tail, replica: Make, batch: Make) -> None:
        bad = replica().write(batch(0, 4))
        bad.growing.write_bytes(b"not an arrow stream, but long enough to be one")
        assert tail.came() == []
        assert "no Arrow stream" in tail.problem(STABLE)
        assert tail.problem(CANDIDATE) == ""

    def test_a_file_of_something_else(self, tail: Tail, replica: Make, batch: Make) -> None:
        other = replica()
        other.growing.unlink()
        parquet.write_table(pa.table({"request_id": [1], "at": ["now"]}), other.rotated)
        replica().write(batch(0, 2))
        assert ids(tail.came()) == names(0, 2)
        assert "no column row" in tail.problems[0]

    def test_columns_of_other_types(self, tail: Tail, replica: Make, batch: Make) -> None:
        other = replica()
        made = batch(0, 2)
        at = made.schema.get_field_index("at")
        parquet.write_table(pa.Table.from_batches([made.set_column(at, "at", pa.array(["a", "b"]))]), other.rotated)
        assert tail.came() == []
        assert "at is string" in tail.problems[0]

    def test_a_file_that_vanishes(self, tail: Tail, replica: Make, batch: Make) -> None:
        gone, stays = replica(start=BEGAN - 10), replica()
        for start in (0, 10):
            gone.write(batch(start, start + 10))
        stays.write(batch(100, 110))
        assert ids(tail.came(limit=5)) == names(0, 10)
        gone.growing.unlink()
        assert ids(tail.came()) == names(100, 110)
        assert tail.problems == ()

    def test_a_problem_goes_with_its_file(self, tail: Tail, replica: Make) -> None:
        bad = replica()
        bad.rotated.write_bytes(b"")
        tail.came()
        assert tail.problems
        bad.rotated.unlink()
        bad.growing.unlink()
        tail.came()
        assert tail.problems == ()

    def test_files_differ_in_their_columns(self, tail: Tail, replica: Make, records: Make) -> None:
        replica().write(records(["a"], {"output.score": np.zeros((1, 3)), "input.x": [1]}))
        replica().write(records(["b"], {"output.label": ["yes"]}))
        assert sorted(ids(tail.came())) == ["a", "b"]

    def test_no_folder(self, tmp_path: Path) -> None:
        tail = Tail(tmp_path / "later", {STABLE}, 0.0)
        assert tail.came() == []
        assert "does not exist" in tail.problem(STABLE)
        (tmp_path / "later").mkdir()
        assert tail.came() == []
        assert tail.problems == ()


class TestWhatComes:
    def test_only_what_was_answered_since_then(self, tmp_path: Path, replica: Make, batch: Make) -> None:
        tail = Tail(tmp_path, {STABLE}, since=BEGAN + 2)
        replica().write(batch(0, 4, at=[BEGAN + i for i in range(4)]))
        assert ids(tail.came()) == names(2, 4)

    def test_files_of_before_are_not_opened(self, tmp_path: Path, replica: Make) -> None:
        tail = Tail(tmp_path, {STABLE}, since=BEGAN)
        old = replica()
        old.rotated.write_bytes(b"it would be a problem")
        os.utime(old.rotated, (BEGAN - 100, BEGAN - 100))
        assert tail.came() == []
        assert tail.problems == ()

    def test_only_those_sides(self, tmp_path: Path, replica: Make, batch: Make) -> None:
        replica(STABLE).write(batch(0, 1))
        replica(CANDIDATE).write(batch(1, 2))
        assert drained(Tail(tmp_path, {CANDIDATE}, 0.0)) == names(1, 2)

    def test_both_sides_keep_step_when_there_is_more_than_one_call_takes(
        self, tail: Tail, replica: Make, batch: Make
    ) -> None:
        for digest in (STABLE, CANDIDATE):
            writer = replica(digest)
            for i in range(20):
                writer.write(batch(i * 10, i * 10 + 10, digest=digest, at=BEGAN + i))
        seconds: dict[str, set[float]] = {STABLE: set(), CANDIDATE: set()}
        while came := tail.came(limit=40):
            for of in came:
                seconds[of.column("digest")[0].as_py()].add(of.column("at")[0].as_py().timestamp())
            assert abs(max(seconds[STABLE], default=0) - max(seconds[CANDIDATE], default=0)) <= 1
        assert len(seconds[STABLE]) == len(seconds[CANDIDATE]) == 20

    def test_the_limit_is_kept(self, tail: Tail, replica: Make, batch: Make) -> None:
        replica().write(batch(0, 30_000)).rotate()
        assert len(ids(tail.came(limit=1000))) < 10_000


class TestColumns:
    @pytest.fixture
    def large(self, records: Make) -> Make:
        """A row has 64 KiB of text beside its score."""

        def made(start: int, stop: int, **given: Any) -> Any:
            n = stop - start
            columns = {"input.text": ["x" * 65536] * n, "output.score": np.arange(n), "output.score.more": np.arange(n)}
            return records(names(start, stop), columns, **given)

        return made

    @pytest.mark.parametrize("suffix", [".arrows", ".parquet"])
    def test_those_that_are_not_wanted_take_no_memory(
        self, tmp_path: Path, replica: Make, large: Make, suffix: str
    ) -> None:
        writer = replica().write(large(0, 100))
        if suffix == ".parquet":
            writer.rotate()
        tail = Tail(tmp_path, {STABLE}, 0.0, lambda name: name in {"request_id", "output.score"})
        before = pa.total_allocated_bytes()
        (batch,) = tail.came()
        assert set(batch.schema.names) == {"request_id", "at", "output.score"}
        assert batch.column("output.score").to_pylist() == list(range(100))
        buffers = [buffer for column in batch.columns for buffer in column.buffers() if buffer]
        assert sum(buffer.size for buffer in buffers) < 10_000
        assert all(buffer.parent is None or buffer.parent.size < 10_000 for buffer in buffers)
        del writer, buffers
        assert pa.total_allocated_bytes() - before < 2**20

    def test_they_are_left_out_across_a_rotation(self, tmp_path: Path, replica: Make, large: Make) -> None:
        tail = Tail(tmp_path, {STABLE}, 0.0, lambda name: name == "request_id")
        writer = replica().write(large(0, 3))
        assert ids(tail.came()) == names(0, 3)
        writer.write(large(3, 5)).rotate()
        (batch,) = tail.came()
        assert batch.schema.names == ["request_id", "at"]
        assert ids([batch]) == names(3, 5)

    def test_no_more_bytes_at_once_than_that(self, tail: Tail, replica: Make, large: Make) -> None:
        writer = replica()
        for start in range(0, 100, 10):
            writer.write(large(start, start + 10))
        came = tail.came(most=2**20)
        assert ids(came) == names(0, 20)
        assert drained(tail) == names(20, 100)
