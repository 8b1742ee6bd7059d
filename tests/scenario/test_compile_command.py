"""`lockgate compile`: the table without a rollout, and what is kept of it."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.scenario, pytest.mark.timeout(300)]


def kept(workshop: Any, version: int) -> list[str]:
    """What lies with the run that logged the version, under lockgate/."""
    with sqlite3.connect(workshop.root / "mlflow.db") as db:
        run = workshop.tags(version)["lockgate.run"]
        ((uri,),) = db.execute("select artifact_uri from runs where run_uuid = ?", (run,)).fetchall()
    folder = Path(uri.removeprefix("file://")) / "lockgate"
    return sorted({path.name for path in folder.rglob("*") if path.is_file()})


def test_the_table_is_shown_and_kept_and_nothing_is_served(workshop: Any) -> None:
    workshop.spec["service"]["compile"] = {
        "targets": ["eager", "onnxruntime", "tensorrt"],
        "precision": ["fp32", "int8"],
    }
    workshop.write()
    picture = workshop.root / "picture.png"
    done = workshop.cli("compile", "--picture", str(picture), "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    outcomes = {(c["target"], c["precision"]): (c["outcome"], c["reason"]) for c in found["candidates"]}
    assert sorted(o for o, _ in outcomes.values()).count("chosen") == 1
    assert outcomes["tensorrt", "fp32"] == ("skipped", "no NVIDIA GPU here")
    assert found["parity"]["onnxruntime fp32"]["passed"]
    assert "a strided batch of 2" in found["parity"]["onnxruntime fp32"]["cases"]
    assert found["fingerprint"]["cpu"]
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert kept(workshop, 2) == ["evidence.json", "latency-against-error.png", "table.json", "table.md"]
    assert "was chosen" in workshop.tags(2)["lockgate.compiled"]
    assert workshop.processes() == []

    shown = workshop.cli("compile", "--version", "2")
    assert shown.returncode == 0
    assert "candidate" in shown.stdout
    assert "tensorrt fp32: no NVIDIA GPU here" in shown.stdout
    assert "cached" in shown.stdout


def test_where_nothing_can_be_served_the_table_says_why(workshop: Any) -> None:
    workshop.spec["service"]["compile"] = {"targets": ["onnxruntime"], "parity": {"rtol": 0, "atol": 0}}
    workshop.write()
    done = workshop.cli("compile")
    assert done.returncode == 12
    assert "onnxruntime fp32: output 'output', row" in done.stdout
    assert "no candidate keeps parity and the limits" in done.stdout
    unknown = workshop.cli("compile", "--version", "99")
    assert unknown.returncode == 12
    assert "version 99" in unknown.stderr
