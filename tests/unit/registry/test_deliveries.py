"""Deliveries as MLflow signs them, and as somebody else would like to."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

import pytest

from lockgate.registry.deliveries import LARGEST, BadDelivery, Deliveries, Event, Replayed, Seen

SECRET = "the secret of the webhook"  # noqa: S105 - of these tests
NOW = 1_800_000_000.25
TAG = {"name": "fraud", "version": "2", "key": "lockgate.approval", "value": "approved"}


def body(data: Any = TAG, entity: str = "model_version_tag", action: str = "set") -> bytes:
    said = {"entity": entity, "action": action, "timestamp": "2027-01-15T08:00:00.247589+00:00", "data": data}
    return json.dumps(said).encode()


def headers(content: bytes, delivery: str = "d-1", at: str = "1800000000", secret: str = SECRET) -> dict[str, str]:
    text = f"{delivery}.{at}.".encode() + content
    signature = base64.b64encode(hmac.new(secret.encode(), text, hashlib.sha256).digest()).decode()
    return {
        "X-MLflow-Signature": f"v1,{signature}",
        "X-MLflow-Delivery-Id": delivery,
        "X-MLflow-Timestamp": at,
        "Content-Type": "application/json",
    }


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "hooks" / "seen.db"


@pytest.fixture
def deliveries(path: Path) -> Deliveries:
    return Deliveries(SECRET, Seen(path))


def test_a_tag_that_was_set(deliveries: Deliveries) -> None:
    event = deliveries.take(headers(body()), body(), NOW)

    assert event == Event("model_version_tag", "set", "fraud", "2", key="lockgate.approval", value="approved")
    assert not event.test


def test_an_alias_that_was_moved(deliveries: Deliveries) -> None:
    content = body({"name": "fraud", "alias": "challenger", "version": "7"}, "model_version_alias", "created")

    event = deliveries.take(headers(content), content, NOW)

    assert event == Event("model_version_alias", "created", "fraud", "7", alias="challenger")


@pytest.mark.parametrize(
    ("data", "test"),
    [
        ({"name": "example_model", "version": "1", "key": "example_key", "value": "example_value"}, True),
        ({"name": "example_model", "version": "1", "alias": "example_alias"}, True),
        ({"name": "example_model", "tags": {"example_key": "example_value"}, "description": "An example"}, True),
        ({"name": "example_model", "version": "1", "key": "lockgate.approval", "value": "approved"}, False),
        ({"name": "fraud", "version": "1", "key": "example_key", "value": "example_value"}, False),
    ],
)
def test_mlflows_own_examples_are_told_apart(deliveries: Deliveries, data: Any, test: bool) -> None:  # noqa: FBT001
    content = body(data)

    assert deliveries.take(headers(content), content, NOW).test is test


def test_the_case_of_headers_does_not_matter(deliveries: Deliveries) -> None:
    assert deliveries.take({k.lower(): v for k, v in headers(body()).items()}, body(), NOW)


@pytest.mark.parametrize(
    "forged",
    [
        headers(body(), secret="another"),  # noqa: S106
        headers(body({**TAG, "value": "rejected"})),
        headers(body()) | {"X-MLflow-Delivery-Id": "d-2"},
        headers(body()) | {"X-MLflow-Timestamp": "1800000001"},
        headers(body()) | {"X-MLflow-Signature": ""},
        headers(body()) | {"X-MLflow-Signature": headers(body())["X-MLflow-Signature"].removeprefix("v1,")},
        headers(body()) | {"X-MLflow-Signature": "v1,é\udcff"},
        {k: v for k, v in headers(body()).items() if k != "X-MLflow-Signature"},
    ],
    ids=["secret", "body", "id", "time", "empty", "version", "not ascii", "none"],
)
def test_what_mlflow_did_not_sign_is_refused(deliveries: Deliveries, forged: dict[str, str]) -> None:
    with pytest.raises(BadDelivery, match="signature does not hold"):
        deliveries.take(forged, body(), NOW)

    assert deliveries.take(headers(body()), body(), NOW), "and what it claimed to be is still taken"


@pytest.mark.parametrize("missing", ["X-MLflow-Delivery-Id", "X-MLflow-Timestamp"])
@pytest.mark.parametrize("value", ["", None])
def test_what_has_no_id_or_time_is_refused(deliveries: Deliveries, missing: str, value: str | None) -> None:
    there = headers(body())
    del there[missing]
    if value is not None:
        there[missing] = value

    with pytest.raises(BadDelivery, match="no id or no time"):
        deliveries.take(there, body(), NOW)


@pytest.mark.parametrize("at", ["soon", "-1800000000", "1800000000.0", "١٨٠٠٠٠٠٠٠٠", "1" * 13, "+1800000000"])
def test_a_time_that_is_no_number_is_refused(deliveries: Deliveries, at: str) -> None:
    with pytest.raises(BadDelivery, match="no id or no time"):
        deliveries.take(headers(body(), at=at), body(), NOW)


def test_an_id_that_is_too_long_is_refused(deliveries: Deliveries) -> None:
    with pytest.raises(BadDelivery, match="no id or no time"):
        deliveries.take(headers(body(), delivery="d" * 101), body(), NOW)


@pytest.mark.parametrize("seconds", [-300, 300])
def test_times_may_differ_by_five_minutes(deliveries: Deliveries, seconds: int) -> None:
    there = headers(body())

    with pytest.raises(BadDelivery, match="301 seconds from ours"):
        deliveries.take(there, body(), 1_800_000_000 + seconds + (1 if seconds > 0 else -1))
    assert deliveries.take(there, body(), 1_800_000_000 + seconds)


def test_a_delivery_is_taken_once(deliveries: Deliveries) -> None:
    deliveries.take(headers(body()), body(), NOW)

    for later in (0, 7, 299):
        with pytest.raises(Replayed, match="taken before"):
            deliveries.take(headers(body()), body(), NOW + later)
    assert deliveries.take(headers(body(), delivery="d-2"), body(), NOW), "the next one is another"


def test_a_restart_forgets_none(deliveries: Deliveries, path: Path) -> None:
    deliveries.take(headers(body()), body(), NOW)

    with pytest.raises(Replayed):
        Deliveries(SECRET, Seen(path)).take(headers(body()), body(), NOW + 5)


def test_ids_are_forgotten_when_their_time_is_over_and_not_before(path: Path) -> None:
    seen = Seen(path)
    early, late = int(NOW) + 290, int(NOW) + 700
    assert seen.first("from a fast clock", early, NOW)
    for step in range(20):
        assert seen.first(f"d-{step}", late, early + 300)
        assert not seen.first("from a fast clock", early, early + 300), "its time would still be accepted"
    assert len(ids(path)) == 21

    assert seen.first("much later", late, early + 302)
    assert "from a fast clock" not in ids(path)
    assert not seen.first("from a fast clock", early, NOW), "nor when the clock is set back"


def test_memory_is_bounded_and_what_had_to_go_is_not_taken_again(path: Path) -> None:
    seen, at = Seen(path, most=10), int(NOW)
    for second in range(50):
        assert seen.first(f"d-{second}", at + second, NOW + second)
    assert len(ids(path)) == 10

    assert not [second for second in range(50) if seen.first(f"d-{second}", at + second, NOW + 50)]
    assert seen.first("new", at + 50, NOW + 50)


def test_many_in_one_second_beyond_the_bound_are_refused_rather_than_repeated(path: Path) -> None:
    seen, at = Seen(path, most=3), int(NOW)
    taken = [seen.first(f"d-{n}", at, NOW) for n in range(6)]

    assert taken == [True, True, True, True, False, False]
    assert not any(seen.first(f"d-{n}", at, NOW) for n in range(6))
    assert seen.first("the next second", at + 1, NOW)


def test_a_file_that_cannot_be_written_takes_nothing(path: Path) -> None:
    deliveries = Deliveries(SECRET, Seen(path))
    path.write_bytes(b"this is no database, it is a text that somebody put here" * 10)

    with pytest.raises(BadDelivery, match=r"cannot be remembered in .*seen\.db"):
        deliveries.take(headers(body()), body(), NOW)


def test_a_large_body_is_refused_before_anything_is_read_of_it(deliveries: Deliveries) -> None:
    content = body({**TAG, "value": "x" * LARGEST})
    with pytest.raises(BadDelivery, match="larger than 65536 bytes"):
        deliveries.take(headers(content), content, NOW)

    fits = body({**TAG, "value": "x" * (LARGEST - len(body({**TAG, "value": ""})))})
    assert len(fits) == LARGEST
    assert deliveries.take(headers(fits), fits, NOW)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "no JSON"),
        (b"{", "no JSON"),
        (b"\xff\xfe", "no JSON"),
        (b"[" * 60_000, "no JSON"),
        (b"[]", "names no model"),
        (b"null", "names no model"),
        (b"{}", "names no model"),
        (body([]), "names no model"),
        (body({}), "names no model"),
        (body({"name": 7}), "names no model"),
        (body({"name": ""}), "names no model"),
    ],
)
def test_what_cannot_be_read_is_refused_although_it_is_signed(deliveries: Deliveries, content: bytes, why: str) -> None:
    with pytest.raises(BadDelivery, match=why):
        deliveries.take(headers(content), content, NOW)


def test_values_of_another_type_are_empty(deliveries: Deliveries) -> None:
    content = body({"name": "fraud", "version": 2, "key": None, "value": ["x"]}, entity="model_version_tag")

    assert deliveries.take(headers(content), content, NOW) == Event("model_version_tag", "set", "fraud")


def test_no_sentence_holds_what_was_sent(deliveries: Deliveries) -> None:
    content = body({**TAG, "name": "", "value": "s3cret"})
    for there, sent in ((headers(content), content), (headers(content, secret="s3cret"), content)):  # noqa: S106
        with pytest.raises(BadDelivery) as refused:
            deliveries.take(there, sent, NOW)
        assert "s3cret" not in str(refused.value)


def test_a_webhook_without_a_secret_is_none(path: Path) -> None:
    with pytest.raises(ValueError, match="anybody can send them"):
        Deliveries("", Seen(path))


def ids(path: Path) -> set[str]:
    import sqlite3
    from contextlib import closing

    with closing(sqlite3.connect(path)) as db:
        return {row[0] for row in db.execute("SELECT id FROM seen")}
