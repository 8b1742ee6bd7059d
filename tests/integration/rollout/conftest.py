"""A real Envoy between real HTTP servers, all of them on free loopback ports."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, Self

from lockgate.rollout.words import Endpoint

Mode = Literal["ok", "fail", "teapot", "hang", "reset", "truncate", "stall"]


@dataclass
class Upstream:
    """An HTTP server that answers its own name and the number of bytes it got, and can misbehave.

    fail: 500. teapot: 418. hang: reads the request and never answers. reset: closes without an answer.
    truncate: closes in the middle of the answer. stall: stops reading after the headers.
    """

    name: str
    mode: Mode = "ok"
    delay: float = 0.0
    port: int = 0
    hits: int = 0
    headers: list[dict[str, str]] = field(default_factory=list)
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)
    _server: asyncio.Server | None = None
    _thread: threading.Thread | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint("127.0.0.1", self.port)

    def __enter__(self) -> Self:
        listening = socket.create_server(("127.0.0.1", self.port), backlog=512)
        # Small, so that a stalled server's backlog is the sender's and not the kernel's.
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        self.port = listening.getsockname()[1]
        self._loop = asyncio.new_event_loop()
        self._server = self._loop.run_until_complete(
            asyncio.start_server(self._connection, sock=listening, limit=2**16)
        )
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._thread is None or self._server is None:
            return
        asyncio.run_coroutine_threadsafe(self._close(self._server), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._thread = self._server = None

    async def _close(self, server: asyncio.Server) -> None:
        server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
                while await self._answer(reader, writer):
                    pass
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        lines = head.split("\r\n")[1:-2]
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        self.hits += 1
        self.headers.append(headers)
        mode = self.mode
        if mode == "stall":
            await asyncio.Event().wait()
        left = length = int(headers.get("content-length", 0))
        while left:
            left -= len(await reader.readexactly(min(left, 2**16)))
        if mode == "hang":
            await asyncio.Event().wait()
        if mode == "reset":
            return False
        if self.delay:
            await asyncio.sleep(self.delay)
        return await self._write(writer, mode, f"{self.name} {length}".encode())

    async def _write(self, writer: asyncio.StreamWriter, mode: Mode, body: bytes) -> bool:
        status = {"fail": "500 Oops", "teapot": "418 Teapot"}.get(mode, "200 OK")
        promised = len(body) + (1000 if mode == "truncate" else 0)
        writer.write(f"HTTP/1.1 {status}\r\ncontent-length: {promised}\r\n\r\n".encode() + body)
        await writer.drain()
        if mode == "truncate":
            await asyncio.sleep(0.02)
            return False
        return True
