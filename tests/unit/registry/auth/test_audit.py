from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import DBAPIError

from lockgate.registry.auth import chain
from lockgate.registry.auth.audit import Audit, Entry
from lockgate.registry.auth.chain import START, Broken, verify
from lockgate.registry.auth.errors import NotStarted, Unrecorded

MANY = 15


def row(user: str = "bob", model: str = "fraud", **more: str) -> Entry:
    return Entry(1_700_000_000.1234, user, ("risk-leads", "a"), "set tag", model, "5", "lockgate.approval", **more)


def test_rows_come_back_as_they_were_written_newest_first(url: str) -> None:
    audit = Audit(url)
    audit.append(row(old="pending", new="approved: naïve ☂", address="10.0.0.7", request="abc"))
    audit.append(row("carol", "churn", outcome="refused", reason="no"))
    audit.append(row("carol"))

    assert [r["user"] for r in audit.rows()] == ["carol", "carol", "bob"]
    first = audit.rows("fraud", before=2)[0]
    assert first["roles"] == ["a", "risk-leads"]
    assert (first["at"], first["old"], first["new"]) == (1_700_000_000.123, "pending", "approved: naïve ☂")
    assert [r["sequence"] for r in audit.rows("fraud", limit=1)] == [3]
    assert verify(audit.engine, audit.head()[1]) is None
    audit.engine.dispose()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE lockgate_audit SET reason = 'x' WHERE sequence = 1",
        "DELETE FROM lockgate_audit WHERE sequence = 2",
        "DELETE FROM lockgate_audit",
    ],
)
def test_no_row_is_changed_or_removed(url: str, statement: str) -> None:
    audit = Audit(url)
    audit.append(row())
    audit.append(row())

    with pytest.raises(DBAPIError, match="append-only"), audit.engine.begin() as db:
        db.execute(text(statement))

    assert verify(audit.engine) is None
    audit.engine.dispose()


def test_sqlite_replaces_no_row_either(tmp_path: Path) -> None:
    audit = Audit(f"sqlite:///{tmp_path}/audit.db")
    audit.append(row())
    columns = (
        "sequence, at, user, roles, operation, model, version, key, outcome, reason, address, request, previous, hash"
    )

    for sequence in (1, 3):
        values = f"{sequence}, 0, 'x', '[]', '', '', '', '', '', '', '', '', '', ''"
        with pytest.raises(DBAPIError, match="append-only"), audit.engine.begin() as db:
            db.execute(text(f"INSERT OR REPLACE INTO lockgate_audit ({columns}) VALUES ({values})"))  # noqa: S608
    audit.engine.dispose()


def test_postgresql_truncates_nothing(url: str) -> None:
    if not url.startswith("postgresql"):
        pytest.skip("SQLite has no TRUNCATE")
    audit = Audit(url)
    with pytest.raises(DBAPIError, match="append-only"), audit.engine.begin() as db:
        db.execute(text("TRUNCATE lockgate_audit"))
    audit.engine.dispose()


@pytest.mark.parametrize(
    ("meddling", "broken"),
    [
        ("UPDATE lockgate_audit SET reason = 'x' WHERE sequence = 2", Broken(2, "it is not as it was written")),
        ("DELETE FROM lockgate_audit WHERE sequence = 2", Broken(2, "row 2 is missing")),
        ("UPDATE lockgate_audit SET previous = hash WHERE sequence = 3", Broken(3, "it does not carry the hash")),
        (
            "DELETE FROM lockgate_audit WHERE sequence = 4",
            Broken(4, "no row has the hash that was noted"),
        ),
    ],
)
def test_who_drops_the_triggers_breaks_the_chain(tmp_path: Path, meddling: str, broken: Broken) -> None:
    audit = Audit(f"sqlite:///{tmp_path}/audit.db")
    for _ in range(4):
        audit.append(row())
    head = audit.head()

    with audit.engine.begin() as db:
        for trigger in ("no_update", "no_delete"):
            db.execute(text(f"DROP TRIGGER lockgate_audit_{trigger}"))
        db.execute(text(meddling))

    found = verify(audit.engine, head[1])
    assert found is not None
    assert found.sequence == broken.sequence
    assert found.reason.startswith(broken.reason)
    audit.engine.dispose()


def test_a_head_that_was_noted_earlier_is_found(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chain, "_AT_ONCE", 2)
    audit = Audit(url)
    assert audit.head() == (0, START)
    heads = []
    for _ in range(5):
        audit.append(row())
        heads.append(audit.head()[1])

    assert [verify(audit.engine, head) for head in (START, *heads)] == [None] * 6
    assert verify(audit.engine, "f" * 64) == Broken(
        6, "no row has the hash that was noted: the rows after 5 were cut off"
    )
    audit.engine.dispose()


def test_who_reads_keeps_nobody_from_writing(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each row that is verified is one at which somebody else writes."""
    monkeypatch.setattr(chain, "_AT_ONCE", 2)
    audit, writer = Audit(url), Audit(url)
    for _ in range(3):
        audit.append(row())
    real, written = chain.hash_of, []

    def meanwhile(values: Mapping[str, Any]) -> str:
        if len(written) < 3:
            written.append(writer.append(row("carol")))
        return real(values)

    monkeypatch.setattr(chain, "hash_of", meanwhile)

    assert verify(audit.engine) is None
    assert written == [4, 5, 6]
    with audit.engine.connect() as reader:
        reader.execute(text("SELECT 1"))
        assert (writer.append(row()), len(audit.rows())) == (7, 7)
    for one in (audit, writer):
        one.engine.dispose()


def test_workers_that_write_at_once_make_one_chain(url: str) -> None:
    audit = Audit(url)
    program = (
        "import sys\nfrom lockgate.registry.auth.audit import Audit, Entry\n"
        "audit = Audit(sys.argv[1])\n"
        f"for i in range({MANY}): audit.append(Entry(float(i), sys.argv[2], (), 'set tag', 'fraud'))\n"
    )

    workers = [subprocess.Popen([sys.executable, "-c", program, url, name]) for name in ("one", "two", "three")]
    assert [worker.wait(60) for worker in workers] == [0, 0, 0]

    assert audit.head()[0] == 3 * MANY
    assert verify(audit.engine) is None
    audit.engine.dispose()


def test_a_second_start_finds_the_rows_of_the_first(url: str) -> None:
    first = Audit(url)
    first.append(row())
    first.engine.dispose()

    again = Audit(url)

    assert again.append(row()) == 2
    assert verify(again.engine) is None
    again.engine.dispose()


def test_what_no_database_stores_is_stored_all_the_same(url: str) -> None:
    audit = Audit(url)

    audit.append(row("b" * 300, new="\0\ud800" + "x" * 9000))

    found = audit.rows()[0]
    assert (len(found["user"]), found["new"][:3], len(found["new"])) == (255, "??x", 4000)
    assert verify(audit.engine) is None
    audit.engine.dispose()


def test_what_cannot_be_recorded_is_said(tmp_path: Path) -> None:
    audit = Audit(f"sqlite:///{tmp_path}/audit.db")
    with audit.engine.begin() as db:
        db.execute(text("DROP TABLE lockgate_audit"))

    with pytest.raises(Unrecorded, match="no such table"):
        audit.append(row())
    audit.engine.dispose()


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("sqlite://", "a database that outlives the server"),
        ("mysql://root:secret@127.0.0.1/db", "in SQLite or PostgreSQL, not in mysql"),
        ("sqlite:////nowhere/at/all/audit.db", "cannot be kept at .*unable to open"),
        ("postgresql://ann:secret@127.0.0.1:1/db", r"cannot be kept at postgresql\+psycopg://ann:\*\*\*@127"),
    ],
)
def test_a_database_that_will_not_do_is_named_without_its_password(url: str, reason: str) -> None:
    with pytest.raises(NotStarted, match=reason) as error:
        Audit(url)
    assert "secret" not in str(error.value)


def test_the_engine_of_sqlite_is_left_usable_for_reading(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/audit.db"
    audit = Audit(url)
    audit.append(row())
    other = create_engine(url)

    assert verify(other) is None

    other.dispose()
    audit.engine.dispose()
