"""Ray Serve with one replica, as its documentation teaches; without the line in its log for every request."""

from __future__ import annotations

import json
import signal
from typing import Any

import engine
import ray
from ray import serve
from starlette.requests import Request


@serve.deployment(num_replicas=1, max_ongoing_requests=128, logging_config={"enable_access_log": False})
class Model:
    def __init__(self) -> None:
        self.engine = engine.Engine()

    async def __call__(self, request: Request) -> Any:
        body = await request.body()
        output = self.engine.run_npy(body) if engine.binary() else self.engine.run(json.loads(body))
        return {"output": output.tolist()}


if __name__ == "__main__":
    ray.init(include_dashboard=False, num_cpus=2, object_store_memory=200 * 2**20)
    serve.start(http_options={"host": engine.HOST, "port": engine.port()}, logging_config={"enable_access_log": False})
    serve.run(Model.bind())
    signal.sigwait([signal.SIGTERM, signal.SIGINT])
    serve.shutdown()
    ray.shutdown()
