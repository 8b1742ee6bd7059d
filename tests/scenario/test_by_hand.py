"""A person's word: pause, resume, promote, abort, and what the commands print."""

from __future__ import annotations

import json
from typing import Any

import pytest

pytestmark = [pytest.mark.scenario, pytest.mark.timeout(200)]

WAITS = [{"canary": {"weight": 30, "hold": {"min_requests": 100_000}, "timeout": "1h"}}]


def test_pause_resume_and_promote(workshop: Any) -> None:
    workshop.write(steps=WAITS)
    driver = workshop.start("run")
    workshop.until("the canary runs", lambda: workshop.reached("progressing/0"), 90)
    assert "recorded" in workshop.cli("pause", "toy", "-m", "lunch").stdout
    assert workshop.status()["paused"]
    assert workshop.cli("resume", "toy").returncode == 0
    assert not workshop.status()["paused"]
    assert workshop.cli("promote", "toy", "--comment", "I looked").returncode == 0
    assert driver.wait(60) == 0
    said = [(e["what"], e.get("comment")) for e in workshop.events()]
    assert ("pause", "lunch") in said
    assert ("promote", "I looked") in said
    assert workshop.aliases()["champion"] == 2
    again = workshop.cli("promote", "toy")
    assert again.returncode == 2
    assert "succeeded" in again.stderr


def test_abort(workshop: Any) -> None:
    workshop.write(steps=WAITS)
    driver = workshop.start("run")
    workshop.until("the canary runs", lambda: workshop.reached("progressing/0"), 90)
    assert workshop.cli("abort", "toy").returncode == 0
    assert driver.wait(60) == 10
    assert workshop.aliases()["champion"] == 1
    assert workshop.status()["phase"] == "rolled_back"
    assert "rolled back" in workshop.cli("status").stdout
    assert "abort" in workshop.cli("history", "toy").stdout


def test_abort_while_it_is_built(workshop: Any) -> None:
    driver = workshop.start("run")
    workshop.until("it is being built", lambda: workshop.reached("building/0"), 60)
    assert workshop.cli("abort", "toy").returncode == 0
    assert driver.wait(120) == 10
    assert workshop.status()["phase"] == "failed"
    assert workshop.status()["closed_at"]
    assert {r["version"] for r in workshop.replicas()} <= {"1"}


def test_another_spec_while_a_rollout_is_open(workshop: Any) -> None:
    workshop.write(steps=WAITS)
    driver = workshop.start("run")
    workshop.until("the canary runs", lambda: workshop.reached("progressing/0"), 90)
    workshop.write(profile="strict")
    done = workshop.cli("run")
    assert done.returncode == 13
    assert "another version of the spec" in done.stderr
    down = workshop.cli("down")
    assert down.returncode == 13
    assert "driven by" in down.stderr
    workshop.cli("abort", "toy")
    assert driver.wait(60) == 10


def test_reading_commands_speak_json(workshop: Any) -> None:
    planned = json.loads(workshop.cli("plan", "--json").stdout)
    assert (planned["stable"]["version"], planned["candidate"]["version"]) == ("1", "2")
    assert json.loads(workshop.cli("status", "--json").stdout) == []
    assert {c["part"] for c in json.loads(workshop.cli("doctor", "--json").stdout)} >= {"envoy", "mlflow", "registry"}
    unknown = workshop.cli("status", "nobody")
    assert unknown.returncode == 2
    assert "nobody" in unknown.stderr
