"""Whom the capture takes for one unit, the router answers with one variant: else a client could cross at will."""

from __future__ import annotations

import json
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from lockgate.rollout.envoy.router import EnvoyRouter
from lockgate.rollout.spec import Traffic
from lockgate.rollout.words import Endpoint, Routes
from lockgate.services.serving.body import head

from .conftest import free_address

Headers = list[tuple[bytes, bytes]]
Ask = Callable[[Headers], tuple[str, str]]
_USER, _ID = b"x-user-id", b"x-request-id"


class _Model(BaseHTTPRequestHandler):
    """Answers the unit that a replica would capture, and the variant."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        lines = [(name.lower().encode(), value.encode("latin-1")) for name, value in self.headers.items()]
        found = head({"headers": lines}, _USER)
        body = json.dumps([(found.unit or found.id).decode("latin-1"), found.variant.decode()]).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


@pytest.fixture(scope="module")
def ask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ask]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Model) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        traffic = Traffic(listen=free_address(), metrics=free_address())
        router = EnvoyRouter(Path(tmp_path_factory.mktemp("envoy")), traffic)
        both = (Endpoint("127.0.0.1", server.server_address[1]),)
        router.start(Routes(both, both, weight=5000, salt="salt"))

        with httpx.Client(base_url=f"http://{traffic.listen}", trust_env=False, timeout=30) as client:

            def asked(headers: Headers) -> tuple[str, str]:
                unit, variant = client.get("/", headers=headers).json()
                return unit, variant

            yield asked
        router.stop()
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    "headers",
    [
        lambda i: [(_USER, b"u%d" % (i % 4))],
        lambda i: [(_USER, b"u%d" % i), (_USER, b"u")],
        lambda i: [(_USER, b"u"), (_USER, b"u%d" % i)],
        lambda i: [(_USER, b"u%d" % i), (_USER, b"u"), (_ID, b"the same")],
        lambda i: [(_USER, b"u1"), (_USER, b"u2")][:: 1 if i % 2 else -1],
        lambda _: [(_USER, b""), (_USER, b"")],
        lambda i: [(_USER, b""), (_USER, b"u"), (_ID, b"%d" % (i % 8))],
        lambda i: [(_USER, b""), (_USER, b""), (_ID, b"%d" % (i % 8))],
        lambda _: [(_USER, b"no text \xfc")],
        lambda i: [(_USER, b"x" * 1024 + b"%d" % i)],
        lambda i: [(_ID, b"x" * 128 + b"%d" % i)],
        lambda i: [(_ID, b"%d" % (i % 8)), (_ID, b"a")],
    ],
)
def test_one_unit_gets_one_variant(ask: Ask, headers: Callable[[int], Headers]) -> None:
    variants: dict[str, set[str]] = defaultdict(set)
    for i in range(24):
        unit, variant = ask(headers(i))
        variants[unit].add(variant)
    assert {len(found) for found in variants.values()} == {1}
