"""The audit of the real server: who reads it, who can change it, and what happens when it cannot be written."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest
from sqlalchemy import create_engine

from lockgate.registry.approvals import APPROVAL
from lockgate.registry.auth.chain import verify


def _database(world: Any) -> str:
    return str(world.server.folder / "people.db")


def test_administrators_read_it_page_by_page(world: Any, model: str) -> None:
    world.ask(model)

    first = world.root.audit(model, limit="2")
    rest = world.root.audit(model, before=str(first["next"]), verify="true")

    assert [r["key"] for r in first["rows"]] == [APPROVAL, "lockgate.approvals"]
    assert [r["operation"] for r in rest["rows"]] == ["set tag", "registered", "register version"]
    assert rest["next"] is None
    assert rest["broken"] is None
    assert rest["head"]["sequence"] >= first["rows"][0]["sequence"]


def test_a_hash_that_was_noted_earlier_is_looked_for(world: Any, model: str) -> None:
    noted = world.root.audit()["head"]["hash"]
    world.ask(model)

    assert world.root.audit(model, head=noted)["broken"] is None
    lost = world.root.audit(model, head="f" * 64)
    last = lost["head"]["sequence"]
    told = f"no row has the hash that was noted: the rows after {last} were cut off"
    assert lost["broken"] == {"sequence": last + 1, "reason": told}
    assert "broken" not in world.root.audit(model)
    odd = world.root.http.get("/ajax-api/lockgate/audit", params={"head": "17"})
    assert (odd.status_code, odd.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE")


def test_others_do_not(world: Any) -> None:
    for person in (world.alice, world.bob, world.pipeline, world.gail):
        assert person.http.get("/ajax-api/lockgate/audit").status_code == 403


def test_no_row_of_it_is_changed(world: Any, model: str) -> None:
    for statement in ("UPDATE lockgate_audit SET user = 'x'", "DELETE FROM lockgate_audit"):
        with (
            closing(sqlite3.connect(_database(world))) as db,
            pytest.raises(sqlite3.IntegrityError, match="append-only"),
        ):
            db.execute(statement)

    engine = create_engine(f"sqlite:///{_database(world)}")
    assert verify(engine) is None
    engine.dispose()
    assert world.rows(model)


def test_no_password_and_no_key_is_in_it(world: Any, model: str) -> None:
    world.ask(model)
    assert world.bob.decide(model, "approved").is_success

    with closing(sqlite3.connect(_database(world))) as db:
        kept = str(db.execute("SELECT * FROM lockgate_audit").fetchall())

    assert "a password of" not in kept
    assert "the key of these tests" not in kept
    assert "Basic " not in kept


def test_who_is_given_a_role_or_a_password_is_in_it(world: Any, numbers: Any) -> None:
    name = f"eve-{next(numbers)}"
    made = {"username": name, "password": "secret of eve and long enough"}
    assert world.root.http.post("/api/2.0/mlflow/users/create", json=made).is_success
    again = {"username": name, "password": "another secret of eve"}
    assert world.root.http.patch("/ajax-api/2.0/mlflow/users/update-password", json=again).is_success
    mine = {"username": name, "password": "a third secret of eve"}
    assert world.alice.http.patch("/api/2.0/mlflow/users/update-password", json=mine).status_code == 403

    rows = [r for r in world.root.audit(limit="10")["rows"] if r["key"] == name]

    assert [(r["user"], r["operation"]) for r in rows] == [("root", "update user password"), ("root", "create user")]
    assert "secret" not in str(rows)
    assert ("root", "assign role", "bob") in [
        (r["user"], r["operation"], r["key"]) for r in world.root.audit(limit="1000")["rows"]
    ]


@contextmanager
def _unwritable(world: Any) -> Iterator[None]:
    with closing(sqlite3.connect(_database(world))) as db:
        db.execute("ALTER TABLE lockgate_audit RENAME TO elsewhere")
        db.commit()
        try:
            yield
        finally:
            db.execute("ALTER TABLE elsewhere RENAME TO lockgate_audit")
            db.commit()


def test_what_cannot_be_recorded_is_not_done(world: Any, model: str) -> None:
    world.ask(model)

    with _unwritable(world):
        answers = [
            world.bob.decide(model, "approved"),
            world.pipeline.tag(model, "lockgate.phase", "waiting"),
            world.alice.point(model, "champion"),
            world.alice.register(model),
        ]
        free = world.alice.tag(model, "team", "risk")

    assert [a.status_code for a in answers] == [503] * 4
    assert "the audit cannot be written, so nothing was done" in answers[0].json()["message"]
    assert free.is_success
    tags = world.alice.tags(model)
    assert (tags[APPROVAL], tags["lockgate.approvals"], "lockgate.phase" in tags) == ("pending", "[]", False)
    assert world.bob.decide(model, "approved").is_success, "and afterwards it goes on"
