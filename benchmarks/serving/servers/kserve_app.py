"""KServe's Python server with a custom model, protocol v1; without the line in its log for every request."""

from __future__ import annotations

import logging
from typing import Any

import engine
import kserve
import uvicorn


class Loopback(uvicorn.Config):
    """KServe's host is always 0.0.0.0."""

    def __init__(self, app: Any, **settings: Any) -> None:
        super().__init__(app, **{**settings, "host": engine.HOST, "access_log": False})


class Model(kserve.Model):
    def __init__(self) -> None:
        super().__init__("model")
        self.engine = engine.Engine()
        self.only = next(iter(self.engine.inputs)) if len(self.engine.inputs) == 1 else None
        self.ready = True

    def predict(self, payload: Any, headers: Any = None, response_headers: Any = None) -> Any:  # noqa: ARG002
        rows = payload["instances"]
        given = {self.only: rows} if self.only else {name: [row[name] for row in rows] for name in self.engine.inputs}
        return {"predictions": self.engine.run(given).tolist()}


if __name__ == "__main__":
    uvicorn.Config = Loopback
    server = kserve.ModelServer(http_port=engine.port(), workers=1, enable_grpc=False, enable_latency_logging=False)
    logging.getLogger("kserve").setLevel(logging.WARNING)
    server.start([Model()])
