"""One request: decode, engine, check the answer, encode. Counted whatever happens."""

from __future__ import annotations

import logging
import os
import time
from dataclasses import asdict, dataclass
from typing import Protocol

import orjson

from . import arrow, codecs, heavy, v2
from .accept import Form, forms, whole
from .batcher import Batcher, Run
from .body import LONGEST_ID, Bodies, ClientGone, Head, Message, Receive, Scope, Send, drain, head
from .capture import Capture
from .guards import contained, finite, places
from .metrics import Metrics
from .openapi import document, example_of
from .paths import PREDICT
from .refusals import BadAnswer, BadRequest, Refusal, WrongMethod
from .schema import Arrays, Schema
from .waiting import answered

log = logging.getLogger("bentoml.lockgate")

CLIENT_GONE = 499
_TOO_SLOW = 408
_PREDICT = PREDICT.encode()
_HEAD = b"content-type: %b\r\ncontent-length: %d\r\nx-request-id: %b\r\n%b"
_JSON = b"application/json"
_NPY = b"application/x-npy"
Reply = tuple[int, bytes, bytes]
"""Status, header lines, body."""


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
    threads: int = 1
    """Of an engine's call."""


@dataclass(frozen=True, slots=True)
class Limits:
    """`inline_rows`: requests up to this size run on the event loop, for an engine faster than a thread hop.

    `inline_bytes`: of those of their inputs whose rows may be of any size.
    """

    timeout: float
    max_body: int
    max_batch: int
    max_wait: float
    max_queue: int
    inline_rows: int
    inline_bytes: int = 2**10


class Counter(Protocol):
    def answered(self, code: int, seconds: float) -> None: ...
    def inferred(self, rows: int, seconds: float) -> None: ...
    def batch(self, rows: int) -> None: ...
    def tell(self) -> None: ...


class Core:
    """Owns the engine while the service runs."""

    def __init__(self, run: Run, schema: Schema, about: About, limits: Limits, metrics: Metrics | Counter) -> None:
        run = contained(run)
        self._run, self._schema, self._limits, self._metrics = run, schema, limits, metrics
        self._bodies = Bodies(limits.max_body, limits.timeout)
        sizes, ragged = {"max_batch": limits.max_batch, "max_queue": limits.max_queue}, bool(heavy.free(schema))
        self._batcher = Batcher(run, **sizes, max_wait=limits.max_wait, ragged=ragged)
        self._batcher.observe = metrics.batch
        self._heavy = heavy.of(schema, limits.inline_bytes)
        self.capture: Capture | None = None
        """Keeps what is answered; None keeps nothing."""
        self.v2 = v2.V2(schema, (about.model, about.bento), about.version, about.target)
        self.info = orjson.dumps(asdict(about))
        self._docs = document(schema, (about.model, about.version)), b""
        self._named = {"model": about.model, "version": about.version}
        self._headers = [(b"x-lockgate-version", _latin(about.version)), (b"x-lockgate-digest", _latin(about.digest))]
        self._lines = b"".join(b"%b: %b\r\n" % header for header in self._headers)

    @property
    def docs(self) -> bytes:
        """The OpenAPI document; without an example where inputs are kept from everybody."""
        plain, with_example = self._docs
        return with_example if with_example and self._may_tell else plain

    def show(self, rows: Arrays) -> None:
        """Let the document have an example: the first of these rows, which its author logged with the model.

        What the engine answers for it tells clients of v2 the model's outputs.
        """
        self.v2.learn(self._run({name: value[:1] for name, value in rows.items()}))
        names, outputs = (self._named["model"], self._named["version"]), self.v2.outputs
        example = example_of(self._schema, rows)
        plain = document(self._schema, names, None, outputs)
        self._docs = plain, document(self._schema, names, example, outputs)

    @property
    def _may_tell(self) -> bool:
        return self.capture is None or not self.capture.redacts

    async def handle(self, scope: Scope, receive: Receive, send: Send, form: v2.Form | None = None) -> None:
        """`form`: how the request is written, where it is not as `/predict` takes it."""
        started = time.perf_counter()
        request = head(scope, self.capture.sticky if self.capture else b"")
        try:
            kind, answer = await self._answer(request, receive, form)
        except ClientGone:
            self._answered(request, CLIENT_GONE, started)
        except Exception as failed:  # noqa: BLE001 - a model raises anything
            refusal = self._refusal(failed, request)
            self._answered(request, refusal.status, started)
            await self.refuse(send, refusal, request.id, receive)
        else:
            self._answered(request, 200, started)
            await self.respond(send, 200, kind, answer, request.id)

    @property
    def prompt(self) -> bool:
        """Whether the engine is so fast that `at_once` answers some requests."""
        return self._limits.inline_rows > 0

    def at_once(self, scope: Scope, body: bytes, url: bytes = _PREDICT) -> Reply | None:
        """What `handle` would answer, where nothing has to be waited for; else None, and nothing was done.

        An engine is called by one thread at a time: where its own has it, there is something to wait for.
        """
        started = time.perf_counter()
        form = None if url == _PREDICT else self.v2.form(url, scope)
        if (form is None and url != _PREDICT) or self._batcher.calling:
            return None
        request = head(scope, self.capture.sticky if self.capture else b"")
        most = self._limits.max_body
        if len(body) > most or request.length > most or (form is None and arrow.told(request.content_type)):
            return None
        try:
            wanted, x = self._read(request, body, form)
            rows = len(next(iter(x.values())))
            if rows > self._limits.inline_rows or (self._heavy and self._heavy(x, len(body))):
                return None
            if self.capture is not None:
                self.capture.inputs(request, x, rows)
            began = time.perf_counter()
            self._metrics.batch(rows)
            request.outputs = outputs = self._checked(self._run(x), rows, began)
            status, (kind, answer) = 200, form.encode(outputs) if form else self._encoded(wanted, outputs)
        except Exception as failed:  # noqa: BLE001 - a model raises anything
            refusal = self._refusal(failed, request)
            status, kind, answer = refusal.status, _JSON, _said(refusal, request.id)
        self._answered(request, status, started)
        return status, _HEAD % (kind, len(answer), request.id, self._lines + (form.line if form else b"")), answer

    def broken(self, scope: Scope, failed: Exception) -> Reply:
        """The answer where `at_once` raised: neither a request nor a model makes it do so, and the client is told."""
        known = dict(scope["headers"]).get(b"x-request-id", os.urandom(16).hex().encode())[:LONGEST_ID]
        self._log(failed, "the replica", known)
        answer = _said(BadAnswer("the replica failed on this request; its log says why"), known)
        return 500, _HEAD % (_JSON, len(answer), known, self._lines), answer

    async def _infer(self, x: Arrays, rows: int, length: int, receive: Receive) -> Arrays:
        """The engine's outputs for these rows. Raises a `Refusal`, `ClientGone`, or what the engine raises.

        `length`: of the body.
        """
        started = time.perf_counter()
        wait = rows > self._limits.inline_rows or self._batcher.calling or (self._heavy and self._heavy(x, length))
        if wait:
            found = await answered(self._batcher.submit(x, rows), self._limits.timeout, receive)
        else:
            self._metrics.batch(rows)
            found = self._run(x)
        return self._checked(found, rows, started)

    def _checked(self, found: Arrays, rows: int, started: float) -> Arrays:
        finite(found)
        self._metrics.inferred(rows, time.perf_counter() - started)
        return found

    def tell(self) -> None:
        """Before somebody reads the metrics."""
        self._metrics.tell()

    def close(self) -> None:
        self._batcher.close()
        if self.capture is not None:
            self.capture.close()

    async def respond(self, send: Send, code: int, kind: bytes, answer: bytes, request_id: bytes) -> None:
        await send(self._start(code, kind, answer, request_id))
        await send({"type": "http.response.body", "body": answer})

    async def refuse(self, send: Send, refusal: Refusal, request_id: bytes, receive: Receive | None = None) -> None:
        """`receive`: where the rest of the body comes from."""
        answer = _said(refusal, request_id)
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

    async def _answer(self, request: Head, receive: Receive, form: v2.Form | None) -> tuple[bytes, bytes]:
        body = await self._bodies.read(receive, request.length)
        if form is None and arrow.told(request.content_type):
            await arrow.here()
        wanted, x = self._read(request, body, form)
        rows, capture = len(next(iter(x.values()))), self.capture
        if capture is not None:
            capture.inputs(request, x, rows)
        request.outputs = outputs = await self._infer(x, rows, len(body), receive)
        return form.encode(outputs) if form else self._encoded(wanted, outputs)

    def _read(self, request: Head, body: bytes, form: v2.Form | None) -> tuple[tuple[Form, ...], Arrays]:
        """Which forms of an answer are wanted, where `form` does not say it; and the inputs."""
        if form:
            return (), form.decode(request, body)
        return _acceptable(request), self._schema.decode(request.content_type, body)

    def _encoded(self, wanted: tuple[Form, ...], outputs: Arrays) -> tuple[bytes, bytes]:
        if wanted[0] == "json":
            return _JSON, codecs.to_json(self._named, outputs)
        if not (odd := codecs.not_npy(outputs)):
            return _NPY, codecs.to_npy(next(iter(outputs.values())))
        if "json" not in wanted:
            raise BadRequest(f"{odd}; accept application/json", 406)
        return _JSON, codecs.to_json(self._named, outputs)

    def _answered(self, request: Head, code: int, started: float) -> None:
        seconds = time.perf_counter() - started
        self._metrics.answered(code, seconds)
        if self.capture is not None:
            self.capture.add(request, code, seconds)

    def _refusal(self, failed: Exception, request: Head) -> Refusal:
        if isinstance(failed, Refusal):
            return failed
        self._log(failed, "the model", request.id)
        return BadAnswer("the model failed on this request; the replica's log says why")

    def _log(self, failed: Exception, who: str, request_id: bytes) -> None:
        """A model's own words may repeat what it was asked."""
        if self._may_tell:
            log.error("%s failed on request %s", who, _text(request_id), exc_info=failed)
            return
        told = f"{type(failed).__name__} at {places(failed)}; its text is left out, for the spec redacts inputs"
        log.error("%s failed on request %s: %s", who, _text(request_id), told)


def _acceptable(request: Head) -> tuple[Form, ...]:
    whole(request.encoding)
    if not (wanted := forms(request.accept)):
        raise BadRequest("answers are application/json, or application/x-npy where there is one output", 406)
    return wanted


def _said(refusal: Refusal, request_id: bytes) -> bytes:
    return orjson.dumps({"error": str(refusal), "request_id": _text(request_id)})


def _text(raw: bytes) -> str:
    return raw.decode("latin-1")


def _latin(text: str) -> bytes:
    return text.encode("latin-1", "replace")
