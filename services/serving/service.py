"""The one BentoML service for every model. The bento's arguments name the model-store entry that it serves."""

from __future__ import annotations

import json
import os
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import bentoml
from _bentoml_sdk import IODescriptor
from bentoml.models import BentoModel
from pydantic import BaseModel

from .fast import FastService
from .paths import INFO, PREDICT

if TYPE_CHECKING:
    from .metrics import Metrics
    from .schema import Schema


class Args(BaseModel):
    """`store` is a full tag: `name:latest` would be resolved again when the bento is served."""

    name: str
    store: str
    model: str
    version: str
    digest: str
    spec_hash: str
    seal: str = ""
    timeout: float = 10.0
    max_body: int = 16 * 2**20
    max_batch: int = 64
    max_wait: float = 0.0
    max_queue: int = 4096
    max_rows: int = 10_000
    inline_below: float = 0.0005
    inline_rows: int = 32


args = bentoml.use_arguments(Args)


@cache
def _about() -> dict[str, Any]:
    from .start import about

    return about(Path(bentoml.models.get(args.store).path), args.seal)


@cache
def _schema() -> Schema:
    """Of the model's own inputs. Asked for when the bento is built and by the worker; the supervisor needs neither."""
    from .schema import Schema

    return Schema.of(_about()["signature"]["inputs"], _about()["inputs"], args.max_rows)


class Request(IODescriptor):  # type: ignore[misc]
    """Documents the body; `Core` reads it."""

    __root_input__ = True

    @classmethod
    def model_json_schema(cls, *_args: Any, **_options: Any) -> dict[str, Any]:
        from .openapi import request_schema

        return {**request_schema(_schema()), "title": "Request"}


class Answer(BaseModel):
    model: str
    version: str
    outputs: dict[str, list[Any]]


@bentoml.service(
    name=args.name,
    service_class=FastService,
    workers=1,
    traffic={"timeout": max(1, round(args.timeout))},
    logging={"access": {"enabled": False}},
    tracing={"excluded_urls": ".*"},
)
class Model:
    """Predictions of one model version."""

    stored = BentoModel(args.store)

    def __init__(self) -> None:
        from . import heavy
        from .core import About, Core, Limits
        from .metrics import Metrics
        from .rehearsal import rehearse
        from .start import few, warm

        found, median = warm(Path(self.stored.path), _about(), args.max_batch, args.seal)
        about = About(
            args.model,
            args.version,
            args.digest,
            found.manifest["target"],
            found.manifest["precision"],
            found.how or "proven on hardware like this",
            args.spec_hash,
            _bento(),
            replica_id(),
            found.threads,
        )
        rows = few(Path(self.stored.path))
        limits = Limits(
            timeout=args.timeout,
            max_body=args.max_body,
            max_batch=args.max_batch,
            max_wait=args.max_wait,
            max_queue=max(args.max_queue, args.max_batch),
            inline_rows=args.inline_rows if median < args.inline_below else 0,
            inline_bytes=heavy.most(_schema(), args.inline_rows, rows),
        )
        metrics = Metrics(args.model, args.version)
        self.core = Core(found.engine.run, _schema(), about, limits, metrics)
        self.core.show(rows)
        self._capture(found.manifest["engine"], about.replica, metrics)
        rehearse(_schema(), about, limits, rows, found.engine.run({name: value[:1] for name, value in rows.items()}))
        _state()["core"] = self.core

    def _capture(self, engine: str, replica: str, metrics: Metrics) -> None:
        from .capture import VARIABLE, Capture
        from .capture_columns import Source

        if folder := os.environ.get(VARIABLE):
            import pyarrow.compute  # type: ignore[import-untyped, unused-ignore]  # noqa: F401 - not at a request

            source = Source(args.version, args.digest, replica or f"pid{os.getpid()}")
            self.core.capture = Capture(Path(folder), _schema(), source, metrics, engine)

    @bentoml.api(route=PREDICT, input_spec=Request)  # type: ignore[untyped-decorator, unused-ignore]
    async def predict(self, request: Any) -> Answer:  # noqa: ARG002 - the schema of the route
        """Predictions for rows as JSON, npy (`application/x-npy`) or an Arrow stream."""
        raise RuntimeError("the lane answers this route before BentoML does; has BentoML's hook changed?")

    @bentoml.api(route=INFO)  # type: ignore[untyped-decorator, unused-ignore]
    async def info(self) -> dict[str, str | int]:
        """Which model version this replica serves."""
        found: dict[str, str | int] = json.loads(self.core.info)
        return found

    async def __is_ready__(self) -> bool:
        return _state().get("core") is not None

    @bentoml.on_shutdown  # type: ignore[untyped-decorator, unused-ignore]
    def close(self) -> None:
        self.core.close()


def _state() -> dict[str, Any]:
    """Where the fast lane finds the core; by now `Model` is the service that BentoML made of the class."""
    found: dict[str, Any] = cast("FastService", Model).context.state
    return found


def replica_id() -> str:
    """Given by the platform that started this process, so that it knows its own replica on a port."""
    return os.environ.get("LOCKGATE_REPLICA", "")


def _bento() -> str:
    from bentoml._internal.context import server_context

    return f"{server_context.bento_name}:{server_context.bento_version}"
