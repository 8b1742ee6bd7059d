"""A core whose engine is a function, asked as a socket would ask it."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from lockgate.services.serving.core import About, Core, Limits
from lockgate.services.serving.lane import FastLane
from lockgate.services.serving.schema import Arrays, Schema

ABOUT = About("fraud-detector", "7", "d1ge57", "onnxruntime", "fp32", "proven", "5pec", "fraud:b1", "r1")
TENSOR = Schema.of([{"type": "tensor", "name": "x", "tensor-spec": {"dtype": "float32", "shape": [-1, 2]}}], max_rows=9)
WORDS = Schema.of([{"type": "tensor", "name": "words", "tensor-spec": {"dtype": "str", "shape": [-1]}}])
KINDS = {
    "age": "double",
    "height": "float",
    "visits": "long",
    "rooms": "integer",
    "member": "boolean",
    "city": "string",
}
COLUMNS = [{"type": kind, "name": name, "required": True} for name, kind in {**KINDS, "since": "datetime"}.items()]
TABLE = Schema.of([*COLUMNS, {"type": "double", "name": "income", "required": False}])
UNIFORM = Schema.of([{"type": "double", "name": name, "required": True} for name in "abc"])
SCHEMAS = {"tensor": TENSOR, "words": WORDS, "table": TABLE, "uniform": UNIFORM}
INFER = "/v2/models/fraud/infer"
LENGTH = "inference-header-content-length"


class Counted:
    def __init__(self) -> None:
        self.codes: list[int] = []

    def answered(self, code: int, _seconds: float) -> None:
        self.codes.append(code)

    def inferred(self, rows: int, seconds: float) -> None: ...
    def batch(self, rows: int) -> None: ...
    def tell(self) -> None: ...


def echo(x: Arrays) -> Arrays:
    return dict(x)


class Served:
    def __init__(self, schema: str | Schema, run: Any = echo) -> None:
        known = SCHEMAS[schema] if isinstance(schema, str) else schema
        self.counted = Counted()
        self.core = Core(run, known, ABOUT, Limits(5.0, 10_000, 8, 0.0, 64, 32), self.counted)

    def ask(
        self, path: str, body: bytes = b"", method: str = "POST", **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        sent: list[Any] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        asyncio.run(
            FastLane(None, self)({"type": "http", "method": method, "path": path, "headers": raw}, receive, send)
        )
        self.core.close()
        return sent[0]["status"], {k.decode(): v.decode() for k, v in sent[0]["headers"]}, sent[1]["body"]

    def infer(self, body: Any, **headers: str) -> Any:
        """The answer to this JSON."""
        status, _, answer = self.ask(INFER, json.dumps(body).encode(), **headers)
        return status, json.loads(answer)


@pytest.fixture
def served() -> Any:
    """The class: `served("table", run)`."""
    return Served
