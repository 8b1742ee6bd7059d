"""Which requests the event loop calls the engine for, and that nobody else calls it meanwhile."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

import numpy as np
import pytest

from lockgate.services.serving import heavy
from lockgate.services.serving.core import About, Core, Limits
from lockgate.services.serving.rehearsal import _Nobody, _scope
from lockgate.services.serving.schema import Arrays, Schema

ABOUT = About("fraud", "7", "d1ge57", "onnxruntime", "fp32", "proven on hardware like this", "5pec", "fraud:1", "r1")
FREE = Schema.of([{"type": "tensor", "name": "x", "tensor-spec": {"dtype": "float32", "shape": [-1, -1]}}])
FIXED = Schema.of([{"type": "tensor", "name": "x", "tensor-spec": {"dtype": "float32", "shape": [-1, 2]}}])
WORDS = Schema.of([{"type": "string", "name": "x", "required": True}])
LARGE = 16 * 2**10


class Engine:
    """Says which thread called it; with `free` cleared, calls last."""

    def __init__(self) -> None:
        self.threads: list[str] = []
        self.inside = 0
        self.free, self.began = threading.Event(), threading.Event()
        self.free.set()

    def __call__(self, x: Arrays) -> Arrays:
        self.inside += 1
        assert self.inside == 1, "two threads at once"
        self.began.set()
        self.free.wait(10)
        self.threads.append(threading.current_thread().name)
        self.inside -= 1
        return {"rows": np.arange(len(x["x"]))}


class Batches(_Nobody):
    def __init__(self) -> None:
        self.rows: list[int] = []

    def batch(self, rows: int) -> None:
        self.rows.append(rows)


class Served:
    def __init__(self, schema: Schema, **limits: Any) -> None:
        self.engine, self.batches = Engine(), Batches()
        known = {"timeout": 5.0, "max_body": 10**6, "max_batch": 8, "max_wait": 0.0, "max_queue": 64, "inline_rows": 4}
        self.core = Core(self.engine, schema, ABOUT, Limits(**{**known, **limits}), self.batches)

    async def ask(self, inputs: Any) -> int:
        """The status, by uvicorn's way."""
        body = json.dumps(inputs).encode()
        sent: list[Any] = []
        parts = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> Any:
            if not parts:
                await asyncio.Event().wait()
            return parts.pop()

        async def send(message: Any) -> None:
            sent.append(message)

        await self.core.handle(_scope("/predict", "application/json", body), receive, send)
        return int(sent[0]["status"])

    def at_once(self, inputs: Any) -> int | None:
        body = json.dumps(inputs).encode()
        reply = self.core.at_once(_scope("/predict", "application/json", body), body)
        return reply and reply[0]


def rows(*shape: int) -> Any:
    return {"inputs": {"x": np.ones(shape).tolist()}}


def test_nobody_calls_the_engine_while_its_own_thread_does() -> None:
    async def test() -> None:
        served.engine.free.clear()
        large = asyncio.create_task(served.ask(rows(5, 2)))
        await asyncio.to_thread(served.engine.began.wait, 10)
        assert served.at_once(rows(1, 2)) is None
        small = asyncio.create_task(served.ask(rows(1, 2)))
        await asyncio.sleep(0)
        served.engine.free.set()
        assert await asyncio.wait_for(asyncio.gather(large, small), 10) == [200, 200]
        assert served.engine.threads == ["engine", "engine"]
        assert served.at_once(rows(1, 2)) == 200
        assert await served.ask(rows(1, 2)) == 200
        assert served.engine.threads[2:] == ["MainThread"] * 2

    served = Served(FIXED)
    asyncio.run(test())
    served.core.close()


def test_every_call_is_counted_once() -> None:
    async def test() -> None:
        assert served.at_once(rows(2, 2)) == 200
        assert [await served.ask(rows(many, 2)) for many in (3, 7, 20)] == [200] * 3

    served = Served(FIXED)
    asyncio.run(test())
    served.core.close()
    assert served.batches.rows == [2, 3, 7, 8, 8, 4]


@pytest.mark.parametrize(
    ("schema", "sent", "inline"),
    [
        (FREE, rows(4, 64), True),
        (FREE, rows(1, 256), True),
        (FREE, rows(1, 257), False),
        (FREE, rows(4, 65), False),
        (FIXED, {**rows(1, 2), "more": "a" * LARGE}, True),
        (WORDS, {"rows": [{"x": "a" * (LARGE - 100)}]}, True),
        (WORDS, {"rows": [{"x": "a" * LARGE}]}, False),
    ],
    ids=["few values", "as many in one row", "too many in one row", "too many", "fixed", "a text", "a long text"],
)
def test_what_is_larger_than_was_measured_is_not_for_the_event_loop(schema: Schema, sent: Any, inline: bool) -> None:  # noqa: FBT001
    served = Served(schema, inline_bytes=1024)
    assert served.at_once(sent) == (200 if inline else None)
    assert asyncio.run(served.ask(sent)) == 200
    served.core.close()
    assert served.engine.threads == (["MainThread"] * 2 if inline else ["engine"])


def test_what_was_measured_is_the_examples_first_row() -> None:
    assert heavy.most(FREE, 4, {"x": np.ones((3, 1000), "float32")}) == 16_000
    assert heavy.most(FREE, 4, {"x": np.ones((3, 1), "float32")}) == 1024
    assert heavy.most(FIXED, 4, {"x": np.ones((3, 1000), "float32")}) == 1024
