"""Outcomes that a PostgreSQL of our own keeps."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest

from lockgate.monitoring.feedback import sql
from lockgate.monitoring.feedback.errors import Unavailable
from lockgate.monitoring.feedback.names import unit
from lockgate.monitoring.feedback.sql import SqlSource

KEY, START = b"key", 1_700_000_000.0
QUERY = (
    "SELECT paid AS value, paid_at AS at, customer AS user FROM sales"
    " WHERE paid_at >= to_timestamp(:since) AND paid_at < to_timestamp(:until)"
)


def _program(name: str) -> str:
    places = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), reverse=True)
    found = shutil.which(name) or next(map(str, places), None)
    if found is None:
        pytest.skip("PostgreSQL is not installed")
    return found


@pytest.fixture(scope="module")
def server(until: Callable[..., None]) -> Iterator[str]:
    """The address of a database of its own, on a socket in a folder of its own."""
    initdb, postgres = _program("initdb"), _program("postgres")
    user = "postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name  # it refuses to run as root
    as_user: dict[str, Any] = {"user": user} if os.geteuid() == 0 else {}
    folder = Path(tempfile.mkdtemp(prefix="lockgate-pg-"))
    shutil.chown(folder, user)
    made = [initdb, "-D", folder / "data", "-U", "lockgate", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C"]
    subprocess.run(made, check=True, capture_output=True, cwd=folder, **as_user)
    options = ["-k", folder, "-c", "listen_addresses=", "-c", "fsync=off"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [postgres, "-D", folder / "data", *options], stdout=log, stderr=log, cwd=folder, **as_user
        )
    url = f"postgresql://lockgate:s3cret@/postgres?host={folder}"
    try:
        until(lambda: _answers(url))
        yield url
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)
        shutil.rmtree(folder)


def _answers(url: str) -> bool:
    try:
        psycopg.connect(url).close()
    except psycopg.OperationalError:
        return False
    return True


@pytest.fixture
def sales(server: str) -> Iterator[psycopg.Connection[Any]]:
    with closing(psycopg.connect(server, autocommit=True)) as database:
        database.execute("DROP TABLE IF EXISTS sales")
        database.execute("CREATE TABLE sales (paid numeric, paid_at timestamptz, customer text)")
        yield database


def source(server: str, query: str = QUERY) -> SqlSource:
    return SqlSource(server, query, 60.0, 0.0, KEY, "revenue", "continuous", START)


def test_what_is_new(server: str, sales: psycopg.Connection[Any]) -> None:
    for offset in (-1, 0, 30, 60):
        at = datetime.fromtimestamp(START + offset, UTC)
        sales.execute("INSERT INTO sales VALUES (12.5, %s, %s)", (at, f"u{offset}"))
    asked = source(server)
    found = asked.poll(START + 60)
    assert [(row.value, row.at, row.unit) for row in found] == [
        (12.5, START, unit("u0", KEY)),
        (12.5, START + 30, unit("u30", KEY)),
    ]
    asked.stored()
    assert [row.at for row in asked.poll(START + 120)] == [START + 60]
    without_a_zone = QUERY.replace("paid_at AS at", "paid_at AT TIME ZONE 'UTC' AS at")
    assert source(server, without_a_zone).poll(START + 60) == found
    seconds = QUERY.replace("paid_at AS at", "extract(epoch FROM paid_at) AS at")
    assert [row.at for row in source(server, seconds).poll(START + 60)] == [START, START + 30]


def test_it_only_reads(server: str, sales: psycopg.Connection[Any]) -> None:
    sales.execute("CREATE SEQUENCE IF NOT EXISTS numbers")
    with pytest.raises(Unavailable, match="in a read-only transaction"):
        source(server, "SELECT nextval('numbers') AS value WHERE :since > 0").poll(START + 60)


def test_nothing_is_repeated(server: str, sales: psycopg.Connection[Any]) -> None:
    sales.execute("INSERT INTO sales VALUES (1, to_timestamp(%s), 'm4nager@example.com')", (START,))
    cast = QUERY.replace("paid AS value", "customer::int AS value")
    with pytest.raises(Unavailable, match="InvalidTextRepresentation") as wrong:
        source(server, cast).poll(START + 60)
    assert "m4nager" not in str(wrong.value)
    with pytest.raises(Unavailable, match='column "pait" does not exist'):
        source(server, QUERY.replace("SELECT paid", "SELECT pait")).poll(START + 60)


@pytest.mark.usefixtures("sales")
def test_a_query_without_end(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sql, "_QUERY_SECONDS", 0.01)
    with pytest.raises(Unavailable, match="statement timeout"):
        source(server, "SELECT pg_sleep(60) WHERE :since > 0").poll(START + 60)


def test_no_server(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="failed: No such file") as wrong:
        source(f"postgresql://me:s3cret@/db?host={tmp_path}").poll(START)
    assert "s3cret" not in str(wrong.value)
