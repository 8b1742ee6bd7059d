"""The body of `POST /feedback`."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lockgate.monitoring.feedback import form, names
from lockgate.monitoring.feedback.errors import Invalid
from lockgate.monitoring.feedback.form import MOST_ROWS, NotJson, Sent, rows
from lockgate.monitoring.feedback.settings import Settings
from lockgate.monitoring.feedback.store import Row

NOW = 1_700_000_000.0
SETTINGS = Settings({"conversion": "binary", "revenue": "continuous"}, b"key", 3600.0, "x-user-id")
SENT = Sent(NOW)
U1 = names.unit("u1", b"key")


def read(body: object, sent: Sent = SENT) -> list[Row]:
    return rows(body if isinstance(body, bytes) else json.dumps(body).encode(), SETTINGS, sent)


def one(**fields: Any) -> dict[str, Any]:
    return {"metric": "conversion", "value": 1, "user": "u1"} | fields


@pytest.mark.parametrize(
    ("body", "row"),
    [
        (one(), Row("conversion", 1.0, NOW, unit=U1)),
        (one(value=True), Row("conversion", 1.0, NOW, unit=U1)),
        (one(value=False), Row("conversion", 0.0, NOW, unit=U1)),
        (one(value=1.0), Row("conversion", 1.0, NOW, unit=U1)),
        (one(metric="revenue", value=-2.5), Row("revenue", -2.5, NOW, unit=U1)),
        (one(user=" u1\t"), Row("conversion", 1.0, NOW, unit=U1)),
        (one(user=17), Row("conversion", 1.0, NOW, unit=names.unit("17", b"key"))),
        (one(user=None, request_id="r-1"), Row("conversion", 1.0, NOW, request_id="r-1")),
        (one(user=None, request_id="x" * 200), Row("conversion", 1.0, NOW, request_id=names.request_id("x" * 200))),
        (one(at=NOW - 5), Row("conversion", 1.0, NOW - 5, unit=U1)),
        (one(at=NOW + 299), Row("conversion", 1.0, NOW + 299, unit=U1)),
        (one(at="2023-11-14T22:13:20Z"), Row("conversion", 1.0, NOW, unit=U1)),
        (one(at="2023-11-15T00:13:19.5+02:00"), Row("conversion", 1.0, NOW - 0.5, unit=U1)),
    ],
)
def test_a_row(body: Any, row: Row) -> None:
    assert read(body) == read([body]) == [row]


def test_the_sticky_header_names_the_user_where_the_row_does_not() -> None:
    sent = Sent(NOW, b"u1")
    assert read({"metric": "conversion", "value": 1}, sent)[0].unit == U1
    assert read(one(user="u2"), sent)[0].unit == names.unit("u2", b"key")
    of_request = read({"metric": "conversion", "value": 1, "request_id": "r"}, sent)[0]
    assert (of_request.unit, of_request.request_id) == (None, "r")


def test_nobody_is_kept_as_written() -> None:
    assert "u1@example.com" not in repr(read([one(user="u1@example.com", id="u1@example.com")]))


def test_an_id_makes_a_key_for_its_metric() -> None:
    keys = [
        read(one(**fields))[0].key
        for fields in ({"id": "a"}, {"id": "b"}, {"id": "a", "metric": "revenue"}, {"id": 7}, {"id": "x" * 128})
    ]
    assert len({*keys}) == 5
    assert None not in keys
    assert read(one(id="a", value=0, user="u2"))[0].key == keys[0]
    assert read(one())[0].key is None


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (3, "must be an object with the fields metric, value, user"),
        (one(metric="convertion"), "there is no metric 'convertion'; did you mean 'conversion'?"),
        (one(metric="zzz"), "there is no metric 'zzz' (known: conversion, revenue)"),
        (one(metric=3), "there is no metric"),
        (one(metric=["conversion"]), "there is no metric"),
        ({"value": 1, "user": "u"}, "metric: is missing"),
        ({"metric": "conversion", "user": "u"}, "value: is missing"),
        (one(value="1"), "value: must be a number"),
        (one(value=2), "conversion is binary, so send 0, 1"),
        (one(value=0.5), "conversion is binary"),
        (one(metric="revenue", value=True), "revenue is continuous"),
        (one(metric="revenue", value=1e101), "value: must be between"),
        (one(valeu=1), "unknown field 'valeu'; did you mean 'value'?"),
        (one(request_id="r"), "either user or request_id, not both"),
        (one(user=None), "user: is missing"),
        (one(user=""), "user: must be a text that is not empty"),
        (one(user=" "), "user: must be a text that is not empty"),
        (one(user=True), "user: must be a text"),
        (one(user={}), "user: must be a text"),
        (one(user=None, request_id=""), "request_id: must be"),
        (one(user=None, request_id=7), "request_id: must be"),
        (one(user=None, request_id="a\nb"), "request_id: must be"),
        (one(at="yesterday"), "at: must be a time with its zone"),
        (one(at="2023-11-14T22:13:20"), "at: must be a time with its zone"),
        (one(at="2023-11-14"), "at: must be a time with its zone"),
        (one(at="0001-01-01T00:00:00+23:59"), "at: is longer ago"),
        (one(at=True), "at: must be a time with its zone"),
        (one(at=[]), "at: must be a time with its zone"),
        (one(at=NOW + 301), "at: is more than 5m in the future; see the sender's clock"),
        (one(at=NOW * 1000), "seconds, not milliseconds"),
        (one(at=NOW - 3601), "at: is longer ago than feedback is kept, 1h"),
        (one(id=""), "id: must be a text of 1 to 128 characters"),
        (one(id="x" * 129), "id: must be a text of 1 to 128 characters"),
        (one(id=1.5), "id: must be a text"),
    ],
)
def test_a_mistake(row: Any, says: str) -> None:
    with pytest.raises(Invalid) as wrong:
        read([one(), row, one()])
    (sentence,) = wrong.value.sentences
    assert sentence.startswith("row 2: ")
    assert says in sentence


def test_every_mistake_of_every_row() -> None:
    with pytest.raises(Invalid) as wrong:
        read([one(metric="revenu", at="x"), one(), {"value": "1", "id": ""}])
    assert [sentence.split(":")[0:2] for sentence in wrong.value.sentences] == [
        ["row 1", " metric"],
        ["row 1", " at"],
        ["row 3", " metric"],
        ["row 3", " value"],
        ["row 3", " user"],
        ["row 3", " id"],
    ]


def test_very_many_mistakes() -> None:
    with pytest.raises(Invalid) as wrong:
        read([one(value="1")] * 900)
    assert len(wrong.value.sentences) == 101
    assert wrong.value.sentences[-1] == "and more mistakes"
    with pytest.raises(Invalid) as wrong:
        read([one(value="1")] * 100)
    assert len(wrong.value.sentences) == 100


def test_mistakes_that_nobody_reads_are_not_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """They would take seconds of a server that answers everybody."""
    compared: list[str] = []
    monkeypatch.setattr(form, "get_close_matches", lambda name, *_: compared.append(name) or [])
    with pytest.raises(Invalid):
        read([one(metric="no-metric")] * MOST_ROWS)
    assert len(compared) == 101
    compared.clear()
    with pytest.raises(Invalid):
        read(one(metric="m" * 100_000, **{"f" * 100_000: 1}))
    assert not compared


def test_unknown_fields_are_one_mistake() -> None:
    fields = "metric, value, user, request_id, at, id, label, row"
    with pytest.raises(Invalid) as wrong:
        read(one(valeu=1, usre=2))
    assert wrong.value.sentences == (f"row 1: unknown fields 'valeu', 'usre'; a row may have {fields}",)
    with pytest.raises(Invalid) as wrong:
        read(one(**{f"{i:0100}": 1 for i in range(5000)}))
    (sentence,) = wrong.value.sentences
    assert sentence.endswith(f" and 4997 more; a row may have {fields}")
    assert len(sentence) < 300


def test_a_sticky_header_that_comes_several_times_names_nobody() -> None:
    with pytest.raises(Invalid, match="sticky header several times; send it once"):
        read({"metric": "conversion", "value": 1}, Sent(NOW, several=True))
    assert read(one(), Sent(NOW, several=True))[0].unit == U1


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b'{"value": NaN}', b"[" * 100_000, b'{"user": "\\ud800"}'])
def test_no_json(body: bytes) -> None:
    with pytest.raises(NotJson, match="the body is not JSON"):
        read(body)


def test_how_many_rows() -> None:
    assert len(read([one()] * MOST_ROWS)) == MOST_ROWS
    for listed in ([one()] * (MOST_ROWS + 1), []):
        with pytest.raises(Invalid, match="send 1 to 1000 at once"):
            read(listed)


def test_a_great_integer_and_a_deep_value() -> None:
    for value in (b"1" + b"0" * 400, b"[" * 500 + b"]" * 500):
        with pytest.raises(Invalid):
            read(b'{"metric": "revenue", "user": "u", "value": ' + value + b"}")
