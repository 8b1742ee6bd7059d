"""Load the engine and warm it up before the replica is ready."""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..compile.cases import first
from ..compile.engines.torch_graphs import buckets
from ..compile.reference import read_few
from . import proven, sealed
from .batcher import Run
from .schema import Arrays

FATAL = "lockgate: this model cannot be served:"
_CALLS, _SECONDS = 20, 0.5


def about(folder: Path, seal: str) -> dict[str, Any]:
    """The bento's `service.json`. Raises `Changed`; a bento of before there were seals has none."""
    try:
        text = sealed.read(folder, "service.json", seal) if seal else (folder / "service.json").read_bytes()
    except sealed.Changed as changed:
        _say(changed)
        raise
    found: dict[str, Any] = json.loads(text)
    return found


def warm(folder: Path, about: Mapping[str, Any], max_batch: int, seal: str = "") -> tuple[proven.Proven, float]:
    """What to serve with and its median time for one row in seconds, after one call per batch size in use.

    `about` is the bento's `service.json`. Every file is compared with the seal before the first of them is loaded.
    """
    try:
        if seal:
            sealed.check(folder, seal)
        found = proven.load(folder, about["tolerance"], max_batch)
        few, run = read_few(folder / proven.REFERENCE), found.engine.run
        for rows in _sizes(found.manifest, max_batch):
            run(first(few, rows))
        return found, _median(run, first(few, 1))
    except Exception as failed:
        _say(failed)
        raise


def _sizes(manifest: Mapping[str, Any], max_batch: int) -> list[int]:
    """Largest first. CUDA graphs are recorded for each bucket that a batch may be padded to, none at a request."""
    return sorted({1, 2, max_batch, *buckets(manifest.get("graphs", 0))}, reverse=True)


def _say(failed: Exception) -> None:
    print(FATAL, f"{type(failed).__name__}: {failed}", file=sys.stderr, flush=True)  # noqa: T201 - into the log


def few(folder: Path) -> Arrays:
    """Rows like those that the model's author logged with it."""
    return read_few(folder / proven.REFERENCE)


def _median(run: Run, one: Arrays) -> float:
    times: list[float] = []
    while len(times) < _CALLS and sum(times) < _SECONDS:
        started = time.perf_counter()
        run(one)
        times.append(time.perf_counter() - started)
    return statistics.median(times)
