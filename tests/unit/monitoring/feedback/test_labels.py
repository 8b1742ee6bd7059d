"""Labels: the truth about one row of a request, in the body of `POST /feedback` and in the database."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lockgate.monitoring.feedback.errors import Invalid, Unsettled
from lockgate.monitoring.feedback.form import Sent, rows
from lockgate.monitoring.feedback.labels import Label
from lockgate.monitoring.feedback.settings import Settings, parse
from lockgate.monitoring.feedback.store import Reader, Row, Store

NOW = 1_700_000_000.0
SETTINGS = Settings({"conversion": "binary"}, b"key", 3600.0, "x-user-id", labels={"fraud": "class", "price": "number"})


def read(body: object) -> Any:
    return rows(json.dumps(body).encode(), SETTINGS, Sent(NOW, b"u1"))


def one(**fields: Any) -> dict[str, Any]:
    return {"label": "fraud", "value": "yes", "request_id": "r1"} | fields


@pytest.mark.parametrize(
    ("given", "label"),
    [
        (one(), Label("fraud", "yes", NOW, "r1")),
        (one(value=True), Label("fraud", "true", NOW, "r1")),
        (one(value=3), Label("fraud", "3", NOW, "r1")),
        (one(value=0.5, row=2), Label("fraud", "0.5", NOW, "r1", 2)),
        (one(at=NOW - 60), Label("fraud", "yes", NOW - 60, "r1")),
        (one(label="price", value=12.5), Label("price", "12.5", NOW, "r1")),
    ],
)
def test_a_label(given: Any, label: Label) -> None:
    assert read(given) == [label]


def test_outcomes_and_labels_come_together() -> None:
    outcome, label = read([{"metric": "conversion", "value": 1, "user": "u2"}, one(id="x")])
    assert isinstance(outcome, Row)
    assert isinstance(label, Label)
    assert label.key != read([{"metric": "conversion", "value": 1, "user": "u2", "id": "x"}])[0].key


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (one(label="frod"), "label: there is no label 'frod'; did you mean 'fraud'?"),
        (one(label="zzz"), "label: there is no label 'zzz' (known: fraud, price)"),
        (one(label=3), "label: must be the name of a label, a text"),
        (one(metric="conversion"), "label: send either metric or label, not both"),
        (one(value=None), "value: is missing"),
        (one(value=[1]), "value: must be a text, a number, true or false"),
        (one(value=""), "value: must be a text of 1 to 256 characters"),
        (one(value="a\nb"), "value: must be a text of 1 to 256 characters"),
        (one(label="price", value="12.5"), "value: the label is a number, so send one"),
        (one(label="price", value=True), "value: the label is a number, so send one"),
        (one(user="u2"), "user: a label is of a request; send request_id"),
        (one(request_id=" "), "request_id: must be the x-request-id of the answered request"),
        ({"label": "fraud", "value": 1}, "request_id: must be the x-request-id of the answered request"),
        (one(row=-1), "row: must be the place of the row in its request, from 0 on"),
        (one(row=True), "row: must be the place of the row in its request, from 0 on"),
        (one(at="yesterday"), "at: must be a time with its zone"),
        ({"metric": "conversion", "value": 1, "row": 1}, "row: is for labels; an outcome is of a whole request"),
    ],
)
def test_a_mistake(given: Any, says: str) -> None:
    with pytest.raises(Invalid) as wrong:
        read([one(), given])
    assert any(sentence.startswith(f"row 2: {says}") for sentence in wrong.value.sentences), wrong.value.sentences


def test_they_are_kept_beside_outcomes_and_pruned_with_them(tmp_path: Path) -> None:
    path = tmp_path / "feedback.db"
    assert Reader(path).labels_of_requests("fraud", 10) == []
    with Store(path) as store:
        told = [Label("fraud", str(i), NOW, f"r{i}", key=f"k{i}") for i in range(5)]
        assert store.add([*told, Row("conversion", 1.0, NOW, unit="u")], NOW) == 6
        assert store.add([told[0], Label("price", "1", NOW, "r1")], NOW + 100) == 1
        latest = store.labels_of_requests("fraud", 3)
        assert [one.label for one in latest] == told[2:]
        assert [one.received for one in latest] == [NOW] * 3
        assert [one.label for one in store.labels_of_requests("fraud", 2, after=2)] == told[1:3]
        assert store.labelled_since("fraud", NOW) == [f"r{i}" for i in range(5)]
        assert len(store.after(0)) == 1
        assert store.prune(NOW + 50) == 6
        assert (store.labels_of_requests("fraud", 10), store.after(0)) == ([], [])
        assert [one.label.value for one in store.labels_of_requests("price", 10)] == ["1"]


def test_a_database_of_before_there_were_labels_has_none(tmp_path: Path) -> None:
    import sqlite3

    path = tmp_path / "feedback.db"
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE feedback (sequence INTEGER PRIMARY KEY AUTOINCREMENT, received REAL)")
    database.close()
    assert Reader(path).labels_of_requests("fraud", 10) == []


def test_settings_name_them() -> None:
    bare: dict[str, Any] = {"metrics": {}, "key": "00", "keep": 1, "header": "x"}
    assert parse(json.dumps(bare).encode()).labels == {}
    assert parse(json.dumps(bare | {"labels": {"fraud": {"kind": "class"}}}).encode()).labels == {"fraud": "class"}
    with pytest.raises(Unsettled, match=r"labels\.fraud\.kind must be class or number"):
        parse(json.dumps(bare | {"labels": {"fraud": {"kind": "binary"}}}).encode())
