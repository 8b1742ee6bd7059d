"""The protocol that answers where the bytes arrive, in uvicorn as BentoML starts it, through sockets."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import uvicorn
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from lockgate.services.serving import wire
from lockgate.services.serving.core import About, Core, Limits
from lockgate.services.serving.lane import FastLane
from lockgate.services.serving.rehearsal import _Nobody, _Served
from lockgate.services.serving.schema import Arrays, Schema

SCHEMA = Schema.of([{"type": "tensor", "name": "x", "tensor-spec": {"dtype": "float32", "shape": [-1, 2]}}])
ABOUT = About("fraud", "7", "d1ge57", "onnxruntime", "fp32", "proven on hardware like this", "5pec", "fraud:1", "r1")
BROKEN = 13.0


class Counter(_Nobody):
    broken = False

    def answered(self, code: int, seconds: float) -> None:  # noqa: ARG002 - as whoever counts is asked
        if self.broken:
            raise OSError("no space")


class Watched:
    """A served model, and how many requests went uvicorn's own way."""

    def __init__(self, port: int, counter: Counter) -> None:
        self.port, self.counter, self.cycles, self.closing = port, counter, 0, False
        """`closing`: whether the connection of one of them would have been closed as idle."""

    def send(self, *parts: bytes, answers: int = 1) -> list[tuple[int, dict[str, str], Any]]:
        """What is answered to these bytes; each part is a packet of its own."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for i, part in enumerate(parts):
                connection.sendall(part)
                if i + 1 < len(parts):
                    threading.Event().wait(0.05)  # the packets must not come together
            with connection.makefile("rb") as stream:
                return [_answer(stream) for _ in range(answers)]


@pytest.fixture(scope="module")
def served() -> Iterator[Watched]:
    def run(x: Arrays) -> Arrays:
        if (x["x"] == BROKEN).any():
            raise ValueError("secret")
        return {"y": x["x"] * 2}

    wire.install()
    counter = Counter()
    core = Core(run, SCHEMA, ABOUT, Limits(5.0, 100_000, 8, 0.0, 64, inline_rows=4), counter)
    config = uvicorn.Config(FastLane(None, _Served(core)), port=0, lifespan="off", log_config=None)
    config.load()
    assert config.http_protocol_class is wire.Wire  # as BentoML asks for it
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listening, pytest.MonkeyPatch.context() as patched:
        found = Watched(listening.getsockname()[1], counter)
        whole = RequestResponseCycle.run_asgi

        async def counted(self: RequestResponseCycle, app: Any) -> None:
            found.cycles += 1
            lines: Any = server.server_state.connections
            found.closing |= any(line.timeout_keep_alive_task is not None for line in lines)
            await whole(self, app)

        patched.setattr(RequestResponseCycle, "run_asgi", counted)
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        yield found
        server.should_exit = True
        thread.join(10)
    core.close()
    assert not thread.is_alive()


@pytest.fixture(autouse=True)
def _from_nothing(served: Watched) -> None:
    served.cycles, served.closing, served.counter.broken = 0, False, False


def _answer(stream: Any) -> tuple[int, dict[str, str], Any]:
    status = int(stream.readline().split()[1])
    headers = dict(line.decode().strip().split(": ", 1) for line in iter(stream.readline, b"\r\n"))
    return status, headers, json.loads(stream.read(int(headers["content-length"])))


def request(*rows: tuple[float, float], path: str = "/predict", **headers: str) -> bytes:
    body = json.dumps({"inputs": {"x": rows}}).encode()
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return f"POST {path} HTTP/1.1\r\nhost: a\r\ncontent-length: {len(body)}\r\n{lines}\r\n".encode() + body


def test_what_is_all_there_is_answered_where_it_arrives_and_as_uvicorn_answers_it(served: Watched) -> None:
    whole = request((1, 2), (3, 4), x_request_id="me-1")
    ((status, headers, answer),) = served.send(whole)
    assert (status, served.cycles) == (200, 0)
    assert answer == {"model": "fraud", "version": "7", "outputs": {"y": [[2, 4], [6, 8]]}}
    assert headers["x-request-id"] == "me-1"
    ((slow_status, slow_headers, slow_answer),) = served.send(whole[:70], whole[70:95], whole[95:])
    assert served.cycles == 1
    assert (slow_status, slow_answer) == (status, answer)
    assert slow_headers.keys() == headers.keys()
    del headers["date"], slow_headers["date"]
    assert slow_headers == headers


@pytest.mark.parametrize(
    "of",
    [
        request((1, 2), path="/predict?a=b"),
        request((1, 2), connection="close"),
        request((1, 2)).replace(b"HTTP/1.1", b"HTTP/1.0"),
        request(*[(1, 2)] * 5),  # more rows than run on the event loop
        request((1, 2), accept="application/json, " + "a" * 9_000, content_type="application/json; a=" + "b" * 100),
    ],
    ids=["a query", "a connection that ends", "HTTP/1.0", "rows that wait", "a long head"],
)
def test_all_others_are_answered_too(served: Watched, of: bytes) -> None:
    ((status, _, answer),) = served.send(of)
    assert (status, answer["outputs"]["y"][0]) == (200, [2, 4])


def test_a_body_of_many_rows_is_left_to_uvicorn(served: Watched) -> None:
    body = b'{"inputs": {"x": [[1, 2]]}}' + b" " * 20_000
    ((status, _, answer),) = served.send(
        b"POST /predict HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
    )
    assert (status, answer["outputs"]["y"], served.cycles) == (200, [[2, 4]], 1)


def test_chunks_are_put_together(served: Watched) -> None:
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in b'{"inputs": {"x": [[1, 2]]}}')
    head = b"POST /predict HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"
    ((status, _, answer),) = served.send(head + chunks + b"0\r\n\r\n")
    assert (status, answer["outputs"]["y"], served.cycles) == (200, [[2, 4]], 0)


def test_requests_in_one_packet_are_answered_in_their_order(served: Watched) -> None:
    """Some at once, some by a thread: an answer must not overtake one before it."""
    kinds = [1, 5, 1, 1, 5, 5, 1]
    many = b"".join(request(*[(i, 0)] * rows, x_request_id=str(i)) for i, rows in enumerate(kinds))
    found = served.send(many, answers=len(kinds))
    assert [headers["x-request-id"] for _, headers, _ in found] == [str(i) for i in range(len(kinds))]
    assert [answer["outputs"]["y"] for _, _, answer in found] == [[[2 * i, 0]] * r for i, r in enumerate(kinds)]


def test_many_requests_in_one_packet_let_others_in_between(served: Watched) -> None:
    """The first are answered at once, the rest one by one in uvicorn's way, and in their order."""
    found = served.send(b"".join(request((-i, 0), x_request_id=str(i)) for i in range(40)), answers=40)
    assert [headers["x-request-id"] for _, headers, _ in found] == [str(i) for i in range(40)]
    assert [answer["outputs"]["y"] for _, _, answer in found] == [[[-2 * i, 0]] for i in range(40)]
    assert served.cycles == 40 - wire._TURN


TRAILERS = b"content-type: text/html\r\naccept: text/html\r\nexpect: 100-continue\r\n\r\n"


@pytest.mark.parametrize("cut", [0, 2, 30], ids=["all of it", "but its end", "but half of the trailers"])
@pytest.mark.parametrize("path", ["/predict", "/predict?", "/v2/models/fraud/infer"])
def test_what_trails_a_body_is_none_of_its_headers(served: Watched, path: str, cut: int) -> None:
    """`cut`: bytes that come in a packet of their own, while the others are being answered."""
    body = b'{"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}]}'
    body = body if path.startswith("/v2") else b'{"inputs": {"x": [[1, 2]]}}'
    head = f"POST {path} HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n".encode()
    sent = head + b"%x\r\n%b\r\n0\r\n%b" % (len(body), body, TRAILERS)
    parts = [sent[: len(sent) - cut], sent[len(sent) - cut :]] if cut else [sent]
    ((status, _, answer),) = served.send(*parts)
    assert (status, "error" in answer) == (200, False)


@pytest.mark.parametrize("body", [b"", b"12345", b"1234567890"], ids=["a head", "half a body", "a body"])
@pytest.mark.parametrize("name", [b"\xff", b"a" * 2**17], ids=["no text", "too long"])
def test_an_address_that_is_none_is_refused(
    served: Watched, caplog: pytest.LogCaptureFixture, name: bytes, body: bytes
) -> None:
    with socket.create_connection(("127.0.0.1", served.port), timeout=10) as connection:
        connection.sendall(b"POST /v2/models/%b/infer HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\n" % name + body)
        with connection.makefile("rb") as stream:
            assert stream.readline().startswith(b"HTTP/1.1 400")
            assert b"connection: close" in stream.read()
    assert "Traceback" not in caplog.text


def test_what_breaks_beside_the_model_is_logged_and_answered(served: Watched, caplog: pytest.LogCaptureFixture) -> None:
    served.counter.broken = True
    ((status, headers, answer),) = served.send(request((1, 2), x_request_id="me-2"))
    assert (status, headers["x-request-id"], answer["request_id"]) == (500, "me-2", "me-2")
    assert answer["error"] == "the replica failed on this request; its log says why"
    assert "the replica failed on request me-2" in caplog.text
    assert "no space" in caplog.text
    served.counter.broken = False
    assert served.send(request((1, 2)))[0][0] == 200


def test_half_a_request_after_a_whole_one_waits_for_its_rest(served: Watched) -> None:
    one, other = request((1, 0)), request((2, 0))
    found = served.send(one + other[:60], other[60:], answers=2)
    assert [answer["outputs"]["y"] for _, _, answer in found] == [[[2, 0]], [[4, 0]]]
    assert served.cycles == 1


@pytest.mark.parametrize(
    "parts",
    [[request(*[(1, 2)] * 5)], [request((1, 2), path="/predict?a=b")], [request((1, 2))[:60], request((1, 2))[60:]]],
    ids=["rows that wait", "uvicorn's own", "half a request"],
)
def test_a_connection_that_waits_for_its_answer_is_not_idle(served: Watched, parts: list[bytes]) -> None:
    """Also where the request before it, in the same packet, was answered at once."""
    first, second = served.send(request((1, 2)) + parts[0], *parts[1:], answers=2)
    assert (first[0], second[0], served.cycles, served.closing) == (200, 200, 1, False)


@pytest.mark.parametrize(
    ("of", "code", "said"),
    [
        (request((1, float("nan"))), 400, "no JSON"),
        (request((1, 2), content_type="text/html"), 415, "not served"),
        (request((1, 2), content_encoding="gzip"), 415, "'gzip' is not read"),
        (request((1, 2), accept="text/html"), 406, "answers are"),
        (request((BROKEN, 2)), 500, "the replica's log says why"),
    ],
)
def test_what_is_wrong_is_answered_where_it_arrives(served: Watched, of: bytes, code: int, said: str) -> None:
    first, second = served.send(of + request((1, 2)), answers=2)  # and the connection goes on
    assert (first[0], second[0], served.cycles) == (code, 200, 0)
    assert said in first[2]["error"]
    assert first[2]["request_id"] == first[1]["x-request-id"]


def test_a_body_over_the_limit_is_refused(served: Watched) -> None:
    ((status, headers, _),) = served.send(b"POST /predict HTTP/1.1\r\nhost: a\r\ncontent-length: 100001\r\n\r\n")
    assert (status, headers["connection"]) == (413, "close")


@pytest.mark.parametrize("odd", ["a\x01b", "a\nb", "a\rset-cookie: b", "a\x00b", "a\x7fb"])
def test_an_id_cannot_write_headers(served: Watched, odd: str) -> None:
    """The parser refuses what would: the id goes into the answer as it came."""
    with socket.create_connection(("127.0.0.1", served.port), timeout=10) as connection:
        connection.sendall(request((1, 2), x_request_id=odd))
        with connection.makefile("rb") as stream:
            assert stream.readline().startswith(b"HTTP/1.1 400")


def test_what_was_counted_is_told_before_the_metrics_are_read() -> None:
    order: list[str] = []

    class Telling(_Nobody):
        def tell(self) -> None:
            order.append("told")

    async def bentoml(_scope: Any, _receive: Any, _send: Any) -> None:
        order.append("read")

    core = Core(lambda x: x, SCHEMA, ABOUT, Limits(5.0, 100_000, 8, 0.0, 64, inline_rows=4), Telling())
    lane = FastLane(bentoml, _Served(core))
    asyncio.run(lane({"type": "http", "method": "GET", "path": "/metrics"}, None, None))  # type: ignore[arg-type]
    core.close()
    assert order == ["told", "read"]


def test_finite_looks_at_every_value() -> None:
    from lockgate.services.serving.guards import finite
    from lockgate.services.serving.refusals import BadAnswer

    for dtype in ("float16", "float32", "float64"):
        large = np.finfo(dtype).max
        finite({"y": np.array([[large, -large, 0]], dtype)})  # its square is infinite, it is not
        for odd in (np.nan, np.inf, -np.inf):
            with pytest.raises(BadAnswer, match="in row 1"):
                finite({"x": np.ones(3, dtype), "y": np.array([[1, 2], [odd, large]], dtype)})
