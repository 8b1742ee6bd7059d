"""A replica that costs nothing: python replica.py PORT ID DIGEST VERSION. Answers as a bento does, from plain Python.

It stands in for `bentoml serve` where a point is about everything but the model: what it computes is known to whoever
asks, so that every answer can be checked. Of version 3 every second answer is an error, and of any version each one
after SIGUSR1.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys

BROKEN = "3"


def answer(version: str, row: list[float]) -> float:
    """What version `version` answers for one row of inputs: another number for each version."""
    return round(float(version) * row[0] + row[1] - row[2] + 0.5 * row[3], 6)


class Connection(asyncio.Protocol):
    def __init__(self, me: dict[str, str]) -> None:
        self._me, self._held = me, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._held += data
        while (whole := self._next()) is not None:
            status, body = self._answer(*whole)
            head = (
                f"HTTP/1.1 {status} -\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
                f"x-lockgate-version: {self._me['version']}\r\nx-lockgate-digest: {self._me['digest']}\r\n\r\n"
            )
            self._transport.write(head.encode() + body)  # type: ignore[attr-defined]

    def _next(self) -> tuple[str, bytes] | None:
        """The path and the body of the next request that is here as a whole."""
        head, end, rest = self._held.partition(b"\r\n\r\n")
        if not end:
            return None
        lines = head.decode("latin-1").lower().split("\r\n")
        length = next((int(line.split(":")[1]) for line in lines if line.startswith("content-length:")), 0)
        if len(rest) < length:
            return None
        self._held = rest[length:]
        return lines[0].split()[1], rest[:length]

    def _answer(self, path: str, body: bytes) -> tuple[int, bytes]:
        if path != "/predict":
            return 200, json.dumps(self._me).encode()
        [row] = json.loads(body)["inputs"]
        if (self._me["version"] == BROKEN and row[0] > 0) or "broken" in self._me:
            return 500, b'{"error": "broken"}'
        return 200, json.dumps({"outputs": {"y": [answer(self._me["version"], row)]}, **self._me}).encode()


async def serve(port: int, me: dict[str, str]) -> None:
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_signal_handler(signal.SIGUSR1, me.setdefault, "broken", "by a signal")
    server = await loop.create_server(lambda: Connection(me), "127.0.0.1", port, backlog=512)
    await stop.wait()
    server.close()
    await asyncio.sleep(0.05)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        names = ("replica", "digest", "version")
        asyncio.run(serve(int(sys.argv[1]), dict(zip(names, sys.argv[2:], strict=True))))
