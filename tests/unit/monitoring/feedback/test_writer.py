"""The writing thread: what it takes together, and what it says."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from lockgate.monitoring.feedback import said as sayings
from lockgate.monitoring.feedback import writer as writers
from lockgate.monitoring.feedback.errors import Unavailable
from lockgate.monitoring.feedback.said import Said
from lockgate.monitoring.feedback.store import Row, Store
from lockgate.monitoring.feedback.writer import Full, Writer

ROW = Row("conversion", 1.0, 100.0, unit="ab")


class Counted(Store):
    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.commits: list[int] = []

    def add_groups(self, groups: object, received: float) -> list[int]:
        self.commits.append(len(groups))  # type: ignore[arg-type]
        return super().add_groups(groups, received)  # type: ignore[arg-type]


def test_what_waits_is_committed_together(tmp_path: Path) -> None:
    store = Counted(tmp_path / "f.db")
    writer = Writer(store, lambda: None)
    keyed = Row("conversion", 1.0, 100.0, unit="ab", key="k")
    waiting = [writer.put([keyed, ROW]), writer.put([keyed]), writer.put([ROW, ROW])]
    with writer:
        assert [written.result(30) for written in waiting] == [2, 0, 2]
    assert store.commits == [3]


def test_a_commit_has_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writers, "_MOST_TOGETHER", 4)
    store = Counted(tmp_path / "f.db")
    writer = Writer(store, lambda: None)
    waiting = [writer.put([ROW, ROW]) for _ in range(5)]
    with writer:
        assert [written.result(30) for written in waiting] == [2] * 5
    assert store.commits == [2, 2, 1]


def test_what_waits_is_written_at_the_end(tmp_path: Path) -> None:
    store = Store(tmp_path / "f.db")
    writer = Writer(store, lambda: None)
    waiting = [writer.put([ROW]) for _ in range(100)]
    with writer:
        pass
    assert [written.result(0) for written in waiting] == [1] * 100
    assert len(store.after(0)) == 100


def test_too_many_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writers, "_MOST_WAITING", 2)
    writer = Writer(Store(tmp_path / "f.db"), lambda: None)
    first = [writer.put([ROW]), writer.put([ROW])]
    with pytest.raises(Unavailable, match="too much feedback waits"):
        writer.put([ROW])
    with writer:
        assert [written.result(30) for written in first] == [1, 1]
        assert writer.put([ROW]).result(30) == 1


def test_a_request_that_has_gone(tmp_path: Path) -> None:
    writer = Writer(Store(tmp_path / "f.db"), lambda: None)
    gone, there = writer.put([ROW]), writer.put([ROW])
    gone.cancel()
    with writer:
        assert there.result(30) == 1


def test_a_bug_ends_no_thread_and_repeats_no_row(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with Writer(Store(tmp_path / "f.db"), lambda: None) as writer:
        for _ in range(2):
            with pytest.raises(Unavailable, match=r"\(UnicodeEncodeError\); please report it"):
                writer.put([Row("secret\ud800", 1.0, 1.0)]).result(30)
        assert writer.put([ROW]).result(30) == 1
    assert [record.message.split(" (")[0] for record in caplog.records] == [
        "feedback cannot be written",
        "feedback is written again",
    ]
    assert "secret" not in caplog.text


def test_what_is_old_goes_with_the_first_look(tmp_path: Path) -> None:
    store = Store(tmp_path / "f.db")
    store.add([ROW], time.time() - 101)
    store.add([ROW], time.time() - 50)
    with Writer(store, lambda: 100.0) as writer:
        writer._thread.join(0)
        assert writer.put([ROW]).result(30) == 1
        while len(store_after := Store(tmp_path / "f.db").after(0)) != 2:
            pass
    assert [found.sequence for found in store_after] == [2, 3]


def emptied(writer: Writer) -> bool:
    """Before the next look at what is old would come without a hurry."""
    deadline = time.monotonic() + 30
    while writer.size >= 100_000 and time.monotonic() < deadline:
        time.sleep(0.001)
    return writer.size < 100_000


def test_a_full_database_takes_rows_again_when_old_ones_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(writers, "_PRUNE_FULL", 0.01)
    keep = [1000.0]
    with Writer(Store(tmp_path / "f.db"), lambda: keep[0], lambda: 100_000) as writer:
        assert writer.put([ROW] * 5000).result(30) == 5000
        with pytest.raises(Full, match=r"has the 100000 bytes .* raise monitoring\.capture\.max_size"):
            writer.put([ROW]).result(30)
        keep[0] = -1.0
        assert emptied(writer)
        keep[0] = 1000.0
        assert writer.put([ROW]).result(30) == 1
    assert len(Store(tmp_path / "f.db").after(0)) < 5000
    assert [message.split(":")[0] for message in caplog.messages] == [
        "no more feedback is taken",
        "feedback is written again",
    ]


def test_one_that_is_full_from_the_start_is_looked_at_again_soon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody writes: whoever asks is refused before."""
    monkeypatch.setattr(writers, "_PRUNE_FULL", 0.01)
    store, keep = Store(tmp_path / "f.db"), [1000.0]
    store.add([ROW] * 5000, time.time() - 100)
    with Writer(store, lambda: keep[0], lambda: 100_000) as writer:
        while writer.size < 100_000:
            time.sleep(0.001)
        keep[0] = 50.0
        assert emptied(writer)


def test_trouble_is_said_once_in_a_while(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    now = [0.0]
    monkeypatch.setattr(sayings, "monotonic", lambda: now[0])
    said = Said()
    said.well("well")
    for at in (0.0, 1.0, 599.0):
        now[0] = at
        said.trouble("a")
        said.well("well")
    said.trouble("b")
    now[0] = 600.0
    said.trouble("a")
    assert caplog.messages == ["a", "well", "b", "a"]
