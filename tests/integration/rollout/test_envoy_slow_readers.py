"""A client that does not read its answer holds nothing for long, though no clock runs between a request's events."""

from __future__ import annotations

import socket
import time
from typing import Any

import h2.connection
import h2.events
import pytest

from lockgate.rollout.envoy import listeners
from lockgate.rollout.envoy.router import EnvoyRouter
from lockgate.rollout.spec import Traffic

ACTIVE = "http.ingress.downstream_rq_active"
POST = b"POST /predict HTTP/1.1\r\nhost: h\r\ncontent-length: 0\r\n\r\n"


@pytest.fixture
def impatient(plane: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The plane, with a second for everything."""
    monkeypatch.setattr(listeners, "_UNREAD", 1.0)
    plane.traffic = Traffic.model_validate(plane.traffic.model_dump(mode="json") | {"timeout": "1s"})
    plane.router = EnvoyRouter(plane.router.at.path, plane.traffic)
    plane.router.start(plane.routes())
    return plane


def connected(plane: Any) -> socket.socket:
    host, port = plane.traffic.listen.split(":")
    return socket.create_connection((host, int(port)), timeout=10)


def test_an_answer_that_the_model_has_not_ended_is_cut_at_the_timeout(impatient: Any, eventually: Any) -> None:
    impatient.stable.name = "x" * 2**25  # more than sockets and Envoy keep between them
    with connected(impatient) as silent:
        silent.sendall(POST)
        admin = impatient.router.admin
        eventually(lambda: admin.numbers_and_texts(f"^{ACTIVE}$"), lambda now: now[ACTIVE] == "1")
        eventually(lambda: admin.numbers_and_texts(f"^{ACTIVE}$"), lambda now: now[ACTIVE] == "0")


def test_an_answer_that_envoy_holds_for_http2_is_dropped(impatient: Any) -> None:
    """The stream's window is 64 KiB, and the client never opens it again."""
    impatient.stable.name = "x" * 2**18
    http2 = h2.connection.H2Connection()
    http2.initiate_connection()
    asked = [(":method", "GET"), (":path", "/predict"), (":scheme", "http"), (":authority", "h")]
    http2.send_headers(http2.get_next_available_stream_id(), asked, end_stream=True)
    with connected(impatient) as silent:
        silent.sendall(http2.data_to_send())
        deadline = time.monotonic() + 10
        events: list[h2.events.Event] = []
        while not any(isinstance(one, h2.events.StreamReset) for one in events):
            assert time.monotonic() < deadline
            events += http2.receive_data(silent.recv(2**16))
            silent.sendall(http2.data_to_send())
    received = sum(len(one.data) for one in events if isinstance(one, h2.events.DataReceived))
    assert received == 2**16 - 1
