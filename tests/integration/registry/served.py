"""A real `mlflow server` for tests, with an environment of its own. Loaded by its path: tests are no package."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import httpx

READY_WITHIN = 120
# What `lockgate-auth` says, in a few lines: it knows people, but not eve; nobody may approve, nor bob manage webhooks.
_PLUGIN = """
from flask import jsonify, request
from mlflow.server.fastapi_app import create_fastapi_app

def create_app():
    from mlflow.server import app
    @app.before_request
    def before():
        if request.path.endswith("model-versions/set-tag") and request.get_json()["value"].startswith("approved"):
            return jsonify(error_code="PERMISSION_DENIED", message="alice registered this version."), 403
        who = (request.authorization or {}).get("username")
        if "/webhooks" in request.path and who == "bob":
            return "Permission denied", 403
        if request.path == "/version" or (request.method == "POST" and who == "eve"):
            return "who are you?", 401
    @app.after_request
    def after(response):
        response.headers["X-Lockgate-Auth"] = "1"
        return response
    return create_fastapi_app(app)
"""


class Started:
    """A command that serves MLflow at `uri`: one process group, from its start to its end."""

    def __init__(self, uri: str, folder: Path, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self.folder, self.uri, self._log = folder, uri, folder / "server.log"
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                command, env=environment, cwd=folder, stdout=log, stderr=log, start_new_session=True
            )

    @property
    def log(self) -> str:
        return self._log.read_text()

    def wait(self) -> None:
        deadline = time.monotonic() + READY_WITHIN
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                if httpx.get(f"{self.uri}/health", timeout=1).is_success:
                    return
            except httpx.HTTPError:
                time.sleep(0.1)
        raise AssertionError(f"the server did not come up:\n{self.log[-3000:]}")

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


class Server(Started):
    """One worker. `plugin` makes it one that knows people; `environment` is added to its own."""

    def __init__(self, folder: Path, *, plugin: bool = False, **environment: str) -> None:
        self.database = f"sqlite:///{folder / 'mlflow.db'}"
        port = free_port()
        command = mlflow(port, self.database, folder / "served")
        if plugin:
            command += ["--app-name", "knows-people"]
            environment["PYTHONPATH"] = _installed(folder / "plugin")
        super().__init__(f"http://127.0.0.1:{port}", folder, command, quiet() | environment)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def mlflow(port: int, database: str, files: Path) -> list[str]:
    """The command of one worker."""
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    return [*command, "--workers", "1", "--backend-store-uri", database, "--artifacts-destination", str(files)]


def quiet() -> dict[str, str]:
    """An environment with nothing of the machine's own MLflow."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "_MLFLOW_", "LOCKGATE_"))}
    more = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "1"}
    return clean | more


def _installed(folder: Path) -> str:
    info = folder / "knows_people-0.dist-info"
    info.mkdir(parents=True)
    (folder / "knows_people.py").write_text(_PLUGIN)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: knows-people\nVersion: 0\n")
    (info / "entry_points.txt").write_text("[mlflow.app]\nknows-people = knows_people:create_app\n")
    return str(folder)
