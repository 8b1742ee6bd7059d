"""One request: decode, engine, check the answer, encode. Counted whatever happens."""

from __future__ import annotations

import asyncio
import logging
import time
import traceback
from dataclasses import asdict, dataclass
from typing import Protocol

import numpy as np
import orjson

from . import codecs
from .batcher import Batcher, Run
from .body import ClientGone, Head, Receive, Scope, Send, body, head
from .capture import Capture
from .metrics import Metrics
from .refusals import BadAnswer, Refusal, TooSlow
from .schema import Arrays, Schema

log = logging.getLogger("bentoml.lockgate")

CLIENT_GONE = 499
_INNERMOST = 5
_JSON = b"application/json"
_NPY = b"application/x-npy"


@dataclass(frozen=True, slots=True)
class About:
    """What this replica serves; `/info` answers with it."""

    model: str
    version: str
    digest: str
    target: str
    precision: str
    proof: str
    """Where what runs was proven."""
    spec_hash: str
    bento: str
    replica: str


@dataclass(frozen=True, slots=True)
class Limits:
    """`inline_rows`: requests up to this size run on the event loop, for an engine faster than a thread hop."""

    timeout: float
    max_body: int
    max_batch: int
    max_wait: float
    max_queue: int
    inline_rows: int


class Counter(Protocol):
    def answered(self, code: int, seconds: float) -> None: ...
    def inferred(self, rows: int, seconds: float) -> None: ...
    def batch(self, rows: int) -> None: ...


class Core:
    """Owns the engine while the service runs."""

    def __init__(self, run: Run, schema: Schema, about: About, limits: Limits, metrics: Metrics | Counter) -> None:
        self._run, self._schema, self._limits, self._metrics = run, schema, limits, metrics
        self._batcher = Batcher(run, max_batch=limits.max_batch, max_wait=limits.max_wait, max_queue=limits.max_queue)
        self._batcher.observe = metrics.batch
        self.capture: Capture | None = None
        """Keeps what is answered; None keeps nothing."""
        self.info = orjson.dumps(asdict(about))
        self._named = {"model": about.model, "version": about.version}
        self._headers = [(b"x-lockgate-version", _latin(about.version)), (b"x-lockgate-digest", _latin(about.digest))]

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        request = head(scope, self.capture.sticky if self.capture else b"")
        kind, code = _JSON, 200
        try:
            kind, answer = await self._answer(request, receive)
        except ClientGone:
            self._answered(request, CLIENT_GONE, started)
            return
        except Refusal as refusal:
            code, answer = refusal.status, _sentence(str(refusal), request)
        except Exception as failed:  # noqa: BLE001 - a model raises anything
            self._log(failed, request)
            code, answer = 500, _sentence("the model failed on this request; the replica's log says why", request)
        self._answered(request, code, started)
        await self.respond(send, code, kind, answer, request.id)

    async def infer(self, x: Arrays, rows: int) -> Arrays:
        """The engine's outputs for these rows. Raises a `Refusal`, or what the engine raises."""
        started = time.perf_counter()
        if rows <= self._limits.inline_rows:
            found = self._run(x)
        else:
            found = await self._queued(x, rows)
        _finite(found)
        self._metrics.inferred(rows, time.perf_counter() - started)
        return found

    def close(self) -> None:
        self._batcher.close()
        if self.capture is not None:
            self.capture.close()

    async def respond(self, send: Send, code: int, kind: bytes, answer: bytes, request_id: bytes) -> None:
        headers = [
            (b"content-type", kind),
            (b"content-length", str(len(answer)).encode()),
            (b"x-request-id", request_id),
            *self._headers,
        ]
        if code in (408, 413):  # the rest of the body is not read
            headers.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": code, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    async def _answer(self, request: Head, receive: Receive) -> tuple[bytes, bytes]:
        whole = await body(receive, request.length, self._limits.max_body, self._limits.timeout)
        x = self._schema.decode(request.content_type, whole)
        rows, capture = len(next(iter(x.values()))), self.capture
        if capture is not None:
            capture.inputs(request, x, rows)
        request.outputs = outputs = await self.infer(x, rows)
        if request.accept == _NPY and len(outputs) == 1:
            return _NPY, codecs.to_npy(next(iter(outputs.values())))
        return _JSON, codecs.to_json(self._named, outputs)

    def _answered(self, request: Head, code: int, started: float) -> None:
        seconds = time.perf_counter() - started
        self._metrics.answered(code, seconds)
        if self.capture is not None:
            self.capture.add(request, code, seconds)

    def _log(self, failed: Exception, request: Head) -> None:
        """A model's own words may repeat what it was asked."""
        if self.capture is None or not self.capture.redacts:
            log.error("the model failed on request %s", _text(request.id), exc_info=failed)
            return
        told = f"{type(failed).__name__} at {_places(failed)}; its text is left out, for the spec redacts inputs"
        log.error("the model failed on request %s: %s", _text(request.id), told)

    async def _queued(self, x: Arrays, rows: int) -> Arrays:
        waiting = self._batcher.submit(x, rows)
        try:
            async with asyncio.timeout(self._limits.timeout):
                return await waiting
        except TimeoutError:
            raise TooSlow(f"no answer within {self._limits.timeout:g} s") from None


def _finite(outputs: Arrays) -> None:
    """NaN is no prediction. It leaves as an error, so that the gates see it and not the client's arithmetic."""
    for name, value in outputs.items():
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            row = int(np.argwhere(~np.isfinite(value))[0][0])
            what = "NaN" if np.isnan(value[row]).any() else "infinity"
            raise BadAnswer(f"the model answered {what} for output {name!r} in row {row}")


def _places(failed: Exception) -> str:
    """The innermost lines of code that it went through."""
    frames = [(frame.f_code, line) for frame, line in traceback.walk_tb(failed.__traceback__)][-_INNERMOST:]
    return " > ".join(f"{code.co_filename}:{line} {code.co_name}" for code, line in frames)


def _sentence(text: str, request: Head) -> bytes:
    return orjson.dumps({"error": text, "request_id": _text(request.id)})


def _text(raw: bytes) -> str:
    return raw.decode("latin-1")


def _latin(text: str) -> bytes:
    return text.encode("latin-1", "replace")
