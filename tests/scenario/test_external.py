"""A pipeline moves to servers that somebody else runs, goes on there, and comes back; no request fails meanwhile."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

pytestmark = [pytest.mark.scenario, pytest.mark.timeout(200)]

GOOD, BAD = 2, 3
STEPS = [
    {"shadow": {"percent": 100, "hold": {"min_requests": 30}, "timeout": "60s"}},
    {"canary": {"weight": 50, "hold": {"min_requests": 30}, "timeout": "60s"}},
]


class V2(ThreadingHTTPServer):
    """A server of the Open Inference Protocol, which answers at the path of our bentos too."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port: int, version: int) -> None:
        self.version, self.asked = version, 0
        super().__init__(("127.0.0.1", port), _Handler)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    server: V2

    def do_GET(self) -> None:
        self._answer(200 if self.path == "/v2/models/toy/ready" else 404, {})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.server.asked += 1
        fails = self.server.version == BAD and self.server.asked % 2
        self._answer(500 if fails else 200, {"outputs": [[0.5, 0.5]]})

    def _answer(self, status: int, content: Any) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.send_header("x-lockgate-version", f"elsewhere-{self.server.version}")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nobody reads it."""


@contextmanager
def elsewhere(free: int) -> Iterator[tuple[dict[str, Any], dict[int, V2]]]:
    """The section of the spec, and the two servers by version; they end with it."""
    tens, servers = _bound(free // 10)
    threads = [threading.Thread(target=one.serve_forever, args=(0.05,)) for one in servers.values()]
    for thread in threads:
        thread.start()
    yield {"endpoints": f"127.0.0.1:{tens}{{version}}"}, servers
    for one in servers.values():
        one.shutdown()
        one.server_close()
    for thread in threads:
        thread.join()


def _bound(tens: int) -> tuple[int, dict[int, V2]]:
    """Versions 2 and 3 at ports that end so."""
    good = None
    try:
        good = V2(10 * tens + GOOD, GOOD)
        return tens, {GOOD: good, BAD: V2(10 * tens + BAD, BAD)}
    except OSError:
        if good:
            good.server_close()
        return _bound(tens + 1)


def test_to_servers_of_somebody_else_and_back(workshop: Any) -> None:
    here = workshop.spec["service"]
    workshop.alias("champion", 1)
    workshop.alias("challenger", GOOD)
    workshop.write(steps=STEPS)
    assert workshop.cli("up").returncode == 0
    with elsewhere(workshop.free_port()) as (external, servers), workshop.traffic(60) as traffic:
        workshop.spec["service"] = {"ready_within": "20s", "external": external}
        workshop.write()
        moved = workshop.cli("run")
        assert moved.returncode == 0, moved.stdout + moved.stderr
        assert workshop.aliases()["champion"] == GOOD
        assert workshop.replicas() == []  # the bento's, which it came from
        since = time.time()
        workshop.until_answers(traffic, since, 30)
        assert set(traffic.seen(since)) == {f"elsewhere-{GOOD}"}

        workshop.alias("challenger", BAD)
        failed = workshop.cli("run")
        assert failed.returncode != 0, failed.stdout
        assert "candidate failed" in failed.stdout
        assert servers[BAD].asked > 0
        assert workshop.aliases()["champion"] == GOOD

        workshop.alias("challenger", 1)
        workshop.spec["service"] = here
        workshop.write()
        back = workshop.cli("run")
        assert back.returncode == 0, back.stdout + back.stderr
        assert workshop.aliases()["champion"] == 1
        since = time.time()
        workshop.until_answers(traffic, since, 30)
        assert set(traffic.seen(since)) == {"1"}
        assert "nothing was compiled and nothing proven" in workshop.cli("history", "toy").stdout.replace("\n", " ")
    assert not traffic.failures, traffic.failures[:3]
