"""Takes MLflow's webhooks in over HTTP, beside `lockgate serve`: small, bounded, and never the one thing that matters.

Each connection is for one request and has a few seconds in all; there are so many at once and no more, and whoever
comes beyond that is sent away. What is refused is logged with the reason, and without what was sent.
"""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, HTTPServer
from socketserver import ThreadingMixIn
from types import TracebackType
from typing import Any, Self

from lockgate.flows.errors import MissingPart
from lockgate.registry.deliveries import LARGEST

_LOG = logging.getLogger("lockgate.hooks")
MOST = 16
"""Connections at once; MLflow has ten threads that deliver."""
WITHIN = 10.0
"""Seconds for a whole connection."""
AGAIN = 30.0
"""Seconds until a receiver that ended is started anew."""
Take = Callable[[Mapping[str, str], bytes], object]
"""Takes a delivery, headers in lower case; raises `Refusal` for one that is none."""


class Refusal(Exception):
    """Why a delivery is not taken: a sentence for our log, and a status for whoever sent it."""

    def __init__(self, status: HTTPStatus, why: str) -> None:
        super().__init__(why)
        self.status = status


def parsed(address: str) -> tuple[str, int]:
    """`HOST:PORT`, with an IPv6 host in brackets. Raises `ValueError`."""
    host, _, port = address.rpartition(":")
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not host or not (port.isascii() and port.isdigit() and len(port) < 6 and 0 < int(port) < 2**16):
        raise ValueError("needs a host and a port from 1 to 65535, like 127.0.0.1:8787")
    return host, int(port)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    server_version, sys_version = "lockgate", ""

    def do_POST(self) -> None:
        status = HTTPStatus.OK
        try:
            self.server.take({name.lower(): value for name, value in self.headers.items()}, self._body())
        except Refusal as refusal:
            status = refusal.status
            self.server.refuse(self.client_address[0], str(refusal))
        except Exception:  # noqa: BLE001 - the next one is taken all the same
            status = HTTPStatus.INTERNAL_SERVER_ERROR
            _LOG.exception("a webhook woke nobody; what it said is found on schedule")
        with suppress(OSError):  # whoever asked is gone
            self.send_response(status)
            self.send_header("content-length", "0")
            self.send_header("connection", "close")
            self.end_headers()

    def _body(self) -> bytes:
        said = self.headers.get("content-length", "")
        if not (said.isascii() and said.isdigit()):
            raise Refusal(HTTPStatus.LENGTH_REQUIRED, "it does not say how long it is")
        if len(said) > 9 or int(said) > LARGEST:
            raise Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"it is larger than {LARGEST} bytes")
        body = self.rfile.read(int(said))
        if len(body) < int(said):
            raise Refusal(HTTPStatus.BAD_REQUEST, "it ended early")
        return body

    def log_message(self, *_: Any) -> None:
        """Lines with what a stranger sent are no lines for our log."""


class _Server(ThreadingMixIn, HTTPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = MOST

    def __init__(self, at: tuple[str, int], take: Take) -> None:
        self.take = take
        self._room = threading.BoundedSemaphore(MOST)
        self.address_family = socket.AF_INET6 if ":" in at[0] else socket.AF_INET
        super().__init__(at, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._room.acquire(blocking=False):
            try:
                super().process_request(request, client_address)
            except BaseException:  # its thread has not started, and will not give the room back
                self._room.release()
                raise
        else:
            self.refuse(client_address[0], f"{MOST} are being taken already")
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        limit = threading.Timer(WITHIN, _cut, [request])
        limit.daemon = True
        try:
            limit.start()
            super().process_request_thread(request, client_address)
        except RuntimeError:  # there was no thread for the limit
            self.handle_error(request, client_address)
            self.shutdown_request(request)
        finally:
            limit.cancel()
            self._room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - socketserver's signature
        self.refuse(client_address[0], "the connection broke")

    def refuse(self, sender: str, why: str) -> None:
        _LOG.warning("a webhook from %s was refused: %s", sender, why)


def _cut(request: socket.socket) -> None:
    with suppress(OSError):
        request.shutdown(socket.SHUT_RDWR)


class HookServer:
    """Serves while the `with` lasts. One that ends before is said, and started anew."""

    def __init__(self, at: tuple[str, int], take: Take, again: float = AGAIN) -> None:
        """`again`: seconds until one that ended is started anew. Raises `MissingPart` for an address that is taken."""
        self._take, self._again = take, again
        self._ends = threading.Event()
        try:
            self._server: _Server | None = _Server(at, take)
        except OSError as error:
            why = (error.strerror or str(error)).lower()
            raise MissingPart(
                f"webhooks cannot be taken on {at[0]}:{at[1]} ({why}); name another address with `--webhooks HOST:PORT`"
            ) from error
        self.address: tuple[str, int] = (at[0], self._server.server_address[1])
        self._thread = threading.Thread(target=self._work, name="webhooks", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ends.set()
        if server := self._server:
            server.shutdown()
        self._thread.join(WITHIN)

    def _work(self) -> None:
        while not self._ends.is_set():
            try:
                with self._server or _Server(self.address, self._take) as self._server:
                    self._server.serve_forever(poll_interval=0.1)
            except Exception as error:  # noqa: BLE001 - `serve` goes on by polling, and says so
                _LOG.error(
                    "the receiver of webhooks on %s:%d ended (%s): everything is found on schedule until it runs again,"
                    " in %g s",
                    *(*self.address, error, self._again),
                )
                self._ends.wait(self._again)
            finally:
                self._server = None
