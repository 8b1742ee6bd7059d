"""TensorFlow as an engine wants it: quiet, on one device, with so many threads."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..words import Arrays
from . import feeds


def start(manifest: Mapping[str, Any], threads: int | None, *, keras: bool = False) -> Any:
    """The tensorflow module. Raises when the manifest is for CUDA and TensorFlow sees no GPU.

    TensorFlow imports Keras for itself if it can, and a graph needs none: a second of CPU and 160 MB less.
    """
    device = manifest.get("device", "cpu")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")  # else the first replica takes the whole GPU
    if device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    with _still(), contextlib.nullcontext() if keras else without("keras"):
        import tensorflow as tf
    if threads is not None:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    if device == "cuda":
        if not tf.config.list_physical_devices("GPU"):
            raise RuntimeError("TensorFlow sees no GPU; it needs tensorflow[and-cuda] and a driver that fits it")
        if manifest.get("precision") == "fp32":
            tf.config.experimental.enable_tensor_float_32_execution(False)  # noqa: FBT003 - 10 bits of mantissa
    return tf


@contextlib.contextmanager
def without(module: str) -> Iterator[None]:
    """Importing the module fails meanwhile, unless it is there already."""
    if module in sys.modules:
        yield
        return
    sys.modules[module] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[module]


class Kept:
    """A concrete function, and what owns its variables: the function alone does not keep them alive."""

    def __init__(self, function: Callable[..., Any], owner: Any) -> None:
        self._function, self._owner = function, owner

    def __call__(self, *args: Any, **keywords: Any) -> Any:
        return self._function(*args, **keywords)


def tensors(tf: Any, manifest: Mapping[str, Any], x: Arrays) -> list[Any]:
    return [tf.constant(feeds.take(fed, x)) for fed in manifest["feeds"]]


def named(manifest: Mapping[str, Any], answer: Any) -> Arrays:
    """Raises when the manifest is for CUDA and the answer came from elsewhere."""
    wanted = manifest["outputs"]
    values = [answer[want["name"]] for want in wanted] if isinstance(answer, Mapping) else _flat(answer)
    if manifest.get("device") == "cuda" and not any("GPU" in value.device for value in values):
        raise RuntimeError(f"TensorFlow ran it on {values[0].device}, not on the GPU")
    return feeds.name_outputs(wanted, map(_array, values))


def _flat(answer: Any) -> Sequence[Any]:
    return answer if isinstance(answer, list | tuple) else [answer]


def _array(value: Any) -> np.ndarray[Any, Any]:
    """Numpy has no bfloat16."""
    found = np.asarray(value.numpy())
    return found.astype("float32") if found.dtype.name in ("bfloat16", "float16") else found


@contextlib.contextmanager
def _still() -> Iterator[None]:
    """TensorFlow's libraries print five lines while they are imported, whatever the log level; kept for an error."""
    sys.stderr.flush()
    before = os.dup(2)
    with tempfile.TemporaryFile() as said:
        os.dup2(said.fileno(), 2)
        try:
            yield
        except BaseException:
            said.seek(0)
            os.write(before, said.read())
            raise
        finally:
            os.dup2(before, 2)
            os.close(before)
