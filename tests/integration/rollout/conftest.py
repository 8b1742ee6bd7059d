"""A real Envoy between real HTTP servers, all of them on free loopback ports."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

import httpx
import pytest

from lockgate.rollout.envoy import process
from lockgate.rollout.envoy.router import EnvoyRouter
from lockgate.rollout.envoy.source import EnvoySource
from lockgate.rollout.spec import Traffic
from lockgate.rollout.words import Counts, Endpoint, Routes

Mode = Literal["ok", "fail", "teapot", "hang", "reset", "stall", "break", "trickle"]


class _Loop:
    """An asyncio loop in a thread of its own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()

    def begin(self, coroutine: Any) -> Future[Any]:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@dataclass
class Upstream:
    """An HTTP server that answers its name and the size of the body it got, and can misbehave.

    fail: 500. teapot: 418. hang: never answers. reset: closes without an answer. stall: never reads. break: closes in
    the middle of its answer. trickle: never sends the end of it.
    It listens on `path`, a unix socket, where that is given.
    """

    name: str
    mode: Mode = "ok"
    delay: float = 0.0
    port: int = 0
    path: Path | None = None
    hits: int = 0
    last: dict[str, str] = field(default_factory=dict)
    """Headers of the last request."""
    _connections: set[_Connection] = field(default_factory=set)
    _loop: _Loop | None = None
    _server: asyncio.Server | None = None

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint("127.0.0.1", self.port)

    def __enter__(self) -> Self:
        listening = self._listening()
        self._loop = _Loop()
        self._server = self._loop.begin(self._listen(listening)).result()
        return self

    def __exit__(self, *_: object) -> None:
        if self._loop is not None:
            self._loop.begin(self._close()).result()
            self._loop.close()
        self._loop = None

    def _listening(self) -> socket.socket:
        if self.path is not None:
            self.path.unlink(missing_ok=True)
            listening = socket.socket(socket.AF_UNIX)
            listening.bind(str(self.path))
            listening.listen(512)
            return listening
        listening = socket.create_server(("127.0.0.1", self.port), backlog=512)
        # Small, so that the sender and not the kernel holds what a stalled server does not read.
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192 if self.mode == "stall" else 2**20)
        self.port = listening.getsockname()[1]
        return listening

    async def _listen(self, listening: socket.socket) -> asyncio.Server:
        return await asyncio.get_running_loop().create_server(lambda: _Connection(self), sock=listening)

    async def _close(self) -> None:
        assert self._server is not None
        for listening in self._server.sockets:
            asyncio.get_running_loop().remove_reader(listening.fileno())
        # What was accepted a moment ago must become a connection first: Python 3.11 leaks it otherwise.
        await asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task()}))
        self._server.close()
        for connection in self._connections:
            connection.transport.abort()
        await asyncio.sleep(0)


class _Connection(asyncio.Protocol):
    transport: asyncio.Transport

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._head = b""
        self._headers: dict[str, str] = {}
        self._left = -1

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._upstream._connections.add(self)
        if self._upstream.mode == "stall":
            transport.pause_reading()

    def connection_lost(self, _: Exception | None) -> None:
        self._upstream._connections.discard(self)

    def data_received(self, data: bytes) -> None:
        if self._left < 0:
            self._head += data
            head, end, data = self._head.partition(b"\r\n\r\n")
            if not end:
                return
            lines = head.decode("latin-1").split("\r\n")[1:]
            self._headers = {name: value for name, _, value in (line.partition(": ") for line in lines)}
            self._left = int(self._headers.get("content-length", 0))
        self._left -= len(data)
        if self._left == 0:
            self._left, self._head = -1, b""
            self._request()

    def _request(self) -> None:
        upstream = self._upstream
        upstream.hits += 1
        upstream.last = self._headers
        if upstream.mode == "hang":
            return
        if upstream.mode == "reset":
            self.transport.abort()
            return
        if upstream.mode in ("break", "trickle"):
            self.transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf")
            if upstream.mode == "break":
                self.transport.close()
            return
        body = f"{upstream.name} {self._headers.get('content-length', 0)}"
        status = {"fail": "500 Oops", "teapot": "418 Teapot"}.get(upstream.mode, "200 OK")
        answer = f"HTTP/1.1 {status}\r\ncontent-length: {len(body)}\r\n\r\n{body}".encode()
        if upstream.delay:
            asyncio.get_running_loop().call_later(upstream.delay, self.transport.write, answer)
        else:
            self.transport.write(answer)


@dataclass
class Clients:
    """Keep-alive clients that send one request after the other, and what became of their requests."""

    address: tuple[str, int]
    answers: Counter[tuple[int, str]] = field(default_factory=Counter)
    """(status, variant) of each; status 0 for a request that got no answer. `variants` are by user."""
    variants: dict[str, str] = field(default_factory=dict)
    path: str = "/p"
    body: bytes = b"[]"
    header: str = ""
    """Another one that each request has, as a line."""
    tls: ssl.SSLContext | None = None

    def ask(self, users: Sequence[str], connections: int = 16) -> dict[str, str]:
        """One request of each user; the variants they got."""
        self.variants = {}
        queue = list(reversed(users))
        with contextlib.closing(_Loop()) as loop:
            loop.begin(self._all(lambda: queue.pop() if queue else None, connections)).result()
        return self.variants

    @contextlib.contextmanager
    def load(self, connections: int = 4) -> Iterator[Self]:
        """Requests all the time."""
        stop = threading.Event()
        with contextlib.closing(_Loop()) as loop:
            done = loop.begin(self._all(lambda: None if stop.is_set() else "", connections))
            try:
                yield self
            finally:
                stop.set()
                done.result(30)

    async def _all(self, take: Callable[[], str | None], connections: int) -> None:
        await asyncio.gather(*(self._one(take) for _ in range(connections)))

    async def _one(self, take: Callable[[], str | None]) -> None:
        reader, writer = await asyncio.open_connection(*self.address, ssl=self.tls)
        while (user := take()) is not None:
            status, headers = await self._exchange(reader, writer, user)
            variant = headers.get("x-lockgate-variant", "")
            self.answers[status, variant] += 1
            self.variants[user] = variant
            if not status or headers.get("connection") == "close":
                await _close(writer)
                reader, writer = await asyncio.open_connection(*self.address, ssl=self.tls)
        await _close(writer)

    async def _exchange(self, reader: Any, writer: Any, user: str) -> tuple[int, dict[str, str]]:
        header = f"x-user-id: {user}\r\n" if user else ""
        length = f"content-length: {len(self.body)}"
        asked = f"POST {self.path} HTTP/1.1\r\nhost: h\r\n{header}{self.header}{length}\r\n\r\n"
        writer.write(asked.encode() + self.body)
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            headers = dict(line.split(": ", 1) for line in head.split("\r\n")[1:-2])
            await reader.readexactly(int(headers["content-length"]))
            return int(head.split()[1]), headers
        except (asyncio.IncompleteReadError, ConnectionError):
            return 0, {}

    @property
    def failed(self) -> int:
        return sum(count for (status, _), count in self.answers.items() if status != 200)

    @property
    def sent(self) -> int:
        return self.answers.total()


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


@dataclass
class Plane:
    """A router that runs, its two sides and what a test asks of them."""

    router: EnvoyRouter
    traffic: Traffic
    stable: Upstream
    candidate: Upstream

    @property
    def source(self) -> EnvoySource:
        return EnvoySource(self.router)

    @property
    def url(self) -> str:
        return f"http://{self.traffic.listen}/predict"

    def routes(self, weight: int = 0, mirror: int = 0) -> Routes:
        return Routes((self.stable.endpoint,), (self.candidate.endpoint,), weight, mirror)

    def clients(self) -> Clients:
        host, port = self.traffic.listen.split(":")
        return Clients((host, int(port)))

    def post(self, body: bytes = b"[]", times: int = 1, **headers: str) -> list[httpx.Response]:
        """Headers are given with `_` for `-`."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        with httpx.Client(trust_env=False, timeout=30) as client:
            return [client.post(self.url, content=body, headers=named) for _ in range(times)]

    def counted(self, enough: Callable[[Counts], bool]) -> Counts:
        """The counts as soon as they are `enough`; histograms come a moment later than counters."""
        return until(self.source.measure, enough)  # type: ignore[no-any-return]


def until(ask: Callable[[], Any], enough: Callable[[Any], bool], seconds: float = 10.0) -> Any:
    deadline = time.monotonic() + seconds
    while not enough(got := ask()):
        assert time.monotonic() < deadline, f"still {got} after {seconds} s"
        time.sleep(0.02)
    return got


def free_address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


@pytest.fixture
def traffic() -> Traffic:
    return Traffic.model_validate(
        {"listen": free_address(), "metrics": free_address(), "timeout": "8s", "failover": {"deadline": "500ms"}}
    )


@pytest.fixture
def sides() -> Iterator[tuple[Upstream, Upstream]]:
    with Upstream("stable") as stable, Upstream("candidate") as candidate:
        yield stable, candidate


@pytest.fixture
def router(tmp_path: Path, traffic: Traffic) -> Iterator[EnvoyRouter]:
    """One that does not run yet; what a test starts is ended."""
    made = EnvoyRouter(tmp_path / "router", traffic)
    yield made
    if left := process.find(made.at):
        process.end(left, made.at)
    assert process.find(made.at) is None


@pytest.fixture
def plane(router: EnvoyRouter, traffic: Traffic, sides: tuple[Upstream, Upstream]) -> Plane:
    made = Plane(router, traffic, *sides)
    router.start(made.routes())
    return made


@pytest.fixture
def eventually() -> Any:
    return until


@pytest.fixture
def upstream() -> type[Upstream]:
    return Upstream
