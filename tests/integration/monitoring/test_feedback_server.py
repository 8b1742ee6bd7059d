"""The feedback server as it runs: a process, a unix socket, a database."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lockgate.monitoring.feedback.names import once, unit
from lockgate.monitoring.feedback.store import Reader, Row

KEY = b"\x00\xff"
ONE = {"metric": "conversion", "value": 1, "user": "secret-user"}


def stored(server: Any) -> list[Row]:
    return [found.row for found in Reader(server.folder / "feedback.db").after(0, 10**6)]


def test_what_is_told_is_kept(server: Any) -> None:
    before = time.time()
    answer = server.post([ONE, {"metric": "revenue", "value": 2.5, "request_id": "r", "at": before, "id": "a"}])
    assert (answer.status_code, answer.json()) == (202, {"accepted": 2, "known": 0})
    first, second = stored(server)
    assert (first.metric, first.value, first.unit, first.key) == ("conversion", 1.0, unit("secret-user", KEY), None)
    assert before <= first.at <= time.time()
    assert second == Row("revenue", 2.5, before, "r", None, once("revenue", "a", KEY))


def test_the_sticky_header_is_the_user(server: Any) -> None:
    for value in ("u1", "ü"):
        answer = server.post({"metric": "conversion", "value": 1}, headers=[("X-User-Id", value.encode())])
        assert answer.status_code == 202
    assert [row.unit for row in stored(server)] == [unit("u1", KEY), unit("ü", KEY)]


def test_several_sticky_headers_are_nobody(server: Any) -> None:
    """The router takes them for a user of their own."""
    headers = [("x-user-id", "u1"), ("x-user-id", "u2")]
    answer = server.post({"metric": "conversion", "value": 1}, headers=headers)
    assert answer.status_code == 422
    assert "send it once" in answer.json()["errors"][0]
    assert server.post(ONE, headers=headers).status_code == 202
    assert [row.unit for row in stored(server)] == [unit("secret-user", KEY)]


def test_a_full_database_says_what_to_do(server: Any) -> None:
    server.settle(max_size=8192)
    assert server.post([ONE] * 1000).status_code == 202
    answer = server.post(ONE)
    assert answer.status_code == 503
    assert "raise monitoring.capture.max_size" in answer.json()["errors"][0]
    server.settle(max_size=2**20)
    assert server.post(ONE).status_code == 202
    assert len(stored(server)) == 1001


def test_the_same_again_counts_once(server: Any) -> None:
    row = {**ONE, "id": "a"}
    assert server.post(row).json() == {"accepted": 1, "known": 0}
    assert server.post([row, {**row, "id": "b"}]).json() == {"accepted": 1, "known": 1}
    assert len(stored(server)) == 2


def test_of_a_body_with_a_mistake_nothing_is_kept(server: Any) -> None:
    answer = server.post([ONE, {**ONE, "metric": "convers"}])
    assert answer.status_code == 422
    assert answer.json() == {"errors": ["row 2: metric: there is no metric 'convers'; did you mean 'conversion'?"]}
    assert stored(server) == []
    with server.client() as client:
        assert client.get("/ready").json() == {"rows": 0}


def pieces() -> Iterator[bytes]:
    for _ in range(40):
        yield b" " * 2**15


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"no json", "application/json", 400),
        (b"", "application/json", 400),
        (b"{}", "text/plain", 415),
        (b"[" + b" " * 2**20 + b"]", "application/json", 413),
        (pieces, "application/json", 413),
        (b"{}", "application/json", 422),
        (json.dumps(ONE).encode(), "Application/JSON; charset=utf-8", 202),
        (json.dumps(ONE).encode(), "", 202),
    ],
)
def test_what_is_answered(server: Any, content: Any, kind: str, status: int) -> None:
    with server.client() as client:
        body = content() if callable(content) else content
        answer = client.post("/feedback", content=body, headers={"content-type": kind})
        assert answer.status_code == status
        assert bool(answer.json().get("errors")) == (status != 202)
        assert client.get("/ready").status_code == 200
    assert len(stored(server)) == (status == 202)


def test_other_ways_in(server: Any) -> None:
    with server.client() as client:
        assert client.get("/feedback").status_code == 405
        assert client.post("/ready").status_code == 405
        assert client.post("/other", json=ONE).status_code == 404


def test_only_the_owner_gets_in(server: Any) -> None:
    server.post(ONE)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in server.folder.iterdir()}
    assert modes["s.sock"] == modes["feedback.db"] == modes["feedback.db-wal"] == modes["server.lock"] == 0o600


def test_settings_are_followed_while_it_runs(server: Any) -> None:
    assert server.post({**ONE, "metric": "clicks"}).status_code == 422
    server.settle(metrics={"clicks": {"kind": "binary"}})
    assert server.post({**ONE, "metric": "clicks"}).status_code == 202
    (server.folder / "settings.json").write_text("{")
    assert server.post({**ONE, "metric": "clicks"}).status_code == 202
    assert server.post(ONE).status_code == 422
    assert server.log.count("settings.json cannot be used") == 1


def test_without_settings_it_takes_nothing(folder: Path, started: Callable[[], Any]) -> None:
    (folder / "settings.json").unlink()
    server = started()
    answer = server.post(ONE)
    assert answer.status_code == 503
    assert "is not set up here yet" in answer.json()["errors"][0]
    server.settle()
    assert server.post(ONE).status_code == 202


def test_a_second_server_says_so_and_ends(server: Any) -> None:
    command = [sys.executable, "-m", "lockgate.monitoring.feedback.server", server.folder, server.socket]
    second = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert second.returncode == 0
    assert "runs for" in second.stderr
    assert server.post(ONE).status_code == 202


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        ([], 2, "usage: python -m"),
        (["{folder}", "{folder}/settings.json"], 1, "is a file and no socket"),
        (["{folder}", "{folder}/" + "x" * 120], 1, "name a shorter path"),
        (["{folder}", "{folder}/none/s.sock"], 1, "cannot be listened on"),
        (["{folder}/settings.json", "{folder}/s.sock"], 1, "exists"),
    ],
)
def test_what_it_cannot_serve(folder: Path, arguments: list[str], code: int, says: str) -> None:
    given = [argument.format(folder=folder) for argument in arguments]
    command = [sys.executable, "-m", "lockgate.monitoring.feedback.server", *given]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == code
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert (folder / "settings.json").exists()
