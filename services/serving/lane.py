"""A fast lane in front of BentoML's app.

POST on the predict route goes straight to `Core`, outside of Starlette's routing, the tracing span, the access log and
the timer that BentoML never cancels. Health, metrics and documentation stay BentoML's.
"""

from __future__ import annotations

from typing import Protocol

import orjson

from .body import Receive, Scope, Send, head
from .core import Core

PREDICT, INFO = "/predict", "/info"
_PAGES = {"/", "/livez", "/readyz", "/healthz", "/metrics", "/docs.json", "/schema.json", PREDICT, INFO}
_FOLDERS = ("/static_content/", "/assets/")
_HERE = {"POST": (PREDICT, INFO), "GET": (INFO,)}


class HasCore(Protocol):
    @property
    def core(self) -> Core | None:
        """There once the model is loaded and warm."""


class FastLane:
    def __init__(self, app: object, service: HasCore) -> None:
        self._app, self._service = app, service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        core = self._service.core
        if scope["type"] != "http" or core is None:
            await self._app(scope, receive, send)  # type: ignore[operator]
        elif scope["path"] in _HERE.get(scope["method"], ()):
            await _serve(core, scope, receive, send)
        elif scope["path"] in _PAGES or scope["path"].startswith(_FOLDERS):
            await self._app(scope, receive, send)  # type: ignore[operator]
        else:
            await _nothing_here(core, scope, send)


async def _serve(core: Core, scope: Scope, receive: Receive, send: Send) -> None:
    if scope["path"] == PREDICT:
        await core.handle(scope, receive, send)
    else:
        await core.respond(send, 200, b"application/json", core.info, head(scope).id)


async def _nothing_here(core: Core, scope: Scope, send: Send) -> None:
    """BentoML would make a time series of every unknown path that somebody asks for."""
    sentence = f"nothing is at this path; POST rows to {PREDICT}, or read /docs.json"
    await core.respond(send, 404, b"application/json", orjson.dumps({"error": sentence}), head(scope).id)
