"""What the server answers where a real client would have to be very slow, or there would have to be a bug."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Never

import pytest

from lockgate.monitoring.feedback import app as apps
from lockgate.monitoring.feedback.app import Intake, app
from lockgate.monitoring.feedback.settings import Watched
from lockgate.monitoring.feedback.store import Reader, Store
from lockgate.monitoring.feedback.writer import Writer

SETTINGS = {"metrics": {"conversion": {"kind": "binary"}}, "key": "00ff", "keep": 60, "header": "x-user-id"}
ONE = json.dumps({"metric": "conversion", "value": 1, "user": "secret-user"}).encode()


@pytest.fixture
def intake(tmp_path: Path) -> Iterator[Intake]:
    (tmp_path / "settings.json").write_text(json.dumps(SETTINGS))
    with Writer(Store(tmp_path / "f.db"), lambda: None) as writer:
        yield Intake(Watched(tmp_path / "settings.json"), writer, Reader(tmp_path / "f.db"))


def asked(intake: Intake, *pieces: bytes, gone: bool = False) -> int:
    """The status of the answer to a body that comes in pieces and, without a last one, never ends."""
    scope = {"type": "http", "method": "POST", "path": "/feedback", "query_string": b"", "headers": []}
    answers: list[dict[str, Any]] = []
    waiting = iter(pieces)

    async def receive() -> dict[str, Any]:
        piece = next(waiting, None)
        if piece is not None:
            return {"type": "http.request", "body": piece, "more_body": piece != ONE}
        if gone:
            return {"type": "http.disconnect"}
        return await asyncio.Future()

    async def send(message: Any) -> None:
        answers.append(message)

    asyncio.run(app(intake)(scope, receive, send))
    return int(answers[0]["status"])


def test_a_body_that_does_not_end(intake: Intake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apps, "_BODY_SECONDS", 0.01)
    assert asked(intake, b"{") == 408
    assert asked(intake, ONE) == 202


def test_a_client_that_goes(intake: Intake, caplog: pytest.LogCaptureFixture) -> None:
    assert asked(intake, b"{", gone=True) == 400
    assert caplog.messages == []


def test_too_many_at_once(intake: Intake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apps, "_MOST_AT_ONCE", 1)
    assert asked(intake, ONE) == asked(intake, ONE) == 202  # one after the other
    monkeypatch.setattr(apps, "_MOST_AT_ONCE", 0)
    assert asked(intake, ONE) == 503


def test_a_full_database(intake: Intake, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything of the body is read."""
    assert asked(intake, ONE) == 202  # what its writer does at the start is done
    intake.writer.size = 2**30
    monkeypatch.setattr(apps, "_rows", None)
    assert asked(intake, ONE) == 503
    intake.writer.size = 0
    monkeypatch.undo()
    assert asked(intake, ONE) == 202


def test_a_long_body_is_read_beside_the_loop(intake: Intake, monkeypatch: pytest.MonkeyPatch) -> None:
    readers: list[str] = []
    rows = apps.form.rows

    def seen(*given: Any) -> Any:
        readers.append(threading.current_thread().name)
        return rows(*given)

    monkeypatch.setattr(apps.form, "rows", seen)
    assert asked(intake, b" " * 2**15, ONE) == asked(intake, ONE) == 202
    assert readers[0].startswith("feedback-form")
    assert readers[1] == threading.current_thread().name


def test_a_bug_repeats_no_row(
    intake: Intake, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(body: bytes, *_: Any) -> Never:
        raise RuntimeError(body.decode())

    with monkeypatch.context() as patched:
        patched.setattr(apps.form, "rows", broken)
        assert asked(intake, ONE) == asked(intake, ONE) == 500
    assert caplog.messages == ["a request could not be answered (RuntimeError); please report it"]
    assert "secret-user" not in caplog.text
    assert asked(intake, ONE) == 202
