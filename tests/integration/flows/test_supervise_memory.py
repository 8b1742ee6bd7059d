"""A leak in stable costs its clients nothing: real Envoy, and replicas that are processes with records."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from lockgate.flows import wanted
from lockgate.flows.home import Home
from lockgate.flows.supervised import Pipeline
from lockgate.rollout.words import Endpoint, Routes
from lockgate.services import local, processes
from lockgate.services.local import LocalPlatform
from lockgate.services.words import Bento

STABLE = Bento("toy:stable", "toy", "1", "aa", "eager")
SERVER = """
import http.server, os, signal, sys, threading
class Replica(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers.get("content-length", 0)))
        body = ('{"replica": "%s", "digest": "aa"}' % os.environ["LOCKGATE_REPLICA"]).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    do_GET = do_POST
server = http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Replica)
server.daemon_threads = False
signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
server.serve_forever()
server.server_close()
"""


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path, f"sqlite:///{tmp_path / 'state.db'}")


@pytest.fixture
def replicas(home: Home) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Two of stable's; each takes more than the one byte that it may."""
    records, made = LocalPlatform(home.replicas("toy"), 30.0)._records, []
    for _ in range(2):
        record = records.open(STABLE, home.root, limit=1)
        command, env = [sys.executable, "-c", SERVER, str(record.port)], os.environ | {processes.MARK: record.id}
        child = subprocess.Popen(command, stderr=subprocess.DEVNULL, env=env)
        made.append(child)
        records.write(replace(record, pid=child.pid, created=psutil.Process(child.pid).create_time(), ready=True))
    yield made
    for child in made:
        child.kill()
        child.wait()


def test_one_gets_no_more_requests_before_it_is_ended_and_no_request_fails(
    pipeline: Any, home: Home, replicas: list[subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "_ROUTED_WITHIN", 0.3)
    pipeline.home = home
    records = LocalPlatform(home.replicas("toy"), 30.0)._records.running()
    pipeline.until(lambda: all(map(local._ready, records)))
    pipeline.up()
    pipeline.router.apply(Routes(tuple(Endpoint(record.replica.host, record.port) for record in records)))
    wanted.up(home, pipeline.spec.document, STABLE)
    asked, supervised = [], Pipeline(home, "toy")

    def looked() -> bool:
        supervised.look(time.monotonic())
        asked.extend(pipeline.post([[1]], path="/predict") for _ in range(10))
        return len([child for child in replicas if child.poll() is None]) == 1

    assert not looked()
    assert len(pipeline.router.applied().stable) == 1  # nobody was ended yet
    pipeline.until(looked)
    assert all([looked(), looked(), looked()])
    supervised.close()
    assert {answer.status_code for answer in asked} == {200}
    assert len({answer.json()["replica"] for answer in asked[-30:]}) == 1
