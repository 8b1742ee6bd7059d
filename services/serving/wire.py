"""uvicorn's HTTP protocol, with requests to a fast engine answered where their bytes arrive.

uvicorn makes a task, two events, a cycle and half a dozen messages for each request: of a request that is all there,
and whose engine is faster than that, it is more than half of the work, and the more so where the caches are cold. Any
other request takes uvicorn's own way: one whose body is still coming, that wants its connection closed, that waits
behind another, or whose rows wait for the engine.

`HttpToolsProtocol` is nobody's promise. The version is pinned, and contract tests serve through it.
"""

from __future__ import annotations

from typing import Any, cast

from uvicorn import config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from .body import Scope
from .core import Core, Reply
from .lane import FastLane
from .paths import PREDICT
from .v2 import ROOT

_PATH, _V2 = PREDICT.encode(), f"{ROOT}/models/".encode()
_INVALID = "Invalid HTTP request received."
_LARGEST = 16 * 2**10
"""Bytes of a body: a larger one has many rows, which wait for the engine as a rule."""
_TURN = 16
"""Requests of one packet that are answered before others have their turn: 256 kB hold a thousand."""


def install() -> None:
    """For the servers that are started from now on in this process; what they serve need not be a `FastLane`."""
    config.HTTP_PROTOCOLS["auto"] = f"{__name__}:Wire"  # BentoML asks for `auto`


class Wire(HttpToolsProtocol):
    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self._lane = self.config.app if isinstance(self.config.app, FastLane) else None
        self._core: Core | None = None
        """Of the request whose body is awaited here; None: the request that comes is uvicorn's."""
        self._parts: list[bytes] = []
        self._left = _TURN
        self._defaults: list[tuple[bytes, bytes]] = []
        self._written = b""

    def data_received(self, data: bytes) -> None:
        self._left = _TURN
        super().data_received(data)
        if self._core is not None:
            self._core = None
            if not self.transport.is_closing():
                self._hand_over_outside()

    def on_headers_complete(self) -> None:
        self._core = self._mine() if self.url == _PATH or self.url.startswith(_V2) else None
        if self._core is None:
            self._unset_keepalive_if_required()
            super().on_headers_complete()
        else:
            self._parts = []
        self.headers = self.headers.copy()  # what trails a chunked body goes here, and not among the scope's

    def on_body(self, body: bytes) -> None:
        if self._core is None:
            super().on_body(body)
        else:
            self._parts.append(body)

    def on_message_complete(self) -> None:
        core, self._core = self._core, None
        if core is not None:
            body = b"".join(self._parts)
            reply = self._reply(core, body) if len(body) <= _LARGEST else None
            if reply is not None:
                self._left -= 1
                status, head, answer = reply
                self.transport.write(b"%b%b%b\r\n%b" % (STATUS_LINE[status], self._common(), head, answer))
                self.on_response_complete()
                return
            self._hand_over()
        super().on_message_complete()

    def _reply(self, core: Core, body: bytes) -> Reply | None:
        scope = cast("Scope", self.scope)
        try:
            return core.at_once(scope, body, self.url)
        except Exception as failed:  # noqa: BLE001 - the parser would say that the request is no HTTP
            return core.broken(scope, failed)

    def _mine(self) -> Core | None:
        """The core, where it may answer at once: nobody waits before this request, and its connection stays."""
        if self._lane is None or self.parser.get_method() != b"POST" or self.parser.get_http_version() != "1.1":
            return None
        if not self._left:
            return None
        free = (self.cycle is None or self.cycle.response_complete) and not self.flow.write_paused
        plain = self.parser.should_keep_alive() and not self.parser.should_upgrade() and not self.expect_100_continue
        core = self._lane.core if free and plain else None
        return core if core is not None and core.prompt else None

    def _hand_over(self) -> None:
        """To uvicorn, from the start; what came of the body so far comes again.

        An answer to a request before it, in the same packet, has set the time after which an idle connection is closed.
        """
        self._unset_keepalive_if_required()
        self.expect_100_continue = False  # it was, or this were uvicorn's from the start; a trailer may say otherwise
        super().on_headers_complete()
        for part in self._parts:
            super().on_body(part)
        self._parts = []

    def _hand_over_outside(self) -> None:
        """Where the parser does not catch what uvicorn raises of an address that is none."""
        try:
            self._hand_over()
        except Exception:  # noqa: BLE001 - as uvicorn's own way does
            self.logger.warning(_INVALID)
            self.send_400_response(_INVALID)

    def _common(self) -> bytes:
        """The headers of each answer: uvicorn makes them anew when the second of `date` is over."""
        now = self.server_state.default_headers
        if now is not self._defaults:
            self._defaults = now
            self._written = b"".join(b"%b: %b\r\n" % header for header in now)
        return self._written
