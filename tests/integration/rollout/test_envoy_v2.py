"""The Open Inference Protocol goes through the router as `/predict` does: canaries, shadows, failover, testers."""

from __future__ import annotations

import json
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any, Self

import httpx
import numpy as np
import pytest
import uvicorn

from lockgate.rollout.words import WHOLE, Endpoint
from lockgate.services.serving.core import About, Core, Limits
from lockgate.services.serving.lane import FastLane
from lockgate.services.serving.schema import Arrays, Schema

SCHEMA = Schema.of([{"type": "tensor", "name": "x", "tensor-spec": {"dtype": "float32", "shape": [-1, 2]}}])
HEAD = b'{"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","parameters":{"binary_data_size":8}}]}'
LENGTH = {"inference-header-content-length": str(len(HEAD))}


class Replica:
    """A served model behind a real HTTP server; it adds its version, and keeps what it was asked by request id."""

    def __init__(self, version: int) -> None:
        about = About(
            "fraud", str(version), "d1ge57", "onnxruntime", "fp32", "proven", "5pec", "fraud:b", f"r{version}"
        )
        uncounted: Any = SimpleNamespace(**dict.fromkeys(("answered", "inferred", "batch", "tell"), lambda *_: None))
        self.core = Core(self._run, SCHEMA, about, Limits(5.0, 10_000, 8, 0.0, 64, 32), uncounted)
        self.version, self.fails, self._id = version, False, ""
        self.seen: dict[str, list[float]] = {}
        self._lane = FastLane(None, self)
        self._socket = socket.create_server(("127.0.0.1", 0))
        config = uvicorn.Config(self._app, lifespan="off", log_level="error", interface="asgi3")
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],))

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint("127.0.0.1", self._socket.getsockname()[1])

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        self._id = dict(scope["headers"]).get(b"x-request-id", b"").decode()
        await self._lane(scope, receive, send)

    def _run(self, x: Arrays) -> Arrays:
        if self.fails:
            raise RuntimeError
        self.seen[self._id] = x["x"][0].tolist()
        return {"y": x["x"] + np.float32(self.version)}

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join(20)
        self._socket.close()
        self.core.close()


@pytest.fixture
def sides() -> Iterator[tuple[Replica, Replica]]:
    with ExitStack() as stack:
        yield stack.enter_context(Replica(1)), stack.enter_context(Replica(2))


@pytest.fixture
def client(plane: Any) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://{plane.traffic.listen}/v2", trust_env=False, timeout=20) as found:
        yield found


def infer(client: httpx.Client, value: float, path: str = "/models/fraud/infer", **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.post(path, content=HEAD + np.array([value, 0.5], "<f4").tobytes(), headers={**LENGTH, **named})


def test_v2_through_the_router(plane: Any, client: httpx.Client, eventually: Any) -> None:
    stable, candidate = plane.stable, plane.candidate
    assert client.get("/health/ready").json() == {"live": True, "ready": True}
    assert client.get("/models/fraud").json()["versions"] == ["1"]

    plane.router.apply(plane.routes(mirror=WHOLE))
    answers = [infer(client, value) for value in range(5)]
    assert [a.json()["outputs"][0]["data"] for a in answers] == [[value + 1.0, 1.5] for value in range(5)]
    eventually(lambda: len(candidate.seen), lambda count: count >= 5)
    asked = {answer.headers["x-request-id"]: [float(value), 0.5] for value, answer in enumerate(answers)}
    assert stable.seen == candidate.seen == asked  # so answers of the two are joined

    plane.router.apply(plane.routes(weight=WHOLE // 2))
    split = Counter(
        (a.headers["x-lockgate-variant"], a.json()["model_version"]) for a in (infer(client, 1) for _ in range(60))
    )
    assert set(split) == {("stable", "1"), ("candidate", "2")}

    plane.router.apply(plane.routes(weight=WHOLE))
    refused = infer(client, 1, "/models/fraud/versions/1/infer")
    assert (refused.status_code, "serves 'fraud', version 2" in refused.json()["error"]) == (404, True)
    chosen = infer(client, 1, "/models/fraud/versions/1/infer", x_lockgate_variant="stable")
    assert (chosen.status_code, chosen.json()["model_version"]) == (200, "1")

    candidate.fails = True
    rescued = infer(client, 1)
    assert (rescued.status_code, rescued.json()["model_version"]) == (200, "1")
    assert json.loads(rescued.request.content[: len(HEAD)])["inputs"][0]["name"] == "x"
