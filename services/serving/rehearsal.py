"""A replica's first requests, asked by itself before it is ready: what they would have waited for has happened then."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from threading import Thread
from typing import Any
from urllib.parse import quote

import numpy as np
import orjson

from . import codecs, v2_tensors
from .body import Message, Scope
from .core import About, Core, Limits, Reply
from .fields import Array
from .guards import places
from .lane import FastLane
from .openapi import example_of
from .paths import PREDICT
from .schema import Arrays, Schema

log = logging.getLogger("bentoml.lockgate")

_FAILED = 500
_TIMES = 10
"""Python 3.11 makes code faster that has run about so often."""
_LARGEST = 2**20
"""Bytes of a row that is rehearsed; a larger one takes its time in the engine."""
_JSON, _NPY = "application/json", "application/x-npy"
Request = tuple[str, str, bytes]
"""Path, content type, body."""


class _Nobody:
    """Counts nothing: nobody asked."""

    def answered(self, code: int, seconds: float) -> None: ...
    def inferred(self, rows: int, seconds: float) -> None: ...
    def batch(self, rows: int) -> None: ...
    def tell(self) -> None: ...


class _Served:
    def __init__(self, core: Core) -> None:
        self.core = core


def rehearse(schema: Schema, about: About, limits: Limits, few: Arrays, outputs: Arrays) -> list[int]:
    """The statuses of the answers. `outputs` are what the engine answered to the first of `few`; it is not asked again.

    Through the lane, and by `at_once` as `wire` asks a fast engine, on an event loop of a thread's own, and with a core
    that counts and captures nothing. What goes wrong is a warning: the replica may still serve others.
    """
    found: list[int] = []

    async def ask() -> None:
        requests = list(requests_of(schema, about.model, few))
        for inline in (1, 0):  # on the event loop, and through the queue, where nobody else is waited for
            alone = replace(limits, inline_rows=inline, max_wait=0.0)
            core = Core(lambda _x: outputs, schema, about, alone, _Nobody())
            lane = FastLane(None, _Served(core))
            for request in requests * _TIMES:
                found.append(await _status(lane, *request))
                if core.prompt and (reply := _at_once(core, *request)):
                    found.append(reply[0])
            core.close()

    def run() -> None:
        try:
            asyncio.run(ask())
        except Exception as failed:  # noqa: BLE001 - nobody's request depends on it
            told = f"{type(failed).__name__} at {places(failed)}"
            log.warning("the rehearsal of the first requests broke off, so the clients' first are slower: %s", told)

    thread = Thread(target=run, name="rehearsal")
    thread.start()
    thread.join()
    if found and min(found) >= _FAILED:
        said = (
            "all %d requests that the replica made of the model's input example were answered %d; clients' will be too"
        )
        log.warning(said, len(found), found[0])
    return found


def requests_of(schema: Schema, model: str, few: Arrays) -> Iterator[Request]:
    """One row in each form of body that it has, as clients would write it."""
    first = {f.name: few[f.name][:1] for f in schema.fields if f.name in few}
    if len(first) < len(schema.fields) or sum(value.nbytes for value in first.values()) > _LARGEST:
        return
    if (example := example_of(schema, few)) is not None:
        yield PREDICT, _JSON, orjson.dumps(example)
    if any(value.dtype.kind not in "fiub" or not _finite(value) for value in first.values()):
        return
    if len(first) == 1 or schema.columns:
        matrix = np.stack(list(first.values()), axis=1) if schema.columns else next(iter(first.values()))
        yield PREDICT, _NPY, codecs.to_npy(matrix)
    yield f"/v2/models/{model}/infer", _JSON, orjson.dumps({"inputs": [_tensor(*item) for item in first.items()]})


def _finite(value: Array) -> bool:
    return bool(np.isfinite(value).all())


def _tensor(name: str, value: Array) -> Mapping[str, Any]:
    shape = list(value.shape)
    data = value.reshape(math.prod(shape)).tolist()
    return {"name": name, "datatype": v2_tensors.datatype(value.dtype), "shape": shape, "data": data}


def _at_once(core: Core, path: str, kind: str, body: bytes) -> Reply | None:
    return core.at_once(_scope(path, kind, body), body, quote(path).encode())


def _scope(path: str, kind: str, body: bytes) -> Scope:
    headers = [(b"content-type", kind.encode()), (b"content-length", b"%d" % len(body)), (b"x-request-id", b"first")]
    return {"type": "http", "method": "POST", "path": path, "headers": headers}


async def _status(lane: FastLane, path: str, kind: str, body: bytes) -> int:
    status = 0
    left = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        if not left:
            await asyncio.Event().wait()  # the client stays
        return left.pop()

    async def send(message: Message) -> None:
        nonlocal status
        status = message.get("status", status)

    await lane(_scope(path, kind, body), receive, send)
    return status
