"""A pipeline's home with a real Envoy, the real feedback server, and a model that shows what it was sent."""

from __future__ import annotations

import json
import socket
import sqlite3
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

from lockgate.flows import feedback, feedback_process
from lockgate.flows.home import Home
from lockgate.flows.spec import Spec
from lockgate.rollout.envoy import process as envoy_process
from lockgate.rollout.envoy.router import EnvoyRouter
from lockgate.rollout.words import Endpoint, Routes


class _Model(BaseHTTPRequestHandler):
    """Answers the method, the path and the request id that it got."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        body = json.dumps({"asked": f"POST {self.path}", "id": self.headers["x-request-id"]}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nobody reads it."""


def free_address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def until(condition: Callable[[], Any], seconds: float = 30.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {seconds:g} s"
        time.sleep(0.02)
    return found


@dataclass
class Pipeline:
    """What `lockgate up` leaves running, and what a test asks of it."""

    home: Home
    model: Endpoint
    document: dict[str, Any] = field(default_factory=dict)

    until = staticmethod(until)

    @property
    def spec(self) -> Spec:
        return Spec.model_validate(self.document)

    @property
    def folder(self) -> Path:
        return self.home.feedback("toy")

    @property
    def router(self) -> EnvoyRouter:
        at = feedback.address(self.home, "toy") if feedback.wanted(self.spec.rollout) else None
        return EnvoyRouter(self.home.router("toy"), self.spec.rollout.traffic, at)

    def metrics(self, **metrics: Any) -> None:
        """The spec has these business metrics from now on."""
        self.document["rollout"]["metrics"] = metrics

    def up(self) -> None:
        feedback.ensure(self.home, self.spec)
        self.router.start(Routes((self.model,)))

    def post(self, body: Any, path: str = "/feedback", **headers: str) -> httpx.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        url = f"http://{self.spec.rollout.traffic.listen}{path}"
        return httpx.post(url, json=body, headers=named, trust_env=False, timeout=30)

    def server(self) -> psutil.Process | None:
        return feedback_process.find(self.folder)

    def kept(self) -> list[dict[str, Any]]:
        with sqlite3.connect(f"file:{self.folder / 'feedback.db'}?mode=ro", uri=True) as db:
            db.row_factory = sqlite3.Row
            found = [dict(row) for row in db.execute("select * from feedback order by sequence")]
        db.close()
        return found


@pytest.fixture
def pipeline(tmp_path: Path) -> Iterator[Pipeline]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Model) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        made = Pipeline(Home(tmp_path, ""), Endpoint("127.0.0.1", server.server_address[1]))
        made.document |= {
            "name": "toy",
            "model": {"name": "toy"},
            "rollout": {
                "traffic": {"listen": free_address(), "metrics": free_address()},
                "steps": [{"canary": {"weight": 5}}],
                "gates": {"errors": {"metric": "error_rate"}},
                "metrics": {"conversion": {"kind": "binary"}, "revenue": {"kind": "continuous"}},
            },
        }
        yield made
        made.router.stop()
        feedback.stop(made.home, "toy")
        server.shutdown()
        thread.join()
    assert envoy_process.find(made.router.at) is None
    assert made.server() is None
