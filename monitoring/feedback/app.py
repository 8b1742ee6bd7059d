"""`POST /feedback` and `GET /ready`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from lockgate.monitoring.feedback import form
from lockgate.monitoring.feedback.errors import Invalid, Unavailable
from lockgate.monitoring.feedback.said import Said
from lockgate.monitoring.feedback.settings import Settings, Watched
from lockgate.monitoring.feedback.store import Reader, Told
from lockgate.monitoring.feedback.writer import Full, Writer, full

MOST_BYTES = 2**20
_MOST_AT_ONCE = 512
"""Requests whose bodies are in memory."""
_BODY_SECONDS = 10.0
_SHORT = 2**14
"""Bytes of a body that is read at once; a longer one is read beside the loop, which answers others meanwhile."""
_NOT_SET_UP = "feedback is not set up here yet; start a rollout with `lockgate run`, whose metrics it takes"


class _Answer(Exception):
    """Another answer than 202."""

    def __init__(self, status: int, sentences: Sequence[str]) -> None:
        super().__init__(status)
        self.response = JSONResponse({"errors": list(sentences)}, status)


@dataclass(slots=True)
class Intake:
    """Takes feedback in: checks it, has it written, answers."""

    watched: Watched
    writer: Writer
    reader: Reader
    _now: int = field(default=0, init=False)
    _said: Said = field(default_factory=Said, init=False)
    _forms: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(1, thread_name_prefix="feedback-form"), init=False
    )
    """One thread: however many long bodies come at once, the loop has its turn."""

    async def feedback(self, request: Request) -> Response:
        if self._now >= _MOST_AT_ONCE:
            return JSONResponse({"errors": ["too many requests at once; send it again later"]}, 503)
        self._now += 1
        try:
            return await self._taken(request)
        except _Answer as answer:
            return answer.response
        except ClientDisconnect:
            return Response(status_code=400)  # nobody reads it
        except Exception as reason:  # noqa: BLE001 - its text might repeat a row, so nobody else must log it
            self._said.trouble(f"a request could not be answered ({type(reason).__name__}); please report it")
            return JSONResponse({"errors": ["the server failed; see its log"]}, 500)
        finally:
            self._now -= 1

    async def ready(self, _: Request) -> Response:
        """`rows`: how many were ever told, at the most. 503 while the database cannot be read."""
        try:
            return JSONResponse({"rows": await asyncio.to_thread(self.reader.last)})
        except Unavailable as reason:
            return JSONResponse({"errors": [str(reason)]}, 503)

    async def _taken(self, request: Request) -> Response:
        settings = self.watched.now()
        if settings is None:
            raise _Answer(503, [_NOT_SET_UP])
        body = await _body(request)
        if self.writer.size >= settings.max_size:
            raise _Answer(503, [full(settings.max_size)])
        if len(body) > _SHORT:
            rows = await asyncio.get_running_loop().run_in_executor(self._forms, _rows, body, settings, request)
        else:
            rows = _rows(body, settings, request)
        try:
            new = await asyncio.wrap_future(self.writer.put(rows))
        except Full as reason:
            raise _Answer(503, [str(reason)]) from reason
        except Unavailable as reason:
            raise _Answer(503, ["feedback cannot be written now; send it again later"]) from reason
        return JSONResponse({"accepted": new, "known": len(rows) - new}, 202)


def _rows(body: bytes, settings: Settings, request: Request) -> list[Told]:
    users = request.headers.getlist(settings.header)
    several = len(users) > 1  # they are routed, and captured, as a user of their own whom nobody can name
    user = users[0].encode("latin-1").strip(b" \t") if users and not several else b""
    try:
        return form.rows(body, settings, form.Sent(time.time(), user, several))
    except form.NotJson as reason:
        raise _Answer(400, reason.sentences) from reason
    except Invalid as reason:
        raise _Answer(422, reason.sentences) from reason


async def _body(request: Request) -> bytes:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in ("", "application/json"):
        raise _Answer(415, ["the body must be JSON; send content-type: application/json"])
    length = request.headers.get("content-length", "")
    found = bytearray()
    if not (length.isdecimal() and int(length) > MOST_BYTES):
        try:
            async with asyncio.timeout(_BODY_SECONDS):
                async for piece in request.stream():
                    found += piece
                    if len(found) > MOST_BYTES:
                        break
                else:
                    return bytes(found)
        except TimeoutError as reason:
            raise _Answer(408, [f"the body did not come within {_BODY_SECONDS:g} s"]) from reason
    raise _Answer(413, [f"the body is longer than {MOST_BYTES} bytes; send fewer rows at once"])


def app(intake: Intake) -> Starlette:
    return Starlette(
        routes=[
            Route("/feedback", intake.feedback, methods=["POST"]),
            Route("/ready", intake.ready, methods=["GET"]),
        ]
    )
