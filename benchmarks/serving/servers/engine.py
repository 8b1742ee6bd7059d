"""What stands behind every server: the same ONNX file, by ONNX Runtime with one thread. It stands alone.

`BENCHMARK_MODEL` names the file, `BENCHMARK_PORT` the port; whoever imports this has numpy and onnxruntime.
"""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnxruntime

HOST = "127.0.0.1"
_TYPES = {"tensor(float)": "float32", "tensor(int64)": "int64"}


class Engine:
    def __init__(self) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.enable_mem_pattern = False
        self.session = onnxruntime.InferenceSession(
            os.environ["BENCHMARK_MODEL"], options, providers=["CPUExecutionProvider"]
        )
        self.inputs = {given.name: np.dtype(_TYPES[given.type]) for given in self.session.get_inputs()}
        self.shapes = {given.name: tuple(given.shape[1:]) for given in self.session.get_inputs()}

    def run(self, given: Mapping[str, Any]) -> np.ndarray:
        """Rows of the one output. `given`: what JSON made of the inputs, or arrays."""
        fed = {name: np.asarray(given[name], dtype) for name, dtype in self.inputs.items()}
        return self.session.run(None, fed)[0]

    def run_npy(self, body: bytes) -> np.ndarray:
        return self.run({next(iter(self.inputs)): np.load(io.BytesIO(body))})


def port() -> int:
    return int(os.environ["BENCHMARK_PORT"])


def binary() -> bool:
    """Whether requests are arrays as they lie in memory: an image of numbers in JSON is ten times as long."""
    return os.environ["BENCHMARK_FORM"] == "npy"
