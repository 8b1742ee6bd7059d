"""The writer's ticks: what it writes, when it rotates, and disks that fail."""

from __future__ import annotations

import shutil
from typing import Any

import numpy as np
import pytest

from lockgate.services.serving.capture_files import Stream


def ids(root: Any) -> list[str]:
    return [row["request_id"] for row in root.rows()]


def test_every_tick_is_on_the_disk_and_readable(bench: Any, make: Any) -> None:
    bench.tick(make.record("a"))
    assert ids(bench.root) == ["a"]
    bench.tick(make.record("b"), make.record("c", status=500))
    assert sorted(ids(bench.root)) == ["a", "b", "c"]
    assert bench.root.names() == ["r1.arrows"]
    assert bench.counts.seen["rows"] == 3
    assert bench.counts.seen["bytes"] > 500


def test_the_end_makes_parquet_of_all_of_it(bench: Any, make: Any) -> None:
    bench.tick(make.record("a"))
    bench.queue.put(make.record("b"))
    bench.stop()
    assert bench.root.names() == ["r1.parquet"]
    assert ids(bench.root) == ["a", "b"]


def test_rotated_after_ten_minutes_also_when_nothing_comes(bench: Any, make: Any) -> None:
    bench.tick(make.record("a"))
    bench.tick(after=598)
    assert bench.root.names() == ["r1.arrows"]
    bench.tick(after=2)
    assert bench.root.names() == ["r1.parquet"]
    bench.tick(make.record("b"))
    assert bench.root.names() == ["r1.arrows", "r1.parquet"]


def test_rotated_at_16_mib(bench: Any, make: Any) -> None:
    wide = {"score": np.zeros((1, 8000))}
    bench.tick(*(make.record(str(i), outputs=wide) for i in range(200)))
    assert bench.root.names() == ["r1.arrows"]
    bench.tick(*(make.record(str(i), outputs=wide) for i in range(80)))
    assert bench.root.names() == ["r1.parquet"]


def test_smaller_files_where_less_is_kept(bench: Any, make: Any) -> None:
    bench.root.settings(max_size=300_000, keep=30)
    bench.tick(*(make.record(str(i), outputs={"score": np.zeros((1, 1000))}) for i in range(20)))
    assert bench.root.names() == ["r1.parquet"]
    bench.tick(make.record("late"))
    bench.tick(after=30)
    assert bench.root.names() == ["r1.parquet"] * 2


def test_rotated_when_the_schema_changes(bench: Any, make: Any) -> None:
    bench.tick(make.record("a"))
    bench.tick(make.record("b", outputs={"score": np.array(["high"], object)}))
    assert bench.root.names() == ["r1.arrows", "r1.parquet"]
    assert sorted(ids(bench.root)) == ["a", "b"]


def test_redaction_begins_without_a_restart(bench: Any, make: Any) -> None:
    bench.tick(make.record("a"))
    bench.root.settings(redact={"x": "drop"})
    bench.tick(make.record("b"))
    before, after = bench.root.rows() if bench.root.rows()[0]["request_id"] == "a" else bench.root.rows()[::-1]
    assert before["input.x"] == [1.0, 2.0]
    assert "input.x" not in after
    assert bench.applied[-1].redact == {"x": "drop"}


def test_hashed_and_plain_values_of_one_type_never_share_a_file(make: Any, root: Any) -> None:
    from lockgate.services.serving.schema import Schema

    bench = make.Bench(root, Schema.of([{"type": "string", "name": "x"}]))
    bench.tick(make.record("a", inputs={"x": np.array(["ann"], object)}))
    root.settings(redact={"x": "hash"})
    bench.tick(make.record("b", inputs={"x": np.array(["ann"], object)}))
    assert root.names() == ["r1.arrows", "r1.parquet"]


def test_off_and_on_again(bench: Any, make: Any) -> None:
    bench.tick(make.record("a"))
    bench.root.settings(sample=0)
    bench.tick(make.record("b"))  # answered before
    assert (bench.root.names(), ids(bench.root)) == (["r1.parquet"], ["a", "b"])
    assert bench.applied[-1].sample == 0
    bench.root.settings()
    bench.tick(make.record("c"))
    (bench.root.path / "capture.json").unlink()
    bench.tick(make.record("d"))
    assert bench.applied[-1] is None
    assert sorted(ids(bench.root)) == ["a", "b", "c"]


def test_a_killed_replicas_stream_becomes_parquet(make: Any, root: Any, schema: Any) -> None:
    import os

    killed = make.Bench(root, schema, "dead")
    killed.tick(make.record("a"))
    os.close(killed.writer._stream._lock)
    make.Bench(root, schema, "r2").tick(make.record("b"))
    assert root.names() == ["dead.parquet", "r2.arrows"]
    assert sorted(ids(root)) == ["a", "b"]


def test_old_files_are_deleted(bench: Any, make: Any) -> None:
    import os

    old = bench.root.folder / "r0-1.parquet"
    bench.root.folder.mkdir()
    old.write_bytes(b"x")
    os.utime(old, (1, 1))
    bench.tick(make.record("a"))
    assert not old.exists()


def test_a_disk_that_fails_costs_what_it_cannot_take_and_nothing_more(
    bench: Any, make: Any, caplog: pytest.LogCaptureFixture
) -> None:
    bench.root.folder.write_text("in the way")
    for i in range(3):
        bench.tick(make.record(f"lost-{i}"), make.record(f"gone-{i}"))
    assert (bench.counts.seen["dropped"], bench.counts.seen["rows"]) == (6, 0)
    assert bench.counts.seen["failed"] >= 3
    assert caplog.text.count("is not kept") == 1
    bench.root.folder.unlink()
    bench.tick(make.record("kept"))
    assert ids(bench.root) == ["kept"]
    assert "capture works again" in caplog.text


def test_a_disk_that_fills_up_in_the_middle(bench: Any, make: Any) -> None:
    """A limit on the size of files is what a full disk is to a process: the write comes back short."""
    import resource

    wide = {"score": np.zeros((1, 500))}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    bench.tick(make.record("before", outputs=wide))
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, hard))
    try:
        bench.tick(*(make.record(f"full-{i}", outputs=wide) for i in range(9)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert bench.counts.seen["dropped"] == 9
    assert ids(bench.root) == ["before"]  # without a torn end
    bench.tick(make.record("after", outputs=wide), after=61)
    assert sorted(ids(bench.root)) == ["after", "before"]
    assert bench.root.names() == ["r1.arrows", "r1.parquet"]  # what was written before the disk was full is Parquet


def test_a_folder_that_is_deleted_under_the_writer(bench: Any, make: Any) -> None:
    bench.tick(make.record("a"))
    shutil.rmtree(bench.root.folder)
    bench.tick(make.record("b"))
    assert ids(bench.root) == ["b"]
    assert bench.counts.seen["dropped"] == 0


def test_one_odd_value_costs_its_own_request_only(bench: Any, make: Any, caplog: pytest.LogCaptureFixture) -> None:
    odd = make.record("odd", outputs={"score": np.array([1 + 2j])})
    for _ in range(2):
        bench.tick(*(make.record(f"ok-{i}") for i in range(5)), odd, make.record("ok-5"))
    assert sorted(ids(bench.root)) == sorted([f"ok-{i}" for i in range(6)] * 2)
    assert bench.counts.seen["dropped"] == 2
    assert caplog.text.count("no column can hold") == 1


def test_a_value_never_gets_into_the_log(
    make: Any, root: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sentences of libraries name the value that they could not convert."""
    from lockgate.services.serving.schema import Schema

    bench = make.Bench(root, Schema.of([{"type": "long", "name": "x"}]))
    bench.tick(make.record(inputs={"x": np.array(["planted-secret"], object)}))
    assert bench.counts.seen["dropped"] == 1

    def refuses(_self: Stream, _batches: list[Any]) -> int:
        raise ValueError("planted-secret is no number")

    monkeypatch.setattr(Stream, "write", refuses)
    bench.tick(make.record(inputs={"x": np.array([1])}))
    assert bench.counts.seen["dropped"] == 2
    assert len(caplog.messages) == 2
    assert "planted" not in caplog.text
