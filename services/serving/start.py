"""Load the engine and warm it up before the replica is ready."""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from . import engines
from .batcher import Run
from .schema import Arrays, Schema

FATAL = "lockgate: this model cannot be served:"
_CALLS, _SECONDS = 20, 0.5


def warm(folder: str, manifest: Mapping[str, Any], schema: Schema, max_batch: int) -> tuple[Run, float]:
    """The engine's `run` and its median time for one row in seconds, after one call per batch size in use."""
    try:
        run = engines.load(Path(folder), manifest, threads()).run
        example = read_example(Path(folder) / "example.npz", schema)
        for rows in sorted({1, 2, max_batch}):
            run(_rows(example, rows))
        return run, _median(run, _rows(example, 1))
    except Exception as failed:
        print(FATAL, f"{type(failed).__name__}: {failed}", file=sys.stderr, flush=True)  # noqa: T201 - into the log
        raise


def threads() -> int:
    """Tiny models lose more to waiting threads than they gain: one, unless the machine's owner says otherwise."""
    return int(os.environ.get("LOCKGATE_ENGINE_THREADS", "1"))


def read_example(path: Path, schema: Schema) -> Arrays:
    """The model's input example; strings are stored as fixed-width text, for object arrays would be pickled."""
    with np.load(path, allow_pickle=False) as stored:
        return {f.name: stored[f"x{i}"].astype(f.dtype) for i, f in enumerate(schema.fields)}


def _rows(example: Arrays, rows: int) -> Arrays:
    """`rows` rows, the example's own in turn."""
    return {name: np.resize(value, (rows, *value.shape[1:])) for name, value in example.items()}


def _median(run: Run, one: Arrays) -> float:
    times: list[float] = []
    while len(times) < _CALLS and sum(times) < _SECONDS:
        started = time.perf_counter()
        run(one)
        times.append(time.perf_counter() - started)
    return statistics.median(times)
