"""What a hostile or broken client gets, byte by byte: a sentence in JSON with the status that fits, and in time."""

from __future__ import annotations

import json
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from lockgate.rollout.envoy.replies import SENTENCES
from lockgate.rollout.envoy.router import EnvoyRouter
from lockgate.rollout.spec import Traffic

POST = b"POST /predict HTTP/1.1\r\nhost: h\r\nconnection: close\r\n"
EMPTY = POST + b"content-length: 0\r\n\r\n"
LARGE = 64 * 1024


@pytest.fixture
def strict(plane: Any) -> Any:
    """The plane with little patience."""
    short = {"timeout": "1s", "receive_timeout": "1s", "max_body": "64KiB"}
    plane.traffic = Traffic.model_validate(plane.traffic.model_dump(mode="json") | short)
    plane.router = EnvoyRouter(plane.router.at.path, plane.traffic)
    plane.router.start(plane.routes())
    return plane


def raw(plane: Any, sent: bytes) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of what came until the connection was closed."""
    host, port = plane.traffic.listen.split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(sent)
        got = b"".join(iter(lambda: connection.recv(2**16), b""))
    head, _, body = got.partition(b"\r\n\r\n")
    status, *rows = head.decode().split("\r\n")
    return int(status.split()[1]), dict(row.split(": ", 1) for row in rows), body


def chunked(size: int) -> bytes:
    return b"transfer-encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (size, b"x" * size)


def many(count: int) -> bytes:
    return b"".join(b"x-%d: a\r\n" % i for i in range(count))


REFUSED = {
    "no host": (400, b"GET / HTTP/1.1\r\n\r\n"),
    "no http": (400, b"\x16\x03\x01\x02\x00\r\n\r\n"),
    "a header without a name": (400, POST + b"nothing\r\n\r\n"),
    "two lengths": (400, POST + b"content-length: 1\r\ncontent-length: 2\r\n\r\nab"),
    "a length and chunks": (400, POST + b"content-length: 3\r\n" + chunked(3)),
    "an escaped slash": (400, b"POST /a%2Fb HTTP/1.1\r\nhost: h\r\ncontent-length: 0\r\n\r\n"),
    "an upgrade": (403, POST.replace(b"close", b"upgrade") + b"upgrade: websocket\r\n\r\n"),
    "no path": (404, b"OPTIONS * HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n"),
    "half a head": (408, b"POST /predict HTTP/1.1\r\nhost: h\r\n"),
    "half a body": (408, POST + b"content-length: 5\r\n\r\na"),
    "a large body": (413, POST + b"content-length: %d\r\n\r\n" % (LARGE + 1) + b"x" * (LARGE + 1)),
    "large chunks": (413, POST + chunked(LARGE + 1)),
    "HTTP/1.0": (426, b"GET / HTTP/1.0\r\nhost: h\r\n\r\n"),
    "a large header": (431, POST + b"x-a: " + b"a" * LARGE + b"\r\ncontent-length: 0\r\n\r\n"),
    "a large path": (431, b"GET /" + b"a" * LARGE + b" HTTP/1.1\r\nhost: h\r\n\r\n"),
    "many headers": (431, POST + many(101) + b"content-length: 0\r\n\r\n"),
    "zipped twice": (501, POST + b"transfer-encoding: gzip\r\n\r\n"),
}


def test_every_refusal_is_a_sentence_and_reaches_no_model(strict: Any) -> None:
    with ThreadPoolExecutor(len(REFUSED)) as pool:
        found = dict(zip(REFUSED, pool.map(lambda one: raw(strict, one[1]), REFUSED.values()), strict=True))
    for name, (status, headers, body) in found.items():
        assert (name, status) == (name, REFUSED[name][0])
        assert (name, headers["content-type"]) == (name, "application/json")
        assert json.loads(body) == {"error": SENTENCES[status]}, name
        assert "envoy" not in str(headers).lower(), name
    assert strict.stable.hits == 0
    for inside in (POST + b"content-length: %d\r\n\r\n" % LARGE + b"x" * LARGE, POST + chunked(LARGE)):
        assert raw(strict, inside)[0] == 200  # the limit itself is taken


@pytest.mark.parametrize(("mode", "status"), [("hang", 504), ("reset", 503), ("gone", 503), ("babble", 502)])
def test_a_model_that_fails_is_told_in_a_sentence_too(strict: Any, mode: str, status: int) -> None:
    if mode == "babble":
        with socket.create_server(("127.0.0.1", 0)) as babbling, ThreadPoolExecutor(1) as pool:
            strict.stable.port = babbling.getsockname()[1]
            strict.router.apply(strict.routes())
            pool.submit(_babble, babbling)
            found = raw(strict, EMPTY)
    else:
        strict.stable.mode = mode
        if mode == "gone":
            strict.stable.__exit__()
        found = raw(strict, EMPTY)
    assert (found[0], found[1]["content-type"]) == (status, "application/json")
    assert json.loads(found[2]) == {"error": SENTENCES[status]}


def _babble(listening: socket.socket) -> None:
    for _ in range(2):  # stable is asked twice where its connection breaks
        connection, _ = listening.accept()
        with connection:
            connection.recv(2**16)
            connection.sendall(b"babble\r\n\r\n")


def test_what_a_model_says_is_handed_on_as_it_is(strict: Any) -> None:
    strict.stable.mode = "teapot"
    status, headers, body = raw(strict, EMPTY)
    assert (status, body) == (418, b"stable 0")
    assert headers["server"] == "lockgate"


def test_headers_that_say_who_asks_are_the_routers_own(strict: Any) -> None:
    spoofed = b"x-forwarded-for: 198.51.100.1\r\nx_lockgate_client: shop\r\nX-Lockgate-Shadow: 1\r\nx_any: 1\r\n"
    tuning = b"x-envoy-max-retries: 9\r\nx-envoy-upstream-rq-timeout-ms: 9\r\nx-envoy-original-path: /\r\n"
    assert raw(strict, POST + spoofed + tuning + b"content-length: 0\r\n\r\n")[0] == 200
    got = {name.lower(): value for name, value in strict.stable.last.items()}
    assert got["x-envoy-external-address"] == "127.0.0.1"
    ours = {"x-forwarded-for", "x-forwarded-proto", "x-request-id", "x-lockgate-variant", "x-envoy-external-address"}
    assert set(got) == {"host", "content-length"} | ours


def test_paths_are_made_plain_before_they_are_routed(strict: Any, tmp_path: Any, upstream: Any) -> None:
    """Else `//feedback` would be a way around what holds for `/feedback`."""
    with upstream("feedback", path=tmp_path / "feedback.sock") as keeper:
        EnvoyRouter(strict.router.at.path, strict.traffic, keeper.path).start(strict.routes())
        for path in (b"//feedback", b"/x/../feedback", b"/./feedback", b"/%66eedback"):
            assert raw(strict, EMPTY.replace(b"/predict", path))[2] == b"feedback 0", path


def test_the_metrics_say_no_more_than_they_must(strict: Any) -> None:
    answer = httpx.get(f"http://{strict.traffic.metrics}/config_dump", trust_env=False)
    assert (answer.status_code, answer.headers["server"]) == (404, "lockgate")
    assert list(answer.json()) == ["error"]
