"""A Prometheus that scraped the sample for half a minute: four rollouts, each second."""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest

from lockgate.dashboards.grafana.queries import Times
from lockgate.dashboards.grafana.sample.feed import Feed, scraped

LENGTH = 30.0
"""Seconds that the stories take."""
_CONFIGURATION = """
global: {{scrape_interval: 1s}}
scrape_configs: [{{job_name: sample, honor_labels: true, static_configs: [{{targets: ["{address}"]}}]}}]
"""


@dataclass(frozen=True)
class Scraped:
    url: str
    times: Times


class Endpoint(ThreadingHTTPServer):
    """The story begins with the first scrape."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.feed, self.start, self.lock = Feed(LENGTH), 0.0, threading.Lock()

    def text(self) -> str:
        with self.lock:
            now = time.time()
            self.start = self.start or now
            return scraped(self.feed, now - self.start, now)

    @property
    def over(self) -> bool:
        return bool(self.start) and time.time() > self.start + LENGTH


class _Answers(BaseHTTPRequestHandler):
    server: Endpoint

    def do_GET(self) -> None:
        body = self.server.text().encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="session")
def endpoint() -> Iterator[Endpoint]:
    server = Endpoint()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="session")
def scraped_prometheus(
    endpoint: Endpoint, prometheus: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Scraped]:
    """Once the stories are at their end."""
    folder = tmp_path_factory.mktemp("prometheus")
    address = f"127.0.0.1:{_free_port()}"
    configuration = folder / "prometheus.yml"
    configuration.write_text(_CONFIGURATION.format(address=f"127.0.0.1:{endpoint.server_port}"))
    command = [
        *(prometheus, f"--config.file={configuration}", f"--web.listen-address={address}"),
        *(f"--storage.tsdb.path={folder / 'data'}", "--log.level=warn"),
    ]
    with (folder / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        _until(lambda: process.poll() is not None or _holds_it_all(f"http://{address}", endpoint), 110.0)
        assert process.poll() is None, (folder / "log").read_text()
        end = time.time()
        yield Scraped(f"http://{address}", Times(endpoint.start - 1, end, every=1.0))
        process.terminate()


def _holds_it_all(url: str, endpoint: Endpoint) -> bool:
    """A scrape after the end of the stories is in it."""
    if not endpoint.over:
        return False
    asked = {"query": "max(timestamp(lockgate_store_up))"}
    found: list[dict[str, Any]] = httpx.get(f"{url}/api/v1/query", params=asked, trust_env=False).json()["data"][
        "result"
    ]
    return bool(found) and float(found[0]["value"][1]) > endpoint.start + LENGTH


def _until(holds: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not within {seconds:g} s"
        time.sleep(0.2)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
