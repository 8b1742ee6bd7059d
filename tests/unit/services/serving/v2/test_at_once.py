"""An inference that is all there is answered where its bytes arrive, as uvicorn's own way answers it."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import uvicorn

from lockgate.services.serving.lane import FastLane
from lockgate.services.serving.wire import Wire

TENSOR = {"name": "x", "shape": [1, 2], "datatype": "FP32"}
PLAIN = json.dumps({"inputs": [{**TENSOR, "data": [1.5, -2]}]}).encode()
HEAD = json.dumps(
    {"inputs": [{**TENSOR, "parameters": {"binary_data_size": 8}}], "parameters": {"binary_data_output": True}}
)
BINARY = HEAD.encode() + np.array([1.5, -2], "<f4").tobytes()
INFER = "/v2/models/fraud-detector/versions/7/infer"


@pytest.fixture
def port(served: Any) -> Iterator[int]:
    config = uvicorn.Config(FastLane(None, served("tensor")), lifespan="off", log_config=None, http=Wire)
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        yield listening.getsockname()[1]
        server.should_exit = True
        thread.join(10)


def ask(port: int, path: str, body: bytes, *lines: str) -> tuple[bytes, dict[str, str], bytes]:
    head = "\r\n".join([f"POST {path} HTTP/1.1", "host: a", f"content-length: {len(body)}", *lines, "", ""]).encode()
    with socket.create_connection(("127.0.0.1", port), timeout=10) as line, line.makefile("rb") as stream:
        line.sendall(head + body)
        status = stream.readline().split()[1]
        headers = dict(read.decode().strip().split(": ", 1) for read in iter(stream.readline, b"\r\n"))
        return status, headers, stream.read(int(headers["content-length"]))


@pytest.mark.parametrize(
    ("body", "lines", "status"),
    [
        (PLAIN, [], b"200"),
        (BINARY, [f"inference-header-content-length: {len(HEAD)}"], b"200"),
        (PLAIN[:-3], [], b"400"),
        (BINARY[:-1], [f"inference-header-content-length: {len(HEAD)}"], b"400"),
    ],
    ids=["JSON", "bytes", "bad JSON", "bad bytes"],
)
def test_both_ways_answer_alike(
    port: int, monkeypatch: pytest.MonkeyPatch, body: bytes, lines: list[str], status: bytes
) -> None:
    ways: list[Any] = []
    hand_over = Wire._hand_over
    monkeypatch.setattr(Wire, "_hand_over", lambda self: ways.append(hand_over(self)))
    first = ask(port, INFER, body, "x-request-id: a", *lines)
    assert (first[0], ways) == (status, [])
    other = ask(port, f"{INFER}?", body, "x-request-id: a", *lines)
    assert len(ways) == 1
    for _, headers, _ in (first, other):
        headers.pop("date")
    assert first == other


def test_other_addresses_are_left_to_uvicorn(port: int) -> None:
    status, _, answer = ask(port, "/v2/models/nope/infer", PLAIN)
    assert (status, b"no model 'nope' is here" in answer) == (b"404", True)
