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
from .accept import Form, forms
from .batcher import Batcher, Run
from .body import Bodies, ClientGone, Head, Message, Receive, Scope, Send, drain, head
from .capture import Capture
from .metrics import Metrics
from .openapi import document, example_of
from .refusals import BadAnswer, BadRequest, Refusal, TooSlow, WrongMethod
from .schema import Arrays, Schema

log = logging.getLogger("bentoml.lockgate")

CLIENT_GONE = 499
_INNERMOST = 5
_TOO_SLOW = 408
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
        run = _contained(run)
        self._run, self._schema, self._limits, self._metrics = run, schema, limits, metrics
        self._bodies = Bodies(limits.max_body, limits.timeout)
        self._batcher = Batcher(run, max_batch=limits.max_batch, max_wait=limits.max_wait, max_queue=limits.max_queue)
        self._batcher.observe = metrics.batch
        self.capture: Capture | None = None
        """Keeps what is answered; None keeps nothing."""
        self.info = orjson.dumps(asdict(about))
        self._docs = document(schema, about.model, about.version), b""
        self._named = {"model": about.model, "version": about.version}
        self._headers = [(b"x-lockgate-version", _latin(about.version)), (b"x-lockgate-digest", _latin(about.digest))]

    @property
    def docs(self) -> bytes:
        """The OpenAPI document; without an example where inputs are kept from everybody."""
        plain, with_example = self._docs
        return with_example if with_example and self._may_tell else plain

    def show(self, rows: Arrays) -> None:
        """Let the document have an example: the first of these rows, which its author logged with the model."""
        example = example_of(self._schema, rows)
        self._docs = self._docs[0], document(self._schema, self._named["model"], self._named["version"], example)

    @property
    def _may_tell(self) -> bool:
        return self.capture is None or not self.capture.redacts

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        request = head(scope, self.capture.sticky if self.capture else b"")
        try:
            kind, answer = await self._answer(request, receive)
        except ClientGone:
            self._answered(request, CLIENT_GONE, started)
            return
        except Refusal as refusal:
            self._answered(request, refusal.status, started)
            await self.refuse(send, refusal, request.id, receive)
            return
        except Exception as failed:  # noqa: BLE001 - a model raises anything
            self._log(failed, request)
            self._answered(request, BadAnswer.status, started)
            await self.refuse(
                send, BadAnswer("the model failed on this request; the replica's log says why"), request.id
            )
            return
        self._answered(request, 200, started)
        await self.respond(send, 200, kind, answer, request.id)

    async def infer(self, x: Arrays, rows: int, receive: Receive | None = None) -> Arrays:
        """The engine's outputs for these rows. Raises a `Refusal`, `ClientGone`, or what the engine raises."""
        started = time.perf_counter()
        if rows <= self._limits.inline_rows:
            found = self._run(x)
        else:
            found = await self._queued(x, rows, receive)
        _finite(found)
        self._metrics.inferred(rows, time.perf_counter() - started)
        return found

    def close(self) -> None:
        self._batcher.close()
        if self.capture is not None:
            self.capture.close()

    async def respond(self, send: Send, code: int, kind: bytes, answer: bytes, request_id: bytes) -> None:
        await send(self._start(code, kind, answer, request_id))
        await send({"type": "http.response.body", "body": answer})

    async def refuse(self, send: Send, refusal: Refusal, request_id: bytes, receive: Receive | None = None) -> None:
        """`receive`: where the rest of the body comes from."""
        answer = orjson.dumps({"error": str(refusal), "request_id": _text(request_id)})
        start = self._start(refusal.status, _JSON, answer, request_id)
        if refusal.unread:
            start["headers"].append((b"connection", b"close"))
        if isinstance(refusal, WrongMethod):
            start["headers"].append((b"allow", _latin(refusal.allowed)))
        await send(start)
        if receive is not None and refusal.unread and refusal.status != _TOO_SLOW:
            await send({"type": "http.response.body", "body": answer, "more_body": True})
            await drain(receive)
            answer = b""
        await send({"type": "http.response.body", "body": answer})

    def _start(self, code: int, kind: bytes, answer: bytes, request_id: bytes) -> Message:
        headers = [
            (b"content-type", kind),
            (b"content-length", str(len(answer)).encode()),
            (b"x-request-id", request_id),
            *self._headers,
        ]
        return {"type": "http.response.start", "status": code, "headers": headers}

    async def _answer(self, request: Head, receive: Receive) -> tuple[bytes, bytes]:
        whole = await self._bodies.read(receive, request.length)
        wanted = _acceptable(request)
        x = self._schema.decode(request.content_type, whole)
        rows, capture = len(next(iter(x.values()))), self.capture
        if capture is not None:
            capture.inputs(request, x, rows)
        request.outputs = outputs = await self.infer(x, rows, receive)
        odd = codecs.not_npy(outputs)
        if wanted[0] == "npy" and not odd:
            return _NPY, codecs.to_npy(next(iter(outputs.values())))
        if "json" not in wanted:
            raise BadRequest(f"{odd}; accept application/json", 406)
        return _JSON, codecs.to_json(self._named, outputs)

    def _answered(self, request: Head, code: int, started: float) -> None:
        seconds = time.perf_counter() - started
        self._metrics.answered(code, seconds)
        if self.capture is not None:
            self.capture.add(request, code, seconds)

    def _log(self, failed: Exception, request: Head) -> None:
        """A model's own words may repeat what it was asked."""
        if self._may_tell:
            log.error("the model failed on request %s", _text(request.id), exc_info=failed)
            return
        told = f"{type(failed).__name__} at {_places(failed)}; its text is left out, for the spec redacts inputs"
        log.error("the model failed on request %s: %s", _text(request.id), told)

    async def _queued(self, x: Arrays, rows: int, receive: Receive | None) -> Arrays:
        waiting = self._batcher.submit(x, rows)
        watch = asyncio.ensure_future(_gone(receive, waiting)) if receive else None
        try:
            async with asyncio.timeout(self._limits.timeout):
                return await waiting
        except TimeoutError:
            raise TooSlow(f"no answer within {self._limits.timeout:g} s") from None
        except asyncio.CancelledError:
            if watch and watch.done() and not watch.cancelled():
                raise ClientGone from None
            raise
        finally:
            if watch:
                watch.cancel()


async def _gone(receive: Receive, waiting: asyncio.Future[Arrays]) -> None:
    """After its body, all that a client can say is that it left; then its rows are not computed."""
    while (await receive())["type"] != "http.disconnect":
        pass
    waiting.cancel()


def _contained(run: Run) -> Run:
    """A model that exits, or panics in Rust, fails its request: let through, it would end the event loop."""

    def call(x: Arrays) -> Arrays:
        try:
            return run(x)
        except Exception:
            raise
        except BaseException as odd:
            raise RuntimeError(f"the model raised {type(odd).__name__}, which is for ending processes") from odd

    return call


def _acceptable(request: Head) -> tuple[Form, ...]:
    if request.encoding.lower() not in (b"", b"identity"):
        kind = _text(request.encoding[:40])
        raise BadRequest(f"content encoding {kind!r} is not read; send the body as it is", 415)
    if not (wanted := forms(request.accept)):
        raise BadRequest("answers are application/json, or application/x-npy where there is one output", 406)
    return wanted


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


def _text(raw: bytes) -> str:
    return raw.decode("latin-1")


def _latin(text: str) -> bytes:
    return text.encode("latin-1", "replace")
