"""Files of captured traffic, whatever happens to their writer."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from lockgate.services.serving.capture_files import Stream, leftovers, retain

SCHEMA = pa.schema([pa.field("n", pa.int64()), pa.field("word", pa.dictionary(pa.int32(), pa.string()))])


def batch(*values: int, word: str = "stable") -> Any:
    words = pa.DictionaryArray.from_arrays(pa.array([0] * len(values), pa.int32()), pa.array([word]))
    return pa.record_batch([pa.array(values, pa.int64()), words], schema=SCHEMA)


def stream(folder: Path, replica: str = "r1") -> Stream:
    return Stream(folder, replica, SCHEMA, 0.0)


def killed(folder: Path, *values: int, replica: str = "r1") -> Path:
    """A stream whose writer is gone: the lock went with it."""
    left = stream(folder, replica)
    left.write([batch(*values)])
    os.close(left._lock)
    return left.path


def read(folder: Path) -> list[int]:
    return [n for path in sorted(folder.glob("*.parquet")) for n in parquet.read_table(path).column("n").to_pylist()]


def suffixes(folder: Path) -> list[str]:
    return sorted("".join(path.suffixes) for path in folder.iterdir())


def test_a_stream_is_readable_while_it_grows_and_parquet_when_it_is_done(tmp_path: Path) -> None:
    one = stream(tmp_path / "d")
    for i in range(3):
        assert one.write([batch(i, word="stable" if i else "candidate")]) > 0
        with pa.OSFile(str(one.path)) as file, pa.ipc.open_stream(file) as found:
            assert found.read_all().column("n").to_pylist() == list(range(i + 1))
    one.finish()
    assert suffixes(tmp_path / "d") == [".parquet"]
    (path,) = (tmp_path / "d").iterdir()
    assert parquet.read_table(path).column("word").to_pylist() == ["candidate", "stable", "stable"]
    assert parquet.ParquetFile(path).metadata.row_group(0).column(0).compression == "ZSTD"


def test_nobody_else_may_read_them(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "d"
    one = stream(folder)
    one.write([batch(1)])
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (folder.parent, folder, one.path)]
    one.finish()
    modes += [stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()]
    assert modes == [0o700, 0o700, 0o600, 0o600]


def test_two_streams_in_one_millisecond(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time_ns", lambda: 10**18)
    for i in range(3):
        one = stream(tmp_path)
        one.write([batch(i)])
        one.finish()
    assert sorted(read(tmp_path)) == [0, 1, 2]


def test_a_killed_writers_torn_stream_keeps_its_complete_batches(tmp_path: Path) -> None:
    left = stream(tmp_path)
    left.write([batch(1, 2)])
    whole = left.size
    left.write([batch(3, 4)])
    os.close(left._lock)
    os.truncate(left.path, left.size - 9)
    assert left.size - 9 > whole
    leftovers(tmp_path)
    assert read(tmp_path) == [1, 2]
    assert suffixes(tmp_path) == [".parquet"]


@pytest.mark.parametrize("content", [b"", b"\xff\xff\xff\xff", b"nonsense" * 100])
def test_a_stream_with_nothing_in_it_goes_away(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "r1-5.arrows").write_bytes(content)
    leftovers(tmp_path)
    assert suffixes(tmp_path) == []


def test_a_stream_that_is_written_is_left_alone(tmp_path: Path) -> None:
    killed(tmp_path, 1)
    living = stream(tmp_path, "r2")
    living.write([batch(2)])
    leftovers(tmp_path)
    assert suffixes(tmp_path) == [".arrows", ".parquet"]
    living.write([batch(3)])
    living.finish()
    assert sorted(read(tmp_path)) == [1, 2, 3]


def test_killed_between_parquet_and_the_streams_end(tmp_path: Path) -> None:
    left = killed(tmp_path, 1, 2)
    left.with_suffix(".parquet").write_bytes(b"from before")
    leftovers(tmp_path)
    assert read(tmp_path) == [1, 2]
    assert suffixes(tmp_path) == [".parquet"]


def test_a_stream_that_cannot_become_parquet_stays(tmp_path: Path) -> None:
    left = killed(tmp_path, 1)
    blocked = left.with_suffix(".parquet")
    blocked.mkdir()
    with pytest.raises(OSError, match="parquet"):
        leftovers(tmp_path)
    assert suffixes(tmp_path) == [".arrows", ".parquet"]  # and no half-made file
    blocked.rmdir()
    leftovers(tmp_path)
    assert read(tmp_path) == [1]


def test_a_stream_whose_folder_is_deleted_knows(tmp_path: Path) -> None:
    one = stream(tmp_path)
    assert one.there
    one.path.unlink()
    assert not one.there
    one.finish()
    assert suffixes(tmp_path) == []


def aged(path: Path, age: float, size: int = 10) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"x" * size)
    os.utime(path, (1000 - age, 1000 - age))
    return path


def test_what_is_older_than_keep_goes_also_of_artifacts_that_nobody_serves(tmp_path: Path) -> None:
    new, old = aged(tmp_path / "one" / "b.parquet", 50), aged(tmp_path / "one" / "a.parquet", 70)
    gone = aged(tmp_path / "two" / "a.arrows", 70)
    settings = aged(tmp_path / "capture.json", 500)
    os.utime(gone.parent, (900, 900))
    retain(tmp_path, 60, 10**6, 1000)
    assert [p.exists() for p in (new, old, gone, settings)] == [True, False, False, True]
    retain(tmp_path, 60, 10**6, 10**10)
    assert not gone.parent.exists()
    assert settings.exists()


def test_the_oldest_go_beyond_the_size_of_each_artifact(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        for i in range(5):
            aged(tmp_path / folder / f"{i}.parquet", 10 - i, size=100)
    retain(tmp_path, 60, 350, 1000)
    assert sorted(p.name for p in (tmp_path / "one").iterdir()) == ["2.parquet", "3.parquet", "4.parquet"]
    assert len(list((tmp_path / "two").iterdir())) == 3


def test_a_stream_that_is_written_is_never_deleted(tmp_path: Path) -> None:
    living = stream(tmp_path / "d")
    living.write([batch(1)])
    os.utime(living.path, (0, 0))
    retain(tmp_path, 60, 1, 1000)
    assert living.there
    living.finish()
    assert read(tmp_path / "d") == [1]


def test_one_that_cannot_become_parquet_keeps_no_other_waiting(tmp_path: Path) -> None:
    bad, good = sorted([killed(tmp_path, 1), killed(tmp_path, 2, replica="r2")])
    blocked = bad.with_suffix(".parquet")
    blocked.mkdir()
    with pytest.raises(OSError, match=r"r1-.*parquet"):
        leftovers(tmp_path)
    assert bad.exists()
    assert not good.exists()
    blocked.rmdir()
    assert read(tmp_path) == [2]


def test_one_that_cannot_be_deleted_keeps_no_other(tmp_path: Path) -> None:
    (tmp_path / "one" / "0.parquet").mkdir(parents=True)  # nobody can open it as a file
    os.utime(tmp_path / "one" / "0.parquet", (0, 0))
    old = [aged(tmp_path / name / f"{i}.parquet", 70) for name in ("one", "two") for i in (1, 2)]
    with pytest.raises(IsADirectoryError):
        retain(tmp_path, 60, 10**6, 1000)
    assert [path for path in old if path.exists()] == []
