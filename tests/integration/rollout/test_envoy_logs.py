"""Access logs stay within bounds, and no row is lost over it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lockgate.rollout.envoy import logs
from lockgate.rollout.envoy.admin import Admin
from lockgate.rollout.errors import RouterDown
from lockgate.rollout.words import WHOLE


def rows(log: Path) -> list[str]:
    """The request ids in every file of a log."""
    files = [log, *log.parent.glob(f"{log.stem}.*.jsonl")]
    return [json.loads(line)["request_id"] for file in files if file.exists() for line in file.read_text().splitlines()]


def test_no_row_is_lost_while_logs_are_moved_aside_under_load(
    plane: Any, eventually: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "KEPT", 100)
    at = plane.router.at
    plane.router.apply(plane.routes(mirror=WHOLE))
    clients = plane.clients()
    with clients.load(connections=8):
        for count in range(1, 6):
            eventually(lambda: at.access_log.exists() and at.access_log.stat().st_size, lambda size: size > 4096)
            logs.rotate(at, largest=4096)
            eventually(lambda seen=clients.sent: clients.sent - seen, lambda more: more > 50)
            assert len(list(at.access_log.parent.glob("access.*.jsonl"))) >= count
    assert clients.failed == 0
    answered = eventually(lambda: rows(at.access_log), lambda found: len(found) >= clients.sent)
    assert len(answered) == len(set(answered)) == clients.sent
    copies = eventually(lambda: rows(at.upstream_log), lambda found: len(found) >= 2 * clients.sent)
    assert len(copies) == 2 * clients.sent  # one row for each request, and one for its copy


def test_as_many_files_are_kept_as_there_may_be(plane: Any, eventually: Any) -> None:
    log = plane.router.at.access_log
    for _ in range(logs.KEPT + 2):
        plane.post(times=2)
        eventually(lambda: log.exists() and log.stat().st_size, bool)
        logs.rotate(plane.router.at, largest=1)
    kept = sorted(path.name for path in log.parent.glob("access*.jsonl"))
    assert kept == ["access.1.jsonl", "access.2.jsonl", "access.3.jsonl", "access.jsonl"]
    logs.rotate(plane.router.at)
    assert sorted(path.name for path in log.parent.glob("access*.jsonl")) == kept


def test_what_was_moved_before_a_kill_is_set_aside_first(plane: Any, eventually: Any) -> None:
    """Envoy was not told yet, and writes into the file that was moved; no file has the log's name."""
    log, at = plane.router.at.access_log, plane.router.at
    plane.post(times=2)
    eventually(lambda: log.exists() and rows(log), lambda found: found and len(found) == 2)
    log.rename(log.with_suffix(".0.jsonl"))
    logs.rotate(at)
    plane.post(times=3)
    eventually(lambda: log.exists() and rows(log), lambda found: found and len(found) == 5)
    assert sorted(path.name for path in log.parent.glob("access*.jsonl")) == ["access.1.jsonl", "access.jsonl"]


def test_an_envoy_that_was_told_and_did_not_answer_loses_nothing(plane: Any, eventually: Any) -> None:
    """It writes to a new file already, and the one that was moved must not be moved over."""
    log, at = plane.router.at.access_log, plane.router.at
    plane.post(times=2)
    eventually(lambda: log.exists() and rows(log), lambda found: found and len(found) == 2)
    log.rename(log.with_suffix(".0.jsonl"))
    Admin(at).post("/reopen_logs")
    plane.post(times=3)
    eventually(lambda: log.exists() and rows(log), lambda found: found and len(found) == 5)
    logs.rotate(at, largest=1)
    plane.post(times=1)
    eventually(lambda: log.exists() and rows(log), lambda found: found and len(found) == 6)
    kept = ["access.1.jsonl", "access.2.jsonl", "access.jsonl"]
    assert sorted(path.name for path in log.parent.glob("access*.jsonl")) == kept


def test_an_envoy_that_does_not_listen_loses_nothing(plane: Any, eventually: Any) -> None:
    """One that was started by a Lockgate without this refuses; one that died does not answer."""
    log = plane.router.at.access_log
    plane.post(times=2)
    eventually(lambda: rows(log), lambda found: len(found) == 2)
    bootstrap = json.loads(plane.router.at.bootstrap.read_text())
    bootstrap["admin"]["address"]["pipe"]["path"] += "-gone"
    plane.router.at.bootstrap.write_text(json.dumps(bootstrap))
    with pytest.raises(RouterDown, match="does not answer"):
        logs.rotate(plane.router.at, largest=1)
    assert len(rows(log)) == 2
    assert [path.name for path in log.parent.glob("access*")] == ["access.jsonl"]
