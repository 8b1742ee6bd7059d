"""A store that stops answering while it is used is said to be down, in a sentence: the loop waits for it then."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from lockgate.rollout import database
from lockgate.rollout.errors import StoreDown
from lockgate.rollout.store import opened


def test_one_that_somebody_else_has_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    patient = database._pragmas

    def impatient(connection: sqlite3.Connection, record: object) -> None:
        patient(connection, record)
        connection.execute("pragma busy_timeout=10")

    monkeypatch.setattr(database, "_pragmas", impatient)
    with (
        opened(f"sqlite:///{tmp_path / 'state.db'}") as store,
        closing(sqlite3.connect(tmp_path / "state.db", isolation_level=None)) as other,
    ):
        other.execute("begin exclusive")
        with pytest.raises(StoreDown, match="locked"):
            store.lease("one", "me", 1.0, 15.0)
        other.execute("rollback")
        assert store.lease("one", "me", 1.0, 15.0) is False
