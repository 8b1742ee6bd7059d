"""Steady requests from a process of its own, each answer checked: python -m benchmarks.chaos.load URL RATE.

Every fifth of a second a line of JSON with the counts and the failures since the last one; SIGTERM ends it, when what
was asked is answered. A failure is whatever is not the answer of one of the versions to exactly this input.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from benchmarks.chaos.replica import answer

SECONDS = 15.0
"""That a request may take."""
SAID_EVERY = 0.2
_USERS = 2000
_CLOSE_ENOUGH = 1e-3
"""A compiled model computes with 32 bits."""
_SPARE = 16
"""Connections that are kept when they are not needed: what a busy moment took is given back."""
Pair = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Failed(Exception):
    """One request: the kind is `refused`, `reset`, `timeout`, `status` or `wrong`."""

    def __init__(self, kind: str, what: str = "") -> None:
        super().__init__(what)
        self.kind = kind


@dataclass
class Asking:
    host: str
    port: int
    rate: float
    asked: int = 0
    answered: int = 0
    versions: Counter[str] = field(default_factory=Counter)
    ids: set[str] = field(default_factory=set)
    failures: list[dict[str, Any]] = field(default_factory=list)
    slowest: float = 0.0
    _idle: list[Pair] = field(default_factory=list)
    _stop: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self._stop.set)
        under_way: set[asyncio.Task[None]] = set()
        began, said = time.monotonic(), 0.0
        while not self._stop.is_set():
            due = began + self.asked / self.rate
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            task = asyncio.create_task(self._one(self.asked))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
            self.asked += 1
            if (now := time.monotonic()) - said > SAID_EVERY:
                self.say()
                said = now
        await asyncio.gather(*under_way)
        self.say(done=True)
        for _, writer in self._idle:
            writer.close()

    def say(self, *, done: bool = False) -> None:
        line = {"asked": self.asked, "answered": self.answered, "versions": dict(self.versions), "done": done}
        line |= {"failures": self.failures, "slowest": round(self.slowest, 3), "at": time.time()}
        print(json.dumps(line), flush=True)
        self.failures, self.slowest = [], 0.0

    async def _one(self, number: int) -> None:
        row = [round(random.uniform(-1, 1), 4) for _ in range(4)]  # noqa: S311 - inputs
        started = time.time()
        try:
            version = await asyncio.wait_for(self._exchange(number, row), SECONDS)
        except Failed as failed:
            self._failed(started, failed.kind, str(failed))
        except TimeoutError:
            self._failed(started, "timeout", f"no answer in {SECONDS:g} s")
        else:
            self.answered += 1
            self.versions[version] += 1
            self.slowest = max(self.slowest, time.time() - started)

    def _failed(self, started: float, kind: str, what: str) -> None:
        self.failures.append({"asked_at": started, "at": time.time(), "kind": kind, "what": what})

    async def _exchange(self, number: int, row: list[float]) -> str:
        """The version that answered. Raises `Failed`."""
        pair = await self._connection()
        body = json.dumps({"inputs": [row]}).encode()
        head = (
            f"POST /predict HTTP/1.1\r\nhost: chaos\r\ncontent-type: application/json\r\ncontent-length: {len(body)}"
            f"\r\nx-user-id: user-{number % _USERS}\r\nx-request-id: {os.getpid()}-{number}\r\n\r\n"
        )
        try:
            pair[1].write(head.encode() + body)
            status, headers, text = await _answer(pair[0])
        except (OSError, asyncio.IncompleteReadError) as lost:
            pair[1].close()
            raise Failed("reset", f"{type(lost).__name__} after the request was sent") from lost
        except asyncio.CancelledError:
            pair[1].close()
            raise
        if headers.get("connection") == "close" or len(self._idle) >= _SPARE:
            pair[1].close()
        else:
            self._idle.append(pair)
        if status != 200:
            raise Failed("status", f"{status} {text[:80].decode(errors='replace')}")
        return _checked(headers.get("x-lockgate-version", ""), row, text)

    async def _connection(self) -> Pair:
        while self._idle:
            pair = self._idle.pop()
            if not pair[0].at_eof() and not pair[1].is_closing():
                return pair
            pair[1].close()
        try:
            return await asyncio.open_connection(self.host, self.port)
        except OSError as refused:
            raise Failed("refused", str(refused)) from refused


async def _answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:-2])}
    return int(head[0].split()[1]), headers, await reader.readexactly(int(headers.get("content-length", 0)))


def _checked(version: str, row: list[float], text: bytes) -> str:
    try:
        found = json.loads(text)["outputs"]
        while not isinstance(found, float | int):
            found = next(iter(found.values())) if isinstance(found, dict) else found[0]
        wanted = answer(version, row)
    except (ValueError, KeyError, TypeError, IndexError, StopIteration) as odd:
        raise Failed("wrong", f"version {version!r} answered {text[:80]!r}") from odd
    if abs(found - wanted) > _CLOSE_ENOUGH:
        raise Failed("wrong", f"version {version} answered {found} for {row}; it is {wanted}")
    return version


def main() -> None:
    at = urlsplit(sys.argv[1])

    async def ask() -> None:
        await Asking(str(at.hostname), at.port or 80, float(sys.argv[2])).run()

    asyncio.run(ask())


if __name__ == "__main__":
    main()
