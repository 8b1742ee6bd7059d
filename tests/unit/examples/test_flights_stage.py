"""The demo's folder, its spec, and what it calls a fault."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import demo
import pandas as pd
import pytest
import stage
import timeline
import train

from lockgate.flows.spec import load

HEALTHY = {"requests": 9, "failed": 0, "repeated": 0, "p50_ms": 1.0, "p99_ms": 2.0}


def ending(**changes: Any) -> demo.Ending:
    told = timeline.Told(pd.DataFrame(), [{"phase": "succeeded"}, {"phase": "rolled_back"}], pd.DataFrame())
    return replace(demo.Ending(told, [], 0, dict(HEALTHY), (0, 10), "2"), **changes)


def test_the_spec_trusts_what_the_champion_is_made_of_and_nothing_else() -> None:
    spec = load(stage.HERE / "lockgate.yaml")
    assert list(spec.model.trust.types) == train.TRUSTED
    assert spec.model.name == train.NAME == demo.MODEL
    assert not spec.model.trust.pickle


def test_a_port_that_is_taken_is_replaced_in_the_spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setattr(stage, "_is_free", lambda port: port != 8080)
        made = stage.opened(tmp_path / "demo")
    traffic = load(made.spec).rollout.traffic
    assert traffic.listen == f"127.0.0.1:{made.port}" != "127.0.0.1:8080"
    assert traffic.metrics == f"127.0.0.1:{made.metrics_port}" == "127.0.0.1:9901"


def test_a_port_that_somebody_listens_on_is_not_free() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert not stage._is_free(taken.getsockname()[1])


def test_a_folder_with_somebodys_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(stage.DemoError, match="not the folder of an earlier demo; give another one with --dir"):
        stage.opened(tmp_path)
    assert (tmp_path / "thesis.txt").exists()


def test_nothing_of_the_users_own_is_touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCKGATE_STATE_URL", "postgresql://production")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://production")
    environment = stage.opened(tmp_path / "demo").environment
    assert "production" not in " ".join(environment.values())
    for name in ("LOCKGATE_HOME", "BENTOML_HOME", "MLFLOW_TRACKING_URI"):
        assert str(tmp_path) in environment[name]


def test_all_as_it_should_be_is_ok() -> None:
    line = ending().line(12.34)
    assert line["ok"]
    assert (line["requests"], line["failed"], line["promoted"], line["rolled_back"]) == (9, 0, 1, 1)
    assert line["seconds"] == 12.3


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"codes": (10, 10)}, "`lockgate run` for the better model ended with code 10 where 0 was expected"),
        ({"codes": (0, 0)}, "`lockgate run` for the broken model ended with code 0 where 10 was expected"),
        ({"summary": HEALTHY | {"failed": 1}}, "1 requests failed and 0 came twice"),
        ({"moved_back": 2}, "2 users were moved back from the candidate to stable"),
    ],
)
def test_what_is_not_as_it_should_be_is_said(changes: dict[str, Any], sentence: str) -> None:
    found = ending(**changes)
    assert found.faults == [sentence]
    assert not found.line(1.0)["ok"]


def test_what_somebody_still_drives_is_stopped_once_it_is_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = stage.opened(tmp_path / "demo")
    codes = [13, 13, 0]
    monkeypatch.setattr(stage.Stage, "lockgate", lambda _self, *_words: codes.pop(0))
    monkeypatch.setattr(stage.time, "sleep", lambda _seconds: None)
    made.close()
    assert codes == []


def test_a_process_that_does_not_listen_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "_PATIENCE", 0.2)
    deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); signal.pause()"
    command = [sys.executable, "-c", deaf]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        stage.end(process)
        assert process.returncode == -signal.SIGKILL
