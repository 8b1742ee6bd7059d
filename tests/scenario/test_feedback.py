"""Feedback through whole commands: up, run, down, and a server that dies while a rollout is driven."""

from __future__ import annotations

import contextlib
import sqlite3
from typing import Any

import httpx
import psutil
import pytest

pytestmark = [pytest.mark.scenario, pytest.mark.timeout(500)]

HOLD = [{"canary": {"weight": 40, "hold": {"min_requests": 100, "duration": "15s"}, "timeout": "120s"}}]


def server(workshop: Any) -> psutil.Process | None:
    return next((p for p in workshop.processes() if "lockgate.monitoring.feedback.server" in p.cmdline()), None)


def tell(workshop: Any, name: str) -> int:
    body = {"metric": "conversion", "value": 1, "user": name, "id": name}
    url = workshop.url.replace("/predict", "/feedback")
    with contextlib.suppress(httpx.HTTPError):
        return httpx.post(url, json=body, trust_env=False, timeout=20).status_code
    return 0


def kept(workshop: Any) -> int:
    file = workshop.root / "home" / "toy" / "feedback" / "feedback.db"
    with contextlib.closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as db:
        return int(db.execute("select count(*) from feedback").fetchone()[0])


def test_feedback_is_taken_from_up_to_down_and_its_server_is_kept_alive(workshop: Any) -> None:
    workshop.write(steps=HOLD, metrics={"conversion": {"window": "10s"}})
    up = workshop.cli("up")
    assert up.returncode == 0, up.stderr
    assert f"feedback is taken on http://127.0.0.1:{workshop.port}/feedback" in up.stdout
    assert tell(workshop, "before") == 202
    first = server(workshop)
    assert first is not None
    with workshop.traffic() as traffic:
        run = workshop.start("run")
        workshop.until("the canary runs", lambda: workshop.reached("progressing/0"), 240)
        assert tell(workshop, "during") == 202
        assert server(workshop) == first
        first.kill()
        workshop.until("feedback is taken again", lambda: tell(workshop, "again") == 202)
        assert run.wait(150) == 0
    assert traffic.failures == []
    assert tell(workshop, "after") == 202  # what users do after a rollout is still told
    workshop.write(metrics={})
    assert workshop.cli("up").returncode == 0
    assert tell(workshop, "never") == 404  # the model has no such path
    assert server(workshop) is None
    assert workshop.cli("down").returncode == 0
    assert workshop.processes() == []
    assert kept(workshop) == 4


def test_down_ends_the_server(workshop: Any) -> None:
    workshop.write(metrics={"conversion": {"window": "10s"}})
    assert workshop.cli("up").returncode == 0
    assert tell(workshop, "u") == 202
    assert workshop.cli("down").returncode == 0
    assert server(workshop) is None
    assert kept(workshop) == 1
