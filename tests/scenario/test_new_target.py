"""The same version in another form is a rollout of its own: same steps, same gates, nobody's request fails."""

from __future__ import annotations

import time
from typing import Any

import pytest

pytestmark = [pytest.mark.scenario, pytest.mark.timeout(300)]


def served_as(workshop: Any) -> set[tuple[str, str]]:
    return {(info["version"], info["target"]) for info in workshop.replicas()}


def test_a_new_target_goes_through_the_steps_and_a_repeat_has_nothing_to_do(workshop: Any) -> None:
    workshop.alias("challenger", 1)
    workshop.spec["service"]["compile"] = {"targets": ["eager"]}
    workshop.write()
    assert workshop.cli("up").returncode == 0
    assert served_as(workshop) == {("1", "eager")}
    unchanged = workshop.cli("run")
    assert unchanged.returncode == 0
    assert "nothing to roll out" in unchanged.stdout

    workshop.spec["service"]["compile"] = {"targets": ["onnxruntime"]}
    workshop.write()
    again = workshop.cli("up")
    assert again.returncode == 0, again.stderr
    assert served_as(workshop) == {("1", "eager")}, "only a rollout changes what clients get"

    with workshop.traffic(rate=200) as traffic:
        done = workshop.cli("run")
        workshop.until_answers(traffic, time.time(), 100)
    assert done.returncode == 0, done.stdout + done.stderr
    assert traffic.failures == []
    assert {a.variant for a in traffic.answers} == {"stable", "candidate"}
    assert served_as(workshop) == {("1", "onnxruntime")}
    assert workshop.aliases()["champion"] == 1
    assert "previous" not in workshop.aliases()
    assert workshop.steps_entered(workshop.events()) == ["shadow 100 %", "canary 20 %", "canary 60 %"]

    unchanged = workshop.cli("run")
    assert unchanged.returncode == 0
    assert "serves as onnxruntime fp32 just as the spec wants it" in unchanged.stdout


def test_the_state_of_a_machine_that_was_restarted_is_known(workshop: Any) -> None:
    """Nothing runs, but what served last is still what a new target is rolled out against."""
    with workshop.traffic(rate=200):
        assert workshop.cli("up").returncode == 0
        assert workshop.cli("run").returncode == 0
    assert workshop.cli("down").returncode == 0
    workshop.spec["service"]["compile"] = {"targets": ["eager"]}
    workshop.write()
    assert workshop.cli("up").returncode == 0
    assert served_as(workshop) == {("2", "onnxruntime")}
