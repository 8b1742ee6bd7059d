"""A custom handler of TorchServe: JSON in its body, or an array as it lies in memory."""

from __future__ import annotations

from typing import Any

import engine


class Handler:
    initialized = False

    def initialize(self, context: Any) -> None:  # noqa: ARG002 - TorchServe's signature
        self.engine = engine.Engine()
        self.initialized = True

    def handle(self, data: Any, context: Any) -> Any:  # noqa: ARG002 - TorchServe's signature
        bodies = [one.get("body") or one.get("data") for one in data]
        run = self.engine.run_npy if engine.binary() else self.engine.run
        return [{"output": run(body).tolist()} for body in bodies]
