"""From a person's click in a real MLflow to whoever is woken: `lockgate webhooks` on one side, the receiver on ours."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner

from lockgate.flows.cli.webhooks import command
from lockgate.flows.errors import MissingPart
from lockgate.flows.home import Home
from lockgate.flows.hook_server import HookServer
from lockgate.flows.hooks import Waker, takes, woken
from lockgate.registry.deliveries import Deliveries, Seen

from .conftest import free_address, until

pytestmark = pytest.mark.timeout(300)
SECRET = "hunter2-hunter2-hunter2"  # noqa: S105 - a planted one
SPEC = """
name: fraud
model: {name: detector}
rollout:
  steps: [{canary: {weight: 5}}]
  gates: {errors: {metric: error_rate}}
"""
SERVER = {
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "1",
    "MLFLOW_WEBHOOK_ALLOWED_SCHEMES": "http,https",
    "MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS": "true",
    "MLFLOW_WEBHOOK_CACHE_TTL": "0",
    "MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY": "cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4=",
}


@pytest.fixture
def mlflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    at = free_address()
    arguments = ["--host", "127.0.0.1", "--port", at.rpartition(":")[2], "--workers", "1"]
    arguments += ["--backend-store-uri", f"sqlite:///{tmp_path / 'mlflow.db'}"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "_MLFLOW_"))}
    with (tmp_path / "server.log").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "server", *arguments],
            env=environment | SERVER,
            cwd=tmp_path,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        url = f"http://{at}"
        until(lambda: server.poll() is not None or _healthy(url), 120)
        assert server.poll() is None, (tmp_path / "server.log").read_text()[-3000:]
        monkeypatch.setenv("MLFLOW_TRACKING_URI", url)
        yield url
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def _healthy(url: str) -> bool:
    with contextlib.suppress(httpx.HTTPError):
        return httpx.get(f"{url}/health", trust_env=False, timeout=2).is_success
    return False


def click(url: str, what: str, **body: Any) -> None:
    """What MLflow's page asks its server for."""
    answer = httpx.post(f"{url}/api/2.0/mlflow/{what}", json=body, trust_env=False, timeout=30)
    assert answer.is_success, answer.text


def said(*arguments: str) -> str:
    done = CliRunner().invoke(command, list(arguments), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_what_a_person_does_in_mlflow_wakes_us(
    mlflow: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("LOCKGATE_WEBHOOK_SECRET", SECRET)
    file, home = tmp_path / "lockgate.yaml", Home(tmp_path, "")
    swept: list[list[str]] = []
    file.write_text(SPEC)
    click(mlflow, "registered-models/create", name="detector")
    click(mlflow, "model-versions/create", name="detector", source="s3://nowhere/model")
    with Waker([file], home, swept.append) as waker, caplog.at_level(1, "lockgate"):
        take = takes(Deliveries(SECRET, Seen(tmp_path / "seen.db")), waker)
        with HookServer(("127.0.0.1", 0), take) as server:
            url = f"http://127.0.0.1:{server.address[1]}/hooks"
            assert "has no webhooks" in said("list")
            assert url in said("add", url)
            assert said("list").startswith(f"lockgate: {url} on ")
            assert "the example was taken" in said("test")
            assert not woken(home, "fraud", 0.0)  # an example is nobody's approval

            click(mlflow, "registered-models/alias", name="detector", alias="challenger", version="1")
            until(lambda: swept == [[str(file)]])
            click(mlflow, "model-versions/set-tag", name="detector", version="1", key="lockgate.approval", value="x")
            until(lambda: woken(home, "fraud", 0.0))

            assert said("remove") == "removed lockgate\n"
            assert "has no webhook lockgate" in said("remove")
    assert "refused" not in caplog.text
    assert "hunter2" not in caplog.text


def test_there_is_no_webhook_without_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LOCKGATE_WEBHOOK_SECRET", raising=False)
    done = CliRunner().invoke(command, ["add", "https://example.com/hooks"])
    assert isinstance(done.exception, MissingPart)
    assert "LOCKGATE_WEBHOOK_SECRET" in str(done.exception)
