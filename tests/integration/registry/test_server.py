"""Over a real `mlflow server`: the REST path, and what is left when it stops."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from lockgate.registry.errors import RegistryDown
from lockgate.registry.mlflow_registry import MlflowRegistry
from lockgate.registry.quick import resolve_quickly

READY_WITHIN = 90


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class Server:
    def __init__(self, folder: Path, database: str) -> None:
        self.uri = f"http://127.0.0.1:{_free_port()}"
        self._log = folder / "server.log"
        port = self.uri.rpartition(":")[2]
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", port, "--workers", "1"]
        command += ["--backend-store-uri", database, "--artifacts-destination", str(folder / "served")]
        quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "1"}
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "_MLFLOW_"))}
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                command, env=environment | quiet, cwd=folder, stdout=log, stderr=log, start_new_session=True
            )

    def wait(self) -> None:
        deadline = time.monotonic() + READY_WITHIN
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                if httpx.get(f"{self.uri}/health", timeout=1).is_success:
                    return
            except httpx.HTTPError:
                time.sleep(0.1)
        raise AssertionError(f"the server did not come up:\n{self._log.read_text()[-3000:]}")

    def stop(self) -> None:
        """The whole process group: the command starts uvicorn, and uvicorn its worker."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGTERM)
            try:
                self._process.wait(15)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait(15)
        deadline = time.monotonic() + 15
        while self._lives():
            assert time.monotonic() < deadline, "a worker of the server is still running"
            time.sleep(0.05)

    def _lives(self) -> bool:
        try:
            os.killpg(self._process.pid, 0)
        except ProcessLookupError:
            return False
        return True


@pytest.fixture
def server(shelf: Any) -> Iterator[Server]:
    server = Server(shelf.folder, shelf.uri)
    try:
        server.wait()
        yield server
    finally:
        server.stop()


@pytest.mark.timeout(180)
def test_a_server_gives_the_same_answers_until_it_stops(
    server: Server, shelf: Any, champion: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf.point("champion", champion)
    shelf.client.set_model_version_tag("fraud", champion, "team", "risk")
    registry = MlflowRegistry(shelf.folder / "cache", server.uri)

    quick = resolve_quickly(server.uri, "fraud", ["@champion", champion])
    assert quick == [registry.resolve("fraud", "@champion")] * 2
    assert quick == resolve_quickly(shelf.uri, "fraud", ["@champion", champion])
    assert resolve_quickly(server.uri, "fraud", ["@nobody"]) is None
    assert resolve_quickly(server.uri, "nothing", ["1"]) is None

    registry.assign("fraud", champion, expected=champion)
    registry.annotate("fraud", champion, {"phase": "succeeded"})
    fetched = registry.fetch(registry.resolve("fraud", champion))
    assert fetched.version.tags["lockgate.phase"] == "succeeded"
    assert (fetched.path / "model.skops").is_file()

    server.stop()
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    assert resolve_quickly(server.uri, "fraud", ["@champion"]) is None
    with pytest.raises(RegistryDown) as down:
        MlflowRegistry(shelf.folder / "cache", server.uri.replace("//", "//ann:secret@")).resolve("fraud", "@champion")
    assert f"MLflow at {server.uri} does not answer as it should (connection refused)" in str(down.value)
    assert "secret" not in str(down.value)
    assert registry.fetch(fetched.version).digest == fetched.digest, "what was fetched needs no server"


def test_a_server_that_never_answers_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        port = silent.getsockname()[1]

        with pytest.raises(RegistryDown, match=r"timed out"):
            MlflowRegistry(tmp_path, f"http://127.0.0.1:{port}").resolve("fraud", "1")


def test_a_missing_driver_is_named(tmp_path: Path) -> None:
    with pytest.raises(RegistryDown, match=r"mysql://127\.0\.0\.1/db needs a package that is not here .*MySQLdb"):
        MlflowRegistry(tmp_path, "mysql://ann:secret@127.0.0.1/db").resolve("fraud", "1")
