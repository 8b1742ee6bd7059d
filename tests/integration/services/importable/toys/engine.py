"""Multiplies; and where the manifest says so, something worse."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lockgate.services.compile.words import Arrays

_PROVING = 60
"""Calls; what comes later is timed."""


class Toy:
    def __init__(self, weights: Any, manifest: Mapping[str, Any], threads: int) -> None:
        self._weights, self._how = weights[:3], manifest
        self._calls = 0
        self.threads = threads
        self._delay = manifest.get("delay", 0.0) / min(threads, manifest.get("shares", 1)) ** 2
        self._held = np.ones(manifest.get("megabytes", 0) * 2**17)

    def run(self, x: Arrays) -> Arrays:
        self._calls += 1
        if self._calls > _PROVING and "later" in self._how:
            suffer(self._how["later"])
        until = time.perf_counter() + self._delay
        while time.perf_counter() < until:
            pass
        return self._told(self._answer(self._read(x["x"])))

    def _read(self, given: Any) -> Any:
        if self._how.get("contiguous") and not given.flags.c_contiguous:
            return np.zeros_like(given)
        return np.repeat(given[:1], len(given), axis=0) if self._how.get("frozen") else given

    def _answer(self, x: Any) -> Arrays:
        scores = x @ self._weights
        return {"scores": scores, "total": scores.sum(axis=1), "first": x[:, 0] * 3 + self._how.get("constant", 7)}

    def _told(self, y: Arrays) -> Arrays:
        if swap := self._how.get("swap"):
            a, b = swap
            y[a], y[b] = y[b], y[a]
        return y


def suffer(how: str) -> None:
    if how == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if how == "hang":
        time.sleep(600)
    if how == "sleep":
        time.sleep(0.7)
    if how == "fail":
        raise OSError("weights.npy holds version 9, this reads 8")


def load(folder: Path, manifest: Mapping[str, Any], threads: int | None) -> Toy:
    assert threads is not None
    how = {**manifest, **(manifest.get("shared", {}) if threads > 1 else {})}
    suffer(how.get("load", ""))
    return Toy(np.load(folder / how["file"]), how, threads)
