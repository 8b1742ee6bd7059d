"""What a tick may cost: few writes, bounded memory, nothing that grows with the log."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from lockgate.rollout.controller import Controller, Sides
from lockgate.rollout.rows import Rollout
from lockgate.rollout.store import Event, Store

TTL = 15.0


@pytest.fixture
def store(tmp_path: Path, rollout_of: Callable[[], Rollout]) -> Any:
    with closing(Store(f"sqlite:///{tmp_path / 'store.db'}")) as it:
        it.open(replace(rollout_of(), id="r"), 0.0)
        yield it


def writes(store: Store, act: Callable[[], object]) -> list[str]:
    """The statements that wrote something."""
    said: list[str] = []

    def heard(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        said.append(statement)

    event.listen(store._engine, "before_cursor_execute", heard)
    act()
    event.remove(store._engine, "before_cursor_execute", heard)
    return [one for one in said if not one.startswith("SELECT")]


def test_a_lease_is_written_when_some_of_its_time_is_gone_and_not_in_every_tick(store: Store) -> None:
    assert writes(store, lambda: store.lease("r", "ada", 100.0, TTL))
    assert not writes(store, lambda: store.lease("r", "ada", 101.0, TTL))
    assert writes(store, lambda: store.lease("r", "ada", 104.0, TTL))
    assert store.holder("r", 118.9) == "ada"
    assert store.holder("r", 119.1) == ""


def test_a_lease_is_written_anew_when_the_clock_was_set_back(store: Store) -> None:
    store.lease("r", "ada", 100.0, TTL)
    assert writes(store, lambda: store.lease("r", "ada", 40.0, TTL))
    assert store.holder("r", 56.0) == ""


def test_a_lease_that_is_fresh_keeps_others_off(store: Store) -> None:
    store.lease("r", "ada", 100.0, TTL)
    assert not store.lease("r", "bob", 101.0, TTL)
    assert store.lease("r", "bob", 116.0, TTL)
    assert not store.lease("r", "ada", 116.0, TTL)


def test_a_connection_keeps_few_pages_of_a_log_that_grows(store: Store) -> None:
    with store._engine.connect() as db:
        assert db.exec_driver_sql("pragma cache_size").scalar() == -512


def test_the_last_event_is_found_by_its_key(store: Store, tmp_path: Path) -> None:
    """And not by reading the whole log."""
    said: list[tuple[str, Any]] = []
    event.listen(store._engine, "before_cursor_execute", lambda *of: said.append((of[2], of[3])))
    store.last("r")
    store.progress("r")
    with closing(sqlite3.connect(tmp_path / "store.db")) as db:
        for statement, values in said:
            for *_, how in db.execute(f"explain query plan {statement}", values):
                assert how.startswith("SEARCH"), (statement, how)
                assert "INDEX" in how


@pytest.fixture
def asked() -> list[Sides]:
    """What was answered whenever it was asked who is up."""
    return []


@pytest.fixture
def driven(
    plane: Any, rollout_of: Callable[[], Rollout], begin: Callable[[Store, Rollout, float], Event], asked: list[Sides]
) -> Any:
    def sides() -> Sides:
        asked.append(dict(plane.sides))
        return asked[-1]

    with closing(Store("sqlite://")) as store:
        rollout = rollout_of()
        begin(store, rollout, 0.0)
        yield Controller(rollout, store, plane.router, plane.source, sides)


def test_a_tick_looks_at_the_replicas_once(driven: Controller, plane: Any, asked: list[Sides]) -> None:
    for now in (1.0, 11.0):
        driven.tick("ada", now)
    asked.clear()
    plane.source.traffic(10)
    driven.tick("ada", 21.0)
    assert len(asked) == 1


def test_a_replica_that_dies_within_a_tick_is_not_routed_to(driven: Controller, plane: Any, asked: list[Sides]) -> None:
    """Who was up at its beginning may not be when routes are applied."""
    measured = plane.router.applied

    def applied() -> Any:
        plane.sides["candidate"] = ()
        return measured()

    plane.router.applied = applied
    driven.tick("ada", 1.0)
    assert asked[0]["candidate"]
    assert not measured().candidate
