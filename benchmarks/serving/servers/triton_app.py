"""Triton's server through pytriton: its Python backend, as its documentation teaches."""

from __future__ import annotations

import os
from typing import Any

import engine
import numpy as np
from pytriton.decorators import batch
from pytriton.model_config import ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

model = engine.Engine()


@batch
def infer(**given: np.ndarray) -> Any:
    return [model.run(given)]


if __name__ == "__main__":
    config = TritonConfig(
        http_address=engine.HOST,
        http_port=engine.port(),
        allow_grpc=False,
        allow_metrics=False,
        log_verbose=0,
    )
    inputs = [Tensor(name=name, dtype=kind.type, shape=model.shapes[name]) for name, kind in model.inputs.items()]
    width = int(os.environ["BENCHMARK_WIDTH"])
    outputs = [Tensor(name="output", dtype=np.float32, shape=(width,))]
    with Triton(config=config) as triton:
        triton.bind("model", infer, inputs=inputs, outputs=outputs, config=ModelConfig(max_batch_size=64), strict=False)
        triton.serve()
