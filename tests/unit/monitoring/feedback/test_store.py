"""`feedback.db`: what is kept, and what is said when it cannot be."""

from __future__ import annotations

import sqlite3
import stat
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from lockgate.monitoring.feedback import store as stores
from lockgate.monitoring.feedback.errors import Unavailable
from lockgate.monitoring.feedback.store import Reader, Row, Store, Stored

ROW = Row("conversion", 1.0, 100.0, unit="ab")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "feedback.db"


def test_what_was_told_comes_back_in_its_order(path: Path) -> None:
    rows = [ROW, Row("revenue", 12.5, 90.0, request_id="r1", key="k")]
    with Store(path) as store:
        assert store.add(rows, 101.0) == 2
        assert Reader(path).after(0) == [Stored(1, rows[0], 101.0), Stored(2, rows[1], 101.0)]
        assert Reader(path).after(1) == store.after(1) == [Stored(2, rows[1], 101.0)]
        assert Reader(path).after(0, limit=1) == [Stored(1, rows[0], 101.0)]
        assert Reader(path).last() == 2
    assert Reader(path).last() == 2  # also when nobody has it open


def test_a_known_key_is_left_out(path: Path) -> None:
    keyed = Row("conversion", 1.0, 100.0, unit="ab", key="k")
    with Store(path) as store:
        assert store.add([keyed, keyed, ROW, ROW], 101.0) == 3
        assert store.add_groups([[keyed], [ROW], [], [keyed, ROW]], 102.0) == [0, 1, 0, 1]
        assert len(store.after(0)) == 5


def test_all_or_nothing(path: Path) -> None:
    with Store(path) as store:
        with pytest.raises(Unavailable):
            store.add([ROW, Row(None, 1.0, 1.0)], 101.0)  # type: ignore[arg-type]
        assert store.after(0) == []
        assert store.add([ROW], 101.0) == 1


def test_very_many_rows_let_others_write_in_between(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "_BATCH", 2)
    turns: list[float] = []
    with Store(path) as store:

        def another(seconds: float) -> None:
            turns.append(seconds)
            with Store(path) as other:
                other.add([ROW], 102.0)

        monkeypatch.setattr(stores.time, "sleep", another)
        assert store.add([ROW] * 5, 101.0) == 5
        assert [found.received for found in store.after(0, 99)] == [101.0, 101.0, 102.0, 101.0, 101.0, 102.0, 101.0]
    assert min(turns) > 0.1  # as long as SQLite sleeps while it waits


def test_its_size_is_what_is_in_use(path: Path) -> None:
    with Store(path) as store:
        assert store.size() == 0
        assert not path.exists()
        store.add([ROW] * 10_000, 1.0)
        full = store.size()
        assert full > 10_000 * 20
        store.prune(2.0)
        assert store.size() < full / 10
        assert path.stat().st_size >= 4096
        with Store(path) as again:
            assert again.size() == store.size()


def test_no_file_is_no_rows_and_makes_none(path: Path) -> None:
    for reader in (Reader(path), Store(path)):
        assert reader.after(0) == []
        assert reader.last() == 0
    assert not path.exists()
    path.touch()
    assert Reader(path).last() == 0


def test_only_the_owner_reads(path: Path) -> None:
    path.touch(mode=0o644)
    with Store(path) as store:
        store.add([ROW], 1.0)
        assert {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()} == {0o600}
        assert len(list(path.parent.iterdir())) == 3


def test_a_reader_writes_nothing(path: Path) -> None:
    with Store(path) as store, Reader(path)._reading() as database:
        assert database is None
        store.add([ROW], 1.0)
    with pytest.raises(Unavailable, match="must not be written"), Reader(path)._reading() as database:
        database.execute("DELETE FROM feedback")  # type: ignore[union-attr]


def test_pruning_takes_the_oldest_and_keeps_the_count(path: Path) -> None:
    with Store(path) as store:
        for received in (1.0, 2.0, 3.0):
            store.add([ROW, ROW], received)
        assert store.prune(3.0, limit=3) == 3
        assert store.prune(3.0, limit=3) == 1
        assert [row.received for row in store.after(0)] == [3.0, 3.0]
        assert store.prune(9.0) == 2
        assert store.last() == 6
        store.add([ROW], 10.0)
        assert [row.sequence for row in store.after(6)] == [7]


@pytest.mark.parametrize(("received", "last"), [(0.5, 2), (2.0, 2), (2.5, 4), (4.0, 6), (9.0, 8)])
def test_where_the_rows_of_a_time_begin(path: Path, received: float, last: int) -> None:
    with Store(path) as store:
        for at in (1.0, 2.0, 3.0, 4.0):
            store.add([ROW, ROW], at)
        store.prune(1.5)
        assert store.before(received) == last


def test_no_rows_begin_nowhere(path: Path) -> None:
    assert Reader(path).before(1.0) == 0
    with Store(path) as store:
        store.add([ROW], 1.0)
        store.prune(2.0)
        assert store.before(1.0) == 1


def test_a_file_in_its_place_is_written_to(path: Path) -> None:
    with Store(path) as store:
        store.add([ROW, ROW], 1.0)
        for file in path.parent.iterdir():
            file.unlink()
        store.add([ROW], 2.0)
        assert [row.received for row in Reader(path).after(0)] == [2.0]


def test_locked(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "_PATIENCE", 0.01)
    with Store(path) as store:
        store.add([ROW], 1.0)
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(Unavailable, match="locked by another process"), Store(path) as second:
                second.add([ROW], 2.0)
            assert len(Reader(path).after(0)) == 1  # readers do not wait
        assert store.add([ROW], 3.0) == 1


def _garbage(path: Path) -> None:
    path.write_bytes(b"no database at all" * 1000)


def _torn(path: Path) -> None:
    with Store(path) as store:
        store.add([ROW] * 2000, 1.0)
    whole = path.read_bytes()
    path.write_bytes(whole[:4096] + b"\xff" * (len(whole) - 4096))


@pytest.mark.parametrize("damage", [_garbage, _torn])
def test_damaged(path: Path, damage: Callable[[Path], None]) -> None:
    damage(path)
    with Store(path) as store:
        with pytest.raises(Unavailable, match="is damaged"):
            store.add([ROW], 2.0)
        with pytest.raises(Unavailable, match="is damaged"):
            Reader(path).after(0)
        path.rename(path.with_suffix(".bad"))
        assert store.add([ROW], 3.0) == 1


def test_no_folder(tmp_path: Path) -> None:
    with Store(tmp_path / "none" / "feedback.db") as store, pytest.raises(Unavailable, match="see the folder"):
        store.add([ROW], 1.0)


def test_full(path: Path) -> None:
    with Store(path) as store:
        store.add([ROW], 1.0)
        assert store._database is not None
        store._database.execute("PRAGMA max_page_count = 10")
        with pytest.raises(Unavailable, match="no more space"):
            store.add([ROW] * 10_000, 2.0)
        assert len(store.after(0)) == 1
        assert store.add([ROW], 3.0) == 1
