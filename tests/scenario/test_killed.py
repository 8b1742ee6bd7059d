"""`kill -9` of the controller in every phase: traffic goes on, and the same rollout is resumed where it was."""

from __future__ import annotations

import signal
import time
from typing import Any

import pytest

pytestmark = [pytest.mark.scenario, pytest.mark.timeout(300)]


PHASES = ("building/0", "progressing/0", "progressing/1", "progressing/2", "promoting/2")
ONE_STEP = [{"canary": {"weight": 30, "hold": {"min_requests": 300}, "timeout": "120s"}}]
"""Ten seconds: time enough for something to die in it."""


def test_killed_in_every_phase_on_the_way_up(workshop: Any) -> None:
    """One rollout, five drivers that are killed, each in the phase to which the one before could not bring it."""
    assert workshop.cli("up").returncode == 0
    before: list[dict[str, Any]] = []
    with workshop.traffic() as traffic:
        for phase in PHASES:
            driver = workshop.start("run")
            workshop.until(f"the rollout is {phase}", lambda now=phase: workshop.reached(now), 90, 0.01)
            driver.kill()
            assert driver.wait() == -signal.SIGKILL, f"ended before it was {phase}"
            killed_at = time.time()
            after = workshop.events()
            assert after[: len(before)] == before
            before = after
            workshop.until_answers(traffic, killed_at, 50)
        done = workshop.cli("run")
        workshop.until_answers(traffic, time.time(), 50)
    assert done.returncode == 0, done.stdout + done.stderr
    assert traffic.failures == []
    after = workshop.events()
    assert after[: len(before)] == before
    assert [e["what"] for e in after].count("built") == 1
    assert [e["what"] for e in after].count("opened") == 1
    assert workshop.steps_entered(after) == ["shadow 100 %", "canary 20 %", "canary 60 %"]
    assert workshop.aliases()["champion"] == 2
    assert {r["version"] for r in workshop.replicas()} == {"2"}


def test_killed_on_the_way_back(workshop: Any) -> None:
    workshop.alias("challenger", 3)
    workshop.write(gates={"errors": {"metric": "error_rate", "margin": "3%"}})
    assert workshop.cli("up").returncode == 0
    with workshop.traffic() as traffic:
        first = workshop.start("run")
        workshop.until("it is rolling back", lambda: workshop.reached("rolling_back/0"), 90)
        first.kill()
        first.wait()
        done = workshop.cli("sweep")
        assert "rolled back" in done.stdout, done.stdout + done.stderr
        workshop.until_answers(traffic, time.time(), 50)
    assert workshop.phase() == "rolled_back/0"
    assert traffic.failures == []
    assert workshop.aliases()["champion"] == 1
    assert {r["version"] for r in workshop.replicas()} == {"1"}


def test_two_controllers_never_both_act(workshop: Any) -> None:
    workshop.write(steps=[{"canary": {"weight": 30, "hold": {"min_requests": 100_000}, "timeout": "1h"}}])
    first = workshop.start("run")
    workshop.until("the first one drives", lambda: workshop.reached("progressing/0"), 90)
    second = workshop.cli("run")
    assert second.returncode == 13, second.stdout + second.stderr
    assert "driven by" in second.stderr
    assert workshop.cli("promote", "toy").returncode == 0
    assert first.wait(120) == 0
    assert workshop.aliases()["champion"] == 2


def test_a_dead_router_and_a_dead_stable_come_back(workshop: Any) -> None:
    """The clients of the moment see the gap; what counts here is that the rollout finds its way."""
    workshop.write(steps=ONE_STEP)
    assert workshop.cli("up").returncode == 0
    with workshop.traffic():
        first = workshop.start("run")
        workshop.until("the canary runs", lambda: workshop.reached("progressing/0"), 90)
        next(p for p in workshop.processes() if p.name() == "envoy").kill()
        workshop.until("the router is back", workshop.answers, 30)
        workshop.kill_replicas("1")
        assert first.wait(150) == 0, (workshop.root / "run-0.log").read_text()
    assert workshop.aliases()["champion"] == 2


def test_a_candidate_that_dies_is_rolled_back_and_nobody_notices(workshop: Any) -> None:
    workshop.write(steps=ONE_STEP)
    assert workshop.cli("up").returncode == 0
    with workshop.traffic() as traffic:
        first = workshop.start("run")
        workshop.until("the canary runs", lambda: workshop.reached("progressing/0"), 90)
        workshop.kill_replicas("2")
        assert first.wait(150) == 10, (workshop.root / "run-0.log").read_text()
    assert traffic.failures == []
    assert workshop.aliases()["champion"] == 1
