"""MLflow, Prefect and Prometheus as servers of their own beside a stage: killed, frozen, and started again."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass, field
from http import HTTPStatus
from http.client import HTTPException
from pathlib import Path

import psutil

from lockgate.flows import prefect_server

NAMES = ("mlflow", "prefect", "prometheus")
_MARK = "CHAOS_SERVER"
"""In a server's environment, which its children inherit: whose it is."""
_READY = {"mlflow": "/health", "prefect": "/api/health", "prometheus": "/-/ready"}
_WITHIN = 120.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def of_stage(root: Path, *names: str) -> list[psutil.Process]:
    """The processes of these servers of a stage."""
    marks, found = {f"{name} {root}" for name in names}, []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get(_MARK) in marks and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


@dataclass
class Servers:
    """Those of one stage; ended with the `with`. `registry`: MLflow's database."""

    root: Path
    registry: Path
    _ports: dict[str, int] = field(default_factory=lambda: {name: free_port() for name in NAMES})
    _started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, name: str) -> None:
        """Unless it runs. It answers some seconds later; see `wait`."""
        if of_stage(self.root, name):
            return
        clean = {key: value for key, value in os.environ.items() if not key.startswith(("LOCKGATE_", "PREFECT_"))}
        own = {_MARK: f"{name} {self.root}", "PREFECT_HOME": str(self.root / "prefect"), "PREFECT_API_URL": ""}
        with (self.root / f"{name}.log").open("a") as log:
            self._started.append(
                subprocess.Popen(
                    self._command(name),
                    cwd=self.root,
                    env={**clean, **prefect_server._SETTINGS, **own},  # noqa: SLF001
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            )

    def wait(self) -> None:
        """Until all of them answer. Raises `TimeoutError`."""
        deadline = time.monotonic() + _WITHIN
        while missing := [name for name in NAMES if not self._answers(name)]:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{' and '.join(missing)} did not answer within {_WITHIN:g} s; see {self.root}")
            time.sleep(0.1)

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self._ports[name]}"

    @property
    def environment(self) -> dict[str, str]:
        """Of a driver that uses them."""
        prefect = {"PREFECT_HOME": str(self.root / "prefect"), "PREFECT_API_URL": f"{self.url('prefect')}/api"}
        return {"MLFLOW_TRACKING_URI": self.url("mlflow"), **prefect, **prefect_server._SETTINGS}  # noqa: SLF001

    def end(self) -> None:
        for process in of_stage(self.root, *NAMES):
            with contextlib.suppress(psutil.Error):
                process.kill()
        for process in self._started:
            process.wait()

    def _command(self, name: str) -> list[str]:
        port = str(self._ports[name])
        local = ["--host", "127.0.0.1", "--port", port]
        if name == "mlflow":
            database = f"sqlite:///{self.registry}"
            return [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", database, *local, "--workers", "1"]
        if name == "prefect":
            return [sys.executable, "-m", "prefect", "server", "start", *local]
        (self.root / "prometheus.yml").write_text("scrape_configs: []\n", encoding="utf-8")
        data = ["--config.file=prometheus.yml", "--storage.tsdb.path=prometheus"]
        return [str(shutil.which("prometheus")), *data, f"--web.listen-address=127.0.0.1:{port}"]

    def _answers(self, name: str) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url(name)}{_READY[name]}", timeout=2) as answer:  # noqa: S310 - our own
                return bool(answer.status == HTTPStatus.OK)
        except (OSError, HTTPException):
            return False
