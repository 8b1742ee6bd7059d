"""A fast lane in front of BentoML's app.

POST on the predict route goes straight to `Core`, outside of Starlette's routing, the tracing span, the access log and
the timer that BentoML never cancels. Health, metrics and documentation stay BentoML's.
"""

from __future__ import annotations

from typing import Protocol

from .body import Receive, Scope, Send, head
from .core import Core
from .paths import DOCS, INFO, METRICS, PREDICT
from .refusals import BadRequest, WrongMethod
from .v2 import ROOT as V2

_BELOW = f"{V2}/"
_PAGES = {"/", "/livez", "/readyz", "/healthz", METRICS, "/schema.json", DOCS, PREDICT, INFO}
_FOLDERS = ("/static_content/", "/assets/")
_HERE = {"POST": (PREDICT, INFO), "GET": (INFO, DOCS)}
_ALLOWED = {PREDICT: "POST", INFO: "GET, POST"}


class HasCore(Protocol):
    @property
    def core(self) -> Core | None:
        """There once the model is loaded and warm."""


class FastLane:
    def __init__(self, app: object, service: HasCore) -> None:
        self._app, self._service = app, service

    @property
    def core(self) -> Core | None:
        """As its service has it."""
        return self._service.core

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        core = self.core
        if scope["type"] != "http" or core is None:
            await self._app(scope, receive, send)  # type: ignore[operator]
        elif scope["path"] in _HERE.get(scope["method"], ()):
            await _serve(core, scope, receive, send)
        elif scope["path"].startswith(_BELOW) or scope["path"] == V2:
            await core.v2.serve(core, scope, receive, send)
        elif scope["path"] not in _PAGES and not scope["path"].startswith(_FOLDERS):
            await core.refuse(send, _nothing_here(), head(scope).id)
        elif scope["method"] in ("GET", "HEAD") and scope["path"] not in _ALLOWED:
            if scope["path"] == METRICS:
                core.tell()
            await self._app(scope, receive, send)  # type: ignore[operator]
        else:
            await core.refuse(send, _wrong_method(scope), head(scope).id)


async def _serve(core: Core, scope: Scope, receive: Receive, send: Send) -> None:
    if scope["path"] == PREDICT:
        await core.handle(scope, receive, send)
    else:
        page = core.info if scope["path"] == INFO else core.docs
        await core.respond(send, 200, b"application/json", page, head(scope).id)


def _nothing_here() -> BadRequest:
    """BentoML would make a time series of every unknown path that somebody asks for."""
    return BadRequest(f"nothing is at this path; POST rows to {PREDICT}, or read {DOCS}", 404)


def _wrong_method(scope: Scope) -> BadRequest:
    allowed = _ALLOWED.get(scope["path"], "GET, HEAD")
    return WrongMethod(f"{scope['method'][:20]} is not answered at {scope['path'][:80]}; use {allowed}", allowed)
