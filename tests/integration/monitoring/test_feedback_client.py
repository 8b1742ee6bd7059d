"""The client, against a feedback server and against what is none."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import httpx
import numpy as np
import pytest

from lockgate.monitoring.feedback import client as clients
from lockgate.monitoring.feedback.client import Feedback, Taken
from lockgate.monitoring.feedback.errors import Refused, Unavailable
from lockgate.monitoring.feedback.names import unit
from lockgate.monitoring.feedback.store import Reader

KEY = b"\x00\xff"


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    paused: list[float] = []
    monkeypatch.setattr(clients, "sleep", paused.append)
    return paused


class Shaky(httpx.BaseTransport):
    """Loses answers: the first `losses` requests reach the server, and their answers never come back."""

    def __init__(self, inner: httpx.BaseTransport, losses: int) -> None:
        self.inner, self.losses = inner, losses

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        answer = self.inner.handle_request(request)
        if self.losses:
            self.losses -= 1
            answer.read()
            raise httpx.ReadError("the connection was lost")
        return answer

    def close(self) -> None:
        self.inner.close()


def client_of(server: Any, losses: int = 0) -> Feedback:
    return Feedback("http://rollout", 20.0, transport=Shaky(httpx.HTTPTransport(uds=str(server.socket)), losses))


@pytest.fixture
def feedback(server: Any) -> Iterator[Feedback]:
    with client_of(server) as found:
        yield found


def stored(server: Any) -> list[Any]:
    return Reader(server.folder / "feedback.db").after(0)


def test_one_and_many(server: Any, feedback: Feedback) -> None:
    at = datetime(2100, 1, 1, tzinfo=UTC)
    assert feedback.send("conversion", 1, user="u1") == Taken(1, 0)
    assert feedback.send("conversion", 1.0, request_id="r", id="a") == Taken(1, 0)
    assert feedback.send("conversion", 1.0, request_id="r", id="a") == Taken(0, 1)
    with pytest.raises(Refused, match="in the future"):
        feedback.send("conversion", 1, user=1, at=at)
    rows = [{"metric": "revenue", "value": value, "user": "u"} for value in (np.float32(1.5), np.int64(2), Decimal(3))]
    assert feedback.send_many(rows) == Taken(3, 0)
    assert feedback.send_many([]) == Taken(0, 0)
    found = [row.row for row in stored(server)]
    assert [row.value for row in found] == [1.0, 1.0, 1.5, 2.0, 3.0]
    assert found[0].unit == unit("u1", KEY)


def test_what_has_to_be_repeated_counts_once(server: Any) -> None:
    with client_of(server, losses=2) as feedback:
        assert feedback.send_many([{"metric": "conversion", "value": 1, "user": str(i)} for i in range(5)]) == Taken(
            0, 5
        )
    assert len(stored(server)) == 5


def test_many_go_in_parts(server: Any, feedback: Feedback) -> None:
    assert feedback.send_many({"metric": "conversion", "value": 1, "user": i} for i in range(2500)) == Taken(2500, 0)
    assert len(stored(server)) == 2500
    long = ({"metric": "conversion", "value": 1, "user": f"{i}" + "x" * 2000} for i in range(900))
    assert feedback.send_many(long) == Taken(900, 0)


def test_refused_in_the_servers_words(server: Any, feedback: Feedback, no_pause: list[float]) -> None:
    with pytest.raises(Refused) as refused:
        feedback.send_many([{"metric": "conversion", "value": 1, "user": "u"}, {"metric": "conversio", "value": 1}])
    assert refused.value.status == 422
    assert refused.value.sentences == (
        "row 2: metric: there is no metric 'conversio'; did you mean 'conversion'?",
        "row 2: user: is missing; send user or request_id, or the sticky header with the request",
    )
    assert stored(server) == []
    assert no_pause == []


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object(), "\ud800"])
def test_what_cannot_be_sent(server: Any, feedback: Feedback, value: Any) -> None:
    with pytest.raises(Refused):
        feedback.send("conversion", value, user="u")
    assert stored(server) == []


def test_it_tries_again_while_there_is_no_server(no_pause: list[float]) -> None:
    with Feedback("http://127.0.0.1:1") as feedback, pytest.raises(Unavailable, match="cannot be reached"):
        feedback.send("conversion", 1, user="u")
    assert len(no_pause) == 3
    assert no_pause == sorted(no_pause)


@pytest.mark.parametrize(
    ("status", "body", "raised", "says", "attempts"),
    [
        (503, {"errors": ["the disk is full"]}, Unavailable, "the disk is full", 4),
        (503, "no healthy upstream", Unavailable, "it answers 503", 4),
        (502, "", Unavailable, "it answers 502", 4),
        (404, "not found", Refused, "answers 404, not as Lockgate does", 1),
        (422, {"detail": "of somebody else"}, Refused, "not as Lockgate does", 1),
        (200, "<html>", Refused, "not as Lockgate does", 1),
        (413, {"errors": ["too long"]}, Refused, "too long", 1),
    ],
)
def test_other_answers(status: int, body: object, raised: type[Exception], says: str, attempts: int) -> None:
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(status, content=body if isinstance(body, str) else json.dumps(body))

    with Feedback("http://user:s3cret@rollout:1/tok3n/", transport=httpx.MockTransport(answer)) as feedback:
        with pytest.raises(raised, match=says) as error:
            feedback.send("conversion", 1, user="u")
        assert len({request.content for request in asked}) == 1
    assert len(asked) == attempts
    assert str(asked[0].url) == "http://user:s3cret@rollout:1/tok3n/feedback"
    assert "s3cret" not in str(error.value)
    assert "tok3n" not in str(error.value)


def test_it_imports_nothing_heavy() -> None:
    heavy = "numpy pandas pyarrow sqlalchemy sqlite3 starlette uvicorn mlflow prefect bentoml pydantic"
    script = (
        f"import sys, lockgate.monitoring.feedback.client; print(sorted(set({heavy.split()!r}) & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


def test_times_go_as_they_are(server: Any, feedback: Feedback) -> None:
    now = datetime.now(UTC)
    for at in (now, now.isoformat(), now.timestamp()):
        assert feedback.send("conversion", 1, user="u", at=at) == Taken(1, 0)
    assert {row.row.at for row in stored(server)} == {now.timestamp()}
    with pytest.raises(Refused, match="a time with its zone"):
        feedback.send("conversion", 1, user="u", at=now.replace(tzinfo=None))
