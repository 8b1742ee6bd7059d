"""Feedback servers, as processes of their own on sockets of their own."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

SETTINGS: dict[str, Any] = {
    "metrics": {"conversion": {"kind": "binary"}, "revenue": {"kind": "continuous"}},
    "key": "00ff",
    "keep": 86400,
    "header": "x-user-id",
}


@dataclass
class Server:
    folder: Path
    socket: Path
    process: subprocess.Popen[bytes]

    @property
    def log(self) -> str:
        return (self.folder / "server.log").read_text()

    def client(self) -> httpx.Client:
        return httpx.Client(base_url="http://feedback", transport=httpx.HTTPTransport(uds=str(self.socket)), timeout=20)

    def post(self, body: object, **options: Any) -> httpx.Response:
        with self.client() as client:
            return client.post("/feedback", json=body, **options)

    def settle(self, **changed: Any) -> None:
        new = self.folder / "settings.new"
        new.write_text(json.dumps({**SETTINGS, **changed}))
        new.replace(self.folder / "settings.json")

    def listens(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(str(self.socket)) == 0

    def answers(self) -> bool:
        """httpx leaves its socket open where nobody listens, so that is seen first."""
        if not self.listens():
            return False
        with self.client() as client:
            return client.get("/ready").status_code == 200


@pytest.fixture
def folder() -> Iterator[Path]:
    """With a short name: a socket's path must not be long."""
    path = Path(tempfile.mkdtemp(prefix="feedback-"))
    (path / "settings.json").write_text(json.dumps(SETTINGS))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def started(folder: Path) -> Iterator[Callable[[], Server]]:
    """`started()`: a server that answers."""
    servers: list[Server] = []

    def made() -> Server:
        command = [sys.executable, "-m", "lockgate.monitoring.feedback.server", str(folder), str(folder / "s.sock")]
        with (folder / "server.log").open("ab") as log:
            server = Server(folder, folder / "s.sock", subprocess.Popen(command, stderr=log, stdout=log))
        servers.append(server)
        until(lambda: server.answers() or server.process.poll() is not None)
        assert server.process.poll() is None, server.log
        return server

    yield made
    for server in servers:
        server.process.kill()
        server.process.wait()


@pytest.fixture
def server(started: Callable[[], Server]) -> Server:
    return started()


def until(holds: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it never came to hold"
        time.sleep(0.02)


@pytest.fixture(name="until", scope="session")
def until_fixture() -> Callable[..., None]:
    return until
