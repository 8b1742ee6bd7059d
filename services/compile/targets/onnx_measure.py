"""Forms of one ONNX graph side by side: how far from the first one's answers, and how quick. A choice, not a proof."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import geometric_mean, median
from typing import Any

import numpy as np

from ..engines.onnx import Provider, session
from ..words import Array, Arrays
from . import onnx_graph

BATCHES = (1, 8)
_ROWS = 64
_ROUNDS = 30
_SECONDS = 1.0
"""For each batch size."""


@dataclass(frozen=True, slots=True)
class Bench:
    """Where and on what the graphs are run."""

    feeds: list[dict[str, Any]]
    rows: Arrays
    providers: Sequence[Provider]
    threads: int


@dataclass(frozen=True, slots=True)
class Form:
    """`error` is the largest one of all outputs, as a share of the output's scale; `seconds` per call of each batch."""

    error: float
    seconds: Mapping[int, float]

    @property
    def speed(self) -> float:
        return 1 / geometric_mean(self.seconds.values())

    def record(self) -> dict[str, Any]:
        return {"error": self.error, "milliseconds": {str(n): s * 1e3 for n, s in self.seconds.items()}}


def compare(paths: Mapping[str, Path], bench: Bench) -> dict[str, Form]:
    """The first path's answers are the truth."""
    runs = {name: _runner(session(path, bench.providers, bench.threads)) for name, path in paths.items()}
    # All at once: the dynamic method finds one range for a whole batch, so a large one is its worst case.
    sample = onnx_graph.calls(bench.feeds, bench.rows, _ROWS, _ROWS)
    answers = {name: [run(call) for call in sample] for name, run in runs.items()}
    truth = next(iter(answers.values()))
    timed = {n: _interleaved(runs, onnx_graph.calls(bench.feeds, _exactly(bench.rows, n), n, n)[0]) for n in BATCHES}
    return {name: Form(_error(truth, found), {n: timed[n][name] for n in BATCHES}) for name, found in answers.items()}


def _runner(opened: Any) -> Callable[[dict[str, Array]], list[Array]]:
    return lambda call: [np.asarray(value) for value in opened.run(None, call)]


def _exactly(rows: Arrays, n: int) -> Arrays:
    return {name: np.resize(value, (n, *value.shape[1:])) for name, value in rows.items()}


def _interleaved(runs: Mapping[str, Callable[..., Any]], call: dict[str, Array]) -> dict[str, float]:
    """Median seconds. Turn by turn, so that a neighbour's load hits all alike."""
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        run(call)
    end = time.perf_counter() + _SECONDS
    for i in range(_ROUNDS):
        if i > 2 and time.perf_counter() > end:
            break
        for name, run in runs.items():
            start = time.perf_counter()
            run(call)
            taken[name].append(time.perf_counter() - start)
    return {name: median(values) for name, values in taken.items()}


def _error(truth: list[list[Array]], found: list[list[Array]]) -> float:
    each = zip(zip(*truth, strict=True), zip(*found, strict=True), strict=True)
    return max(_distance(np.concatenate(want), np.concatenate(got)) for want, got in each)


def _distance(want: Array, got: Array) -> float:
    """Of labels: the share of rows where they differ, unless floats tell more."""
    if want.dtype.kind != "f":
        return float(np.mean(want != got))
    if not np.isfinite(got[np.isfinite(want)]).all():
        return float("inf")
    scale = np.nanmax(np.abs(want), initial=0.0)
    return float(np.nanmax(np.abs(want - got), initial=0.0) / scale) if scale else float(np.nanmax(np.abs(got)))
