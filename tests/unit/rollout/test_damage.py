"""A store that is damaged, deleted, full or read-only: a sentence with a next step, and nothing is overwritten."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event as on
from sqlalchemy import text

from lockgate.flows.exits import Exit, code_of
from lockgate.rollout.controller import Controller
from lockgate.rollout.errors import Fenced, StoreDown, Unreadable
from lockgate.rollout.state import Commanded
from lockgate.rollout.store import Event, Rollout, Store, opened
from lockgate.rollout.verify import verify

RolloutOf = Callable[..., Rollout]
Begin = Callable[[Store, Rollout, float], Event]
PAUSE, RESUME = Commanded("pause", "ada"), Commanded("resume", "ada")
PAGE = 4096


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "lockgate.db"


@pytest.fixture
def rollout(file: Path, rollout_of: RolloutOf, begin: Begin) -> Rollout:
    """Open, with a log of some length, in a file that nobody has open."""
    it = rollout_of()
    with opened(f"sqlite:///{file}") as store:
        last = begin(store, it, 1.0)
        for number in range(40):
            last = store.append(it, last, RESUME if number % 2 else PAUSE, 2.0 + number)
    return it


@pytest.fixture
def store(file: Path, rollout: Rollout) -> Iterator[Store]:  # noqa: ARG001 - it is in there
    it = Store(f"sqlite:///{file}")
    yield it
    it.close()


def change(file: Path, statement: str, *values: Any) -> None:
    with closing(sqlite3.connect(file)) as db:
        db.execute(statement, values)
        db.commit()


class TestTheFile:
    @pytest.mark.parametrize("harm", ["cut", "overwritten", "another file"])
    def test_that_is_damaged_is_left_as_it_is(self, harm: str, file: Path, rollout: Rollout) -> None:
        content = file.read_bytes()
        assert len(content) > 6 * PAGE
        damaged = {
            "cut": content[: len(content) // 2],
            "overwritten": content[:PAGE] + os.urandom(len(content) - PAGE),
            "another file": b"version: 1\n" * 1000,
        }[harm]
        file.write_bytes(damaged)
        with pytest.raises(Unreadable, match=r"lockgate\.db is damaged: .*recovery\.md") as said:  # noqa: SIM117
            with opened(f"sqlite:///{file}") as store:
                store.events(rollout.id)
        assert code_of(said.value) == Exit.NOT_VERIFIED
        assert file.read_bytes() == damaged

    @pytest.mark.parametrize("replaced", [False, True])
    def test_that_is_gone_while_it_is_open_is_written_no_more(
        self, file: Path, store: Store, rollout: Rollout, *, replaced: bool
    ) -> None:
        """What we wrote would be seen by nobody, and somebody else could open a second rollout."""
        last = store.last(rollout.id)
        if replaced:
            shutil.copy(file, file.with_suffix(".copy"))
            file.with_suffix(".copy").replace(file)
        else:
            file.unlink()
        for act in (
            lambda: store.append(rollout, last, PAUSE, 99.0),
            lambda: store.lease(rollout.id, "me", 99.0, 15.0),
            lambda: store.last(rollout.id),
        ):
            with pytest.raises(Unreadable, match="deleted or replaced while this ran"):
                act()
        assert file.exists() is replaced

    def test_that_was_emptied_is_said(self, file: Path, store: Store, rollout: Rollout) -> None:
        change(file, "drop table lockgate_leases")
        with pytest.raises(StoreDown, match=r"It was emptied while this ran; docs/recovery\.md"):
            store.lease(rollout.id, "me", 99.0, 15.0)

    def test_that_is_read_only_can_be_read(self, store: Store, rollout: Rollout) -> None:
        with store._engine.begin() as db:
            db.execute(text("pragma query_only=on"))  # root writes where it may not
        last = store.last(rollout.id)
        with pytest.raises(StoreDown, match=r"readonly database\. Let this user write") as said:
            store.append(rollout, last, PAUSE, 99.0)
        assert code_of(said.value) == Exit.MISSING_PART

    def test_without_room_loses_nothing_and_goes_on_when_there_is_some(self, store: Store, rollout: Rollout) -> None:
        last, no_room = store.last(rollout.id), text("pragma max_page_count=1")  # as many as there are by now
        on.listen(store._engine, "checkout", lambda connection, *_: connection.execute(no_room.text))
        said = None
        for number in range(100):
            try:
                last = store.append(rollout, last, RESUME if number % 2 else PAUSE, 99.0 + number)
            except StoreDown as error:
                said = error
        assert "disk is full. Make room on its disk" in str(said)
        assert store.last(rollout.id) == last
        no_room.text = "pragma max_page_count=100000"
        again = store.append(rollout, last, Commanded("abort", "ada"), 999.0)
        assert [e.sequence for e in store.events(rollout.id)] == list(range(1, again.sequence + 1))


class TestARow:
    @pytest.mark.parametrize(
        ("column", "value", "why"),
        [
            ("happening", "{", "Expecting"),
            ("happening", '{"kind": "teleported"}', "teleported.*A newer Lockgate may have written it"),
            ("happening", "\x00", "Expecting value"),
            ("state", '{"phase": "up"}', "phase: Input should be"),
            ("state", "null", "It is damaged"),
        ],
    )
    def test_of_the_log_is_named(  # noqa: PLR0913, PLR0917
        self, file: Path, store: Store, rollout: Rollout, column: str, value: str, why: str
    ) -> None:
        change(file, f"update lockgate_events set {column} = ? where sequence = 7", value)  # noqa: S608
        with pytest.raises(Unreadable, match=rf"event 7 of {rollout.id} cannot be read: .*{why}.*recovery\.md") as said:
            list(verify(rollout.spec, store.events(rollout.id), store.looks(rollout.id)))
        assert code_of(said.value) == Exit.NOT_VERIFIED

    def test_that_is_the_last_one_stops_the_driver_and_moves_no_traffic(
        self, file: Path, store: Store, rollout: Rollout, plane: Any
    ) -> None:
        change(file, "update lockgate_events set state = '[1' where sequence = 42")
        controller = Controller(rollout, store, plane.router, plane.source, lambda: plane.sides)
        with pytest.raises(Unreadable, match=f"event 42 of {rollout.id}"):
            controller.tick("me", 99.0)
        assert plane.router.history == []
        with closing(sqlite3.connect(file)) as db:
            assert db.execute("select count(*) from lockgate_events").fetchone() == (42,)

    def test_that_is_no_text_is_damage(self, file: Path, store: Store, rollout: Rollout) -> None:
        change(file, "update lockgate_events set state = cast(x'ff22' as text) where sequence = 42")
        with pytest.raises(Unreadable, match="is damaged: Could not decode"):
            store.last(rollout.id)

    def test_that_is_missing_is_found_by_verify(self, file: Path, store: Store, rollout: Rollout) -> None:
        change(file, "delete from lockgate_events where sequence = 7")
        wrong = [c for c in verify(rollout.spec, store.events(rollout.id), store.looks(rollout.id)) if c.wrong]
        assert wrong[0].wrong[0] == "event 7 is missing; 8 follows"

    @pytest.mark.parametrize("spec", ["{", json.dumps({"steps": []}), json.dumps({"invented": 1})])
    def test_of_a_rollout_is_named_also_in_the_list(
        self, spec: str, file: Path, store: Store, rollout: Rollout
    ) -> None:
        change(file, "update lockgate_rollouts set spec = ?", spec)
        for act in (store.rollouts, lambda: store.open_of("fraud"), lambda: store.rollout(rollout.id)):
            with pytest.raises(Unreadable, match=f"the spec of {rollout.id} cannot be read"):
                act()

    def test_of_a_rollout_hides_no_other(self, file: Path, store: Store, rollout: Rollout) -> None:
        store.open(replace(rollout, id="other-1", model="other"), 5.0)
        change(file, "update lockgate_rollouts set spec = '{' where model = 'fraud'")
        told: list[Unreadable] = []
        assert [of.model for of in store.rollouts(told=told.append)] == ["other"]
        assert [str(one).partition(" cannot")[0] for one in told] == [f"the spec of {rollout.id}"]

    def test_of_the_progress_is_written_anew(self, file: Path, store: Store, rollout: Rollout, plane: Any) -> None:
        """It can be computed from the looks."""
        controller = Controller(rollout, store, plane.router, plane.source, lambda: plane.sides)
        for now in (99.0, 109.0):
            plane.source.traffic(100)
            controller.tick("me", now)
        known = store.progress(rollout.id)
        change(file, "update lockgate_progress set document = '{\"evidence\": 3'")
        assert store.progress(rollout.id) is None
        controller.tick("me", 110.0)
        again = store.progress(rollout.id)
        assert known is not None
        assert again is not None
        assert again.evidence == known.evidence


def test_a_driver_whose_lease_was_taken_records_nothing(store: Store, rollout: Rollout) -> None:
    """It slept, woke up, and has seen the newest event all the same."""
    last = store.last(rollout.id)
    assert store.lease(rollout.id, "old", 100.0, 15.0)
    assert store.lease(rollout.id, "new", 200.0, 15.0)
    with pytest.raises(Fenced, match=f"another controller has taken {rollout.id}"):
        store.append(rollout, last, PAUSE, 201.0, "old")
    assert store.last(rollout.id) == last
    assert store.append(rollout, last, PAUSE, 201.0, "new").sequence == last.sequence + 1
