"""A challenger that cannot be served: a sentence, the right exit code, traffic untouched, nothing left running."""

from __future__ import annotations

from pathlib import Path
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


def test_a_model_that_changed_after_it_was_packaged_is_not_served(workshop: Any) -> None:
    """In a store of its own, which it may harm: first the challenger's files, beside live traffic, then stable's."""
    workshop.env["BENTOML_HOME"] = str(workshop.root / "bentoml")
    assert workshop.cli("up").returncode == 0
    (stable,) = entries(workshop)
    run = workshop.start("run")
    workshop.until("both are packaged and served", lambda: workshop.reached("progressing/0"), 120)
    assert workshop.cli("abort", "toy").returncode == 0
    run.wait(60)
    (candidate,) = entries(workshop) - {stable}
    with workshop.traffic(50) as traffic:
        other_byte(candidate)
        done = workshop.cli("run")
        workshop.until_answers(traffic, 0, 20)
    assert done.returncode == 12, done.stdout + done.stderr
    assert "this model cannot be served: Changed: model.onnx has other bytes in" in done.stderr
    assert "Traceback" not in done.stderr.partition("Its log")[0]
    assert (traffic.failures, set(traffic.seen())) == ([], {"1"})
    assert workshop.cli("down").returncode == 0
    other_byte(stable)
    done = workshop.cli("up")
    assert done.returncode == 12, done.stdout + done.stderr
    assert "model.onnx has other bytes in" in done.stderr
    assert workshop.processes() == []


def entries(workshop: Any) -> set[Path]:
    """The models' files in the store of bentos."""
    return {path.resolve() for path in (workshop.root / "bentoml" / "models" / "toy").glob("*/model.onnx")}


def other_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
