"""A challenger that cannot be served: a sentence, the right exit code, traffic untouched, nothing left running."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = [pytest.mark.scenario, pytest.mark.timeout(200)]


@pytest.mark.parametrize(
    ("version", "sentence"),
    [
        pytest.param(4, "signature", id="no signature"),
        pytest.param(5, "answers the same row differently", id="answers at random"),
        pytest.param(7, "batch", id="frozen batch"),
    ],
)
def test_what_cannot_be_proven_is_not_served(workshop: Any, version: int, sentence: str) -> None:
    workshop.alias("challenger", version)
    done = workshop.cli("run")
    assert done.returncode == 12, done.stdout + done.stderr
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert workshop.processes() == []
    assert workshop.phase() == "failed/0"
    assert sentence in workshop.tags(version)["lockgate.decision"]
    assert workshop.aliases() == {"champion": 1, "challenger": version}


def test_outputs_beyond_the_tolerance(workshop: Any) -> None:
    workshop.spec["service"]["compile"] = {"targets": ["onnxruntime"], "parity": {"rtol": 0, "atol": 0}}
    workshop.write()
    done = workshop.cli("run")
    assert done.returncode == 12, done.stdout + done.stderr
    assert "output 'output', row " in done.stderr
    assert "they differ by" in done.stderr
    assert workshop.processes() == []
    assert "failed" in workshop.cli("history", "toy").stdout


def test_a_version_that_is_not_there(workshop: Any) -> None:
    workshop.spec["model"]["candidate"] = "@chalenger"
    workshop.write()
    done = workshop.cli("run")
    assert done.returncode == 12
    assert "@challenger" in done.stderr
    assert workshop.processes() == []


def test_a_service_that_does_not_become_ready_leaves_live_traffic_alone(workshop: Any) -> None:
    assert workshop.cli("up").returncode == 0
    before = {p.pid for p in workshop.processes()}
    workshop.spec["service"]["ready_within"] = "10ms"
    workshop.write()
    with workshop.traffic(50) as traffic:
        done = workshop.cli("run")
        workshop.until_answers(traffic, 0, 20)
    assert done.returncode == 12, done.stdout + done.stderr
    assert "not ready within" in done.stderr
    assert traffic.failures == []
    assert set(traffic.seen()) == {"1"}
    assert {p.pid for p in workshop.processes()} == before


def test_a_registry_that_does_not_answer(workshop: Any) -> None:
    workshop.env["MLFLOW_TRACKING_URI"] = "http://127.0.0.1:1"
    done = workshop.cli("run")
    assert done.returncode == 3, done.stdout + done.stderr
    assert "127.0.0.1:1" in done.stderr
    assert "Traceback" not in done.stderr
