"""Outcomes that a database keeps: SQLite here, and a PostgreSQL of our own where there is one."""

from __future__ import annotations

import socket
import sqlite3
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from lockgate.monitoring.feedback import sql
from lockgate.monitoring.feedback.errors import Unavailable
from lockgate.monitoring.feedback.names import unit
from lockgate.monitoring.feedback.sql import SqlSource
from lockgate.monitoring.feedback.store import Row

KEY, START = b"key", 1_700_000_000.0
QUERY = "SELECT paid AS value, paid_at AS at, customer AS user FROM sales WHERE paid_at >= :since AND paid_at < :until"


@pytest.fixture
def sales(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(tmp_path / "sales.db", isolation_level=None)) as database:
        database.execute("CREATE TABLE sales (paid, paid_at, customer, number)")
        yield database


@pytest.fixture
def source(tmp_path: Path) -> Iterator[Any]:
    made: list[SqlSource] = []

    def make(query: str = QUERY, **given: Any) -> SqlSource:
        fields: dict[str, Any] = {
            "every": 60.0,
            "late": 600.0,
            "metric": "revenue",
            "kind": "continuous",
            "start": START,
        } | given
        made.append(SqlSource(f"sqlite:///{tmp_path}/sales.db", query, key=KEY, **fields))
        return made[-1]

    yield make
    for one in made:
        one.close()


def sell(sales: sqlite3.Connection, *rows: tuple[Any, ...]) -> None:
    sales.executemany("INSERT INTO sales VALUES (?, ?, ?, ?)", [(*row, None)[:4] for row in rows])


def stored(asked: SqlSource, now: float) -> list[Row]:
    rows = asked.poll(now)
    asked.stored()
    return rows


def test_what_is_new_comes_and_what_is_late_comes_again(sales: sqlite3.Connection, source: Any) -> None:
    asked = source(late=60.0)
    sell(sales, (9.0, START - 1, "before"), (1.0, START, "u1"), (2.5, START + 59, "u2"), (3.0, START + 60, "u3"))
    first = stored(asked, START + 60)
    assert [(row.metric, row.value, row.at, row.unit, row.request_id) for row in first] == [
        ("revenue", 1.0, START, unit("u1", KEY), None),
        ("revenue", 2.5, START + 59, unit("u2", KEY), None),
    ]
    assert stored(asked, START + 119) == []  # before its time
    sell(sales, (4.0, START + 30, "late"))
    second = stored(asked, START + 120)
    assert {row.key for row in first} < {row.key for row in second}
    assert [row.value for row in second] == [1.0, 2.5, 3.0, 4.0]
    sell(sales, (5.0, START + 5, "too late"))
    assert [row.value for row in stored(asked, START + 180)] == [3.0]
    assert "u1" not in repr(second)


def test_another_process_gives_the_same_keys(sales: sqlite3.Connection, source: Any) -> None:
    sell(sales, (1.0, START, "u1"), (1.0, START, "u1"), (1.0, START, "u2"))
    keys = [row.key for row in source().poll(START + 60)]
    assert len(set(keys)) == 3  # also of equal rows
    assert [row.key for row in source().poll(START + 90)] == keys
    assert not {row.key for row in source(metric="other").poll(START + 60)} & set(keys)


def test_an_id_tells_a_row(sales: sqlite3.Connection, source: Any) -> None:
    query = QUERY.replace("SELECT", "SELECT number AS ID,")
    sell(sales, (1.0, START, "u1", 1), (1.0, START, "u1", 2), (1.0, START, "u1", 2))
    before = [row.key for row in source(query).poll(START + 60)]
    sales.execute("UPDATE sales SET paid = 2.0, customer = 'u2'")
    assert len(set(before)) == 2
    assert [row.key for row in source(query).poll(START + 60)] == before


def test_requests_and_users(sales: sqlite3.Connection, source: Any) -> None:
    query = "SELECT paid AS value, paid_at AS at, customer AS user, number AS request_id FROM sales WHERE :since > 0"
    sell(sales, (1, START, None, "r1"), (1, START, "u1", "r2"), (1, START, None, None), (None, START, "u1", "r3"))
    asked = source(query, kind="binary")
    assert [(row.unit, row.request_id) for row in asked.poll(START)] == [(None, "r1"), (unit("u1", KEY), None)]
    assert asked.left_out == 2


@pytest.mark.parametrize(
    "at",
    [START, int(START), "2023-11-14 22:13:20", "2023-11-14T22:13:20Z", "2023-11-15 00:13:20.000000+02:00"],
)
def test_times(sales: sqlite3.Connection, source: Any, at: object) -> None:
    sell(sales, (1.0, at, "u1"))
    query = "SELECT paid AS value, paid_at AS at, customer AS user FROM sales WHERE :since > 0"
    assert [row.at for row in source(query).poll(START + 60)] == [START]


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (("s3cret", START, "u"), "`value` is of the type str in a row; cast it"),
        ((float("inf"), START, "u"), "`value` is no finite number"),
        ((1.0, None, "u"), "`at` is null in a row"),
        ((1.0, "s3cret", "u"), "`at` is no time in a row"),
        ((1.0, START * 1000, "u"), "`at` is in the future in a row; it must be in seconds"),
    ],
)
def test_rows_that_cannot_be(sales: sqlite3.Connection, source: Any, row: tuple[Any, ...], says: str) -> None:
    sell(sales, (1.0, START, "u"), row)
    query = "SELECT paid AS value, paid_at AS at, customer AS user FROM sales WHERE :since > 0"
    with pytest.raises(Unavailable, match="the query of the metric 'revenue': ") as wrong:
        source(query).poll(START + 60)
    assert says in str(wrong.value)
    assert "s3cret" not in str(wrong.value)


def test_a_binary_metric_is_0_or_1(sales: sqlite3.Connection, source: Any) -> None:
    sell(sales, (1, START, "u"), (0, START, "u"))
    assert [row.value for row in source(kind="binary").poll(START + 60)] == [1.0, 0.0]
    sell(sales, (2, START, "u"))
    with pytest.raises(Unavailable, match="neither 0 nor 1"):
        source(kind="binary").poll(START + 60)


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("SELECT 1 AS amount, 2 AS at, 3 AS user WHERE :since", "needs a column `value`; it has amount, at, user"),
        ("SELECT 1 AS value, 3 AS user WHERE :since", "needs a column `at`"),
        ("SELECT 1 AS value, 2 AS at WHERE :since", "needs a column `user` or `request_id`"),
        ("SELECT nowhere WHERE :since", "no such column: nowhere; see the query"),
        ("SELEC :since", "syntax error"),
        ("DELETE FROM sales WHERE paid_at > :since", "readonly"),
        ("SELECT 1 WHERE :since < :mi", ":mi is not known, only :since and :until"),
    ],
)
@pytest.mark.usefixtures("sales")
def test_queries_that_cannot_be(source: Any, query: str, says: str) -> None:
    with pytest.raises(Unavailable) as wrong:
        source(query).poll(START + 60)
    assert says in str(wrong.value)


def test_what_failed_is_asked_for_again(sales: sqlite3.Connection, source: Any) -> None:
    asked = source(late=0.0)
    sell(sales, (1.0, START, "u"))
    sales.execute("ALTER TABLE sales RENAME TO moved")
    with pytest.raises(Unavailable, match="no such table"):
        stored(asked, START + 60)
    sales.execute("ALTER TABLE moved RENAME TO sales")
    assert stored(asked, START + 61) == []
    assert [row.value for row in stored(asked, START + 120)] == [1.0]
    assert stored(asked, START + 180) == []


def test_a_clock_that_goes_back(sales: sqlite3.Connection, source: Any) -> None:
    asked = source(late=20.0)
    assert stored(asked, START + 10_000) == []
    sell(sales, (1.0, START + 90, "u"))
    assert [row.value for row in stored(asked, START + 100)] == [1.0]
    sell(sales, (2.0, START + 130, "u"))
    assert [row.value for row in stored(asked, START + 160)] == [1.0, 2.0]


def test_no_database_is_made(tmp_path: Path, source: Any) -> None:
    with pytest.raises(Unavailable, match="unable to open database file"):
        source().poll(START + 60)
    assert list(tmp_path.iterdir()) == []


def test_too_many_rows(sales: sqlite3.Connection, source: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sql, "_MOST_ROWS", 2)
    sell(sales, *[(1.0, START, "u")] * 3)
    everything = QUERY.partition(" AND")[0]
    with pytest.raises(Unavailable, match="more than 2 rows; use :since and :until"):
        source(everything).poll(START + 60)
    with pytest.raises(Unavailable, match="more than 2 rows"):
        source().poll(START + 1)


def test_what_was_not_stored_comes_again(sales: sqlite3.Connection, source: Any) -> None:
    asked = source(late=0.0)
    sell(sales, (1.0, START, "u"))
    assert len(asked.poll(START + 60)) == 1
    assert asked.read is None
    assert len(asked.poll(START + 61)) == 1  # at once
    asked.stored()
    assert asked.read == START + 61
    asked.stored()
    assert asked.poll(START + 62) == []


def test_many_rows_come_in_parts(sales: sqlite3.Connection, source: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the part that lies `late` behind does not keep it from going on."""
    monkeypatch.setattr(sql, "_PAGE_ROWS", 10)
    asked = source(late=1000.0)
    sell(sales, *((float(i), START + i // 2, "u") for i in range(60)))
    for now in (START + 100, START + 200):
        found, reads, most = [], [asked.read or 0.0], 0
        while True:
            rows = stored(asked, now)
            found += [row.value for row in rows]
            reads.append(asked.read or 0.0)
            most = max(most, len(rows))
            if not asked.goes_on:
                break
        assert found == [float(i) for i in range(60)]
        assert most <= 10
        assert reads == sorted(reads)
        assert asked.read == now
    assert stored(asked, START + 201) == []  # now `every` counts again


def test_a_part_that_fails_is_asked_for_again(
    sales: sqlite3.Connection, source: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sql, "_PAGE_ROWS", 10)
    asked = source(late=0.0)
    sell(sales, *((float(i), START + i, "u") for i in range(40)))
    found: list[float] = []
    for turn in range(20):
        if turn == 5:
            sales.execute("ALTER TABLE sales RENAME TO moved")
            with pytest.raises(Unavailable):
                asked.poll(START + 40)
            sales.execute("ALTER TABLE moved RENAME TO sales")
            assert START < asked.read < START + 40
            assert stored(asked, START + 41) == []
        found += [row.value for row in stored(asked, START + (40 if turn < 5 else 200))]
    assert found == [float(i) for i in range(40)]


def test_a_restart_begins_where_the_last_one_ended(sales: sqlite3.Connection, source: Any) -> None:
    sell(sales, (1.0, START, "old"), (2.0, START + 990, "late"), (3.0, START + 1010, "new"))
    asked = source(late=60.0, read=START + 1000)
    assert [row.value for row in asked.poll(START + 2000)] == [2.0, 3.0]


def test_a_server_that_says_nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """It lets one in, and then hangs; whoever asked is free again."""
    monkeypatch.setattr(sql, "_SILENT_SECONDS", -1.0)
    with silent_postgresql() as port:
        asked = SqlSource(f"postgresql://u:s3cret@127.0.0.1:{port}/x", QUERY, 60.0, 0.0, KEY, "m", "binary", START)
        failed: list[str] = []

        def poll() -> None:
            try:
                asked.poll(START + 60)
            except Unavailable as reason:
                failed.append(str(reason))

        assert not asked.hangs
        thread = threading.Thread(target=poll, daemon=True)
        thread.start()
        deadline = time.monotonic() + 10
        hung = False
        while thread.is_alive():
            assert time.monotonic() < deadline
            hung = hung or asked.hangs
            asked.break_off()
            thread.join(0.01)
    assert hung
    assert not asked.hangs
    assert "the query of the metric 'm' failed" in failed[0]
    assert "s3cret" not in failed[0]


@contextmanager
def silent_postgresql() -> Iterator[int]:
    def message(kind: bytes, of: bytes) -> bytes:
        return kind + struct.pack("!I", len(of) + 4) + of

    def one(client: socket.socket) -> None:
        with client:
            asked = client.recv(1024)
            while struct.unpack("!I", asked[4:8])[0] in (80877103, 80877104):  # it asks for encryption
                client.sendall(b"N")
                asked = client.recv(1024)
            said = b"".join(message(b"S", of) for of in (b"server_version\x0015.0\0", b"client_encoding\0UTF8\0"))
            client.sendall(message(b"R", struct.pack("!I", 0)) + said + message(b"Z", b"I"))
            while client.recv(4096):
                pass

    def serve() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=one, args=(server.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as server:
        accepting = threading.Thread(target=serve)
        accepting.start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(socket.SHUT_RDWR)
            accepting.join()


def test_a_query_without_end(source: Any, monkeypatch: pytest.MonkeyPatch, sales: sqlite3.Connection) -> None:
    monkeypatch.setattr(sql, "_QUERY_SECONDS", -1.0)
    endless = "WITH RECURSIVE n(i) AS (SELECT :since UNION ALL SELECT i + 1 FROM n) SELECT max(i) AS value FROM n"
    with pytest.raises(Unavailable, match="interrupted"):
        source(endless).poll(START + 60)
    assert sales.execute("SELECT 1").fetchone() == (1,)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:s3cret@127.0.0.1:1/db",
        "postgresql://me:s3c/ret@127.0.0.1:1/db",
        "postgresql://127.0.0.1:1/db?password=s3cret",
        "postgresql+nothing://me:s3cret@host/db",
        "s3cret",
        "postgresql://me:s3cret@127.0.0.1:port/db",
    ],
)
def test_a_database_that_cannot_be_reached(url: str) -> None:
    asked = SqlSource(url, QUERY, 60.0, 0.0, KEY, "revenue", "continuous", START)
    with pytest.raises(Unavailable, match="revenue") as wrong:
        asked.poll(START)
    shown, error = [], wrong.value
    while error is not None:
        shown.append(str(error))
        error = error.__cause__  # type: ignore[assignment]
    assert not any("s3cret" in text or "s3c" in text for text in shown)
