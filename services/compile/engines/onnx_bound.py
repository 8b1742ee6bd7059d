"""ONNX Runtime on a GPU: inputs go into buffers that stay on the device and are bound once for each batch size."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from threading import Lock
from typing import Any

import numpy as np

from ..words import Array, Arrays
from . import feeds
from .onnx import OnnxEngine

_KEPT = 8
"""Batch sizes whose buffers stay on the device."""
Key = tuple[tuple[str, tuple[int, ...], str], ...]


class BoundEngine(OnnxEngine):
    def __init__(self, session: Any, manifest: Mapping[str, Any], device: str = "cuda") -> None:
        super().__init__(session, manifest)
        self._device = device
        self._lock = Lock()
        self._bound = lru_cache(maxsize=_KEPT)(self._bind)

    def run(self, x: Arrays) -> Arrays:
        given = {fed["to"]: feeds.take(fed, x) for fed in self._feeds}
        key: Key = tuple((name, value.shape, value.dtype.str) for name, value in given.items())
        with self._lock:
            binding, buffers = self._bound(key)
            _fill(buffers, given)
            self._session.run_with_iobinding(binding)
            return self._named(binding.copy_outputs_to_cpu())

    def _bind(self, key: Key) -> tuple[Any, dict[str, Any]]:
        from onnxruntime import OrtValue

        binding = self._session.io_binding()
        buffers = {}
        for name, shape, dtype in key:
            buffers[name] = OrtValue.ortvalue_from_shape_and_type(shape, np.dtype(dtype).type, self._device, 0)
            binding.bind_ortvalue_input(name, buffers[name])
        for name in self._wanted:
            binding.bind_output(name, self._device)
        return binding, buffers


def _fill(buffers: Mapping[str, Any], given: Mapping[str, Array]) -> None:
    for name, value in given.items():
        buffers[name].update_inplace(value)
