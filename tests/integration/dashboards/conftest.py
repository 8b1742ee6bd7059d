"""A pipeline that runs: a real Envoy between plain HTTP servers, an open rollout in a store, and who watches them."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from lockgate.flows.home import Home
from lockgate.rollout.envoy import process as envoy_process
from lockgate.rollout.envoy.router import EnvoyRouter
from lockgate.rollout.spec import RolloutSpec
from lockgate.rollout.state import Built
from lockgate.rollout.store import Rollout, opened
from lockgate.rollout.words import Endpoint, Routes
from lockgate.services.records import Record, Records

_METRICS = """
from lockgate.services.serving.metrics import Metrics
from prometheus_client import generate_latest
metrics = Metrics("toy-model", "VERSION")
metrics.answered(200, 0.01)
metrics.inferred(1, 0.01)
metrics.batch(1)
print(generate_latest().decode())
"""
FACTS = {
    "stable_bento": "toy:a",
    "stable_digest": "aa",
    "stable_version": "1",
    "stable_target": "eager",
    "candidate_bento": "toy:b",
    "candidate_digest": "bb",
    "candidate_version": "2",
    "candidate_target": "xla",
}


def free_address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def until(ask: Callable[[], Any], seconds: float = 60.0) -> Any:
    """What it answers, as soon as that is something."""
    deadline = time.monotonic() + seconds
    while not (found := ask()):
        assert time.monotonic() < deadline, f"not within {seconds:g} s"
        time.sleep(0.1)
    return found


class _Model(BaseHTTPRequestHandler):
    """Answers requests with a status, and `/metrics` as a replica of this version does."""

    protocol_version = "HTTP/1.1"
    server: Model

    def do_GET(self) -> None:
        self._answer(200, self.server.metrics)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self._answer(self.server.status, b"[]")

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nobody reads it."""


class Model(ThreadingHTTPServer):
    daemon_threads = True
    status = 200

    def __init__(self, version: str) -> None:
        super().__init__(("127.0.0.1", 0), _Model)
        code = _METRICS.replace("VERSION", version)
        self.metrics = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).stdout
        self.endpoint = Endpoint("127.0.0.1", self.server_address[1])


@dataclass
class Running:
    """The pipeline `toy` in its canary step."""

    home: Home
    router: EnvoyRouter
    spec: RolloutSpec
    stable: Model
    candidate: Model
    records: Records
    processes: list[subprocess.Popen[str]] = field(default_factory=list)

    until = staticmethod(until)
    free_address = staticmethod(free_address)

    def replica(self, name: str, bento: str, model: Model) -> None:
        """A record of a replica that runs; this process stands for it."""
        me = psutil.Process()
        at = model.endpoint.port
        folder = self.records.folder(name)
        folder.mkdir(parents=True)
        self.records.write(Record(name, bento, "", at, me.pid, me.create_time(), me.pid, me.create_time(), ready=True))

    def post(self, times: int, **headers: str) -> None:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        with httpx.Client(trust_env=False, timeout=30) as client:
            for user in range(times):
                url = f"http://{self.spec.traffic.listen}/predict"
                assert client.post(url, content=b"[]", headers={"x-user-id": str(user), **named}).status_code == 200

    def run(self, command: str, *arguments: str) -> subprocess.Popen[str]:
        """A command of ours, with this home; ended with the test."""
        code = f"from lockgate.flows.cli.{command} import command; command()"
        process = subprocess.Popen(
            [sys.executable, "-c", code, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=self.home.root,
            env={**os.environ, "LOCKGATE_HOME": str(self.home.root), "LOCKGATE_STATE_URL": self.home.store_url},
        )
        self.processes.append(process)
        return process

    def said(self, process: subprocess.Popen[str], text: str) -> str:
        """The line with this text in what it prints."""
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if text in line:
                return line
        raise AssertionError(f"it ended without saying {text!r}: {''.join(lines)}")


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    home = Home(tmp_path, f"sqlite:///{tmp_path / 'state.db'}")
    spec = RolloutSpec.model_validate(
        {
            "traffic": {"listen": free_address(), "metrics": free_address()},
            "steps": [{"canary": {"weight": 50}}],
            "gates": {"errors": {"metric": "error_rate"}},
        }
    )
    with opened(home.store_url) as store:
        subject = {"model": "toy-model", "stable": "1", "candidate": "2"}
        rollout = Rollout("toy-1", "toy", spec, subject, {}, time.time(), None)
        store.open(rollout, time.time())
        store.append(rollout, store.last(rollout.id), Built(FACTS), time.time())
    with Model("1") as stable, Model("2") as candidate:
        for model in (stable, candidate):
            threading.Thread(target=model.serve_forever).start()
        router = EnvoyRouter(home.router("toy"), spec.traffic)
        router.start(Routes((stable.endpoint,), (candidate.endpoint,), 4000, 10_000, 1000))
        made = Running(home, router, spec, stable, candidate, Records(home.replicas("toy").resolve()))
        made.replica("a1", "toy:a", stable)
        made.replica("b1", "toy:b", candidate)
        yield made
        for process in made.processes:
            process.terminate()  # what it started ends with it
            process.wait(60)
            assert process.stdout is not None
            process.stdout.close()
        router.stop()
        for model in (stable, candidate):
            model.shutdown()
    assert envoy_process.find(router.at) is None


@pytest.fixture(scope="session")
def prometheus() -> str:
    """The program; a test that needs it is left out where it is missing, unless it is required."""
    return _needed("prometheus")


@pytest.fixture(scope="session")
def promtool() -> str:
    return _needed("promtool")


def _needed(program: str) -> str:
    import shutil

    found = shutil.which(program)
    if found is None:
        if os.environ.get("LOCKGATE_TEST_PROMETHEUS") == "required":
            pytest.fail(f"{program} is missing, and LOCKGATE_TEST_PROMETHEUS is `required`")
        pytest.skip(f"{program} is not installed")
    return found


@pytest.fixture
def ask() -> Callable[[str, str], list[dict[str, Any]]]:
    """Asks a Prometheus: its address, and the query."""

    def query(address: str, expression: str) -> list[dict[str, Any]]:
        url = f"http://{address}/api/v1/query"
        answer = httpx.get(url, params={"query": expression}, trust_env=False, timeout=30)
        found: list[dict[str, Any]] = json.loads(answer.text)["data"]["result"]
        return found

    return query
