"""A fresh process that loads one artifact as a replica does, proves it and times it, when it is told to."""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

from . import engines
from .cases import Case, first
from .child import die_with_parent
from .parity import Proof
from .ports import Engine
from .reference import line, read, read_few
from .words import Tolerance


class Probe:
    """`reference` is the folder of the source's answers."""

    def __init__(self, folder: Path, reference: Path, threads: int) -> None:
        self._manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        self._reference = reference
        self._engine: Engine = engines.load(folder, self._manifest, threads)
        self._few = read_few(reference)
        self._engine.run(first(self._few, 1))
        self._took: dict[int, float] = {}
        gc.collect()
        gc.freeze()  # what the libraries hold need not be searched before each slice

    @cached_property
    def _cases(self) -> tuple[Case, tuple[Case, ...]]:
        return read(self._reference)

    def prove(self, tolerance: Mapping[str, Any], max_batch: int) -> dict[str, Any]:
        proof = Proof(self._cases, Tolerance(**tolerance), self._manifest["precision"])
        return asdict(proof.of(self._engine, self._manifest["target"], max_batch))

    def time(self, batch: int, seconds: float, least: int) -> list[float]:
        """Seconds of each call, for about `seconds` in all, `least` calls at least; collecting garbage waits."""
        x, run = first(self._cases[0].x, batch), self._engine.run
        if self._took.get(batch, 0.0) < seconds:
            run(x)  # a first call of this size belongs to loading; a short one finds the caches as the others left them
        found: list[float] = []
        gc.collect()
        gc.disable()
        try:
            until = time.perf_counter() + seconds
            while len(found) < least or time.perf_counter() < until:
                started = time.perf_counter()
                run(x)
                found.append(time.perf_counter() - started)
        finally:
            gc.enable()
        self._took[batch] = min(found)
        return found

    def memory(self, batch: int) -> int:
        """Bytes resident after a batch of this size; asked before proving, which needs memory of its own."""
        with suppress(Exception):  # proving will say it better
            self._engine.run(first(self._few, batch))
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    """Orders come as lines of JSON on standard input, answers go out the same way; all else goes into the log."""
    die_with_parent()
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    folder, reference, threads = sys.argv[1:4]
    probe: Probe | None = None

    def load() -> bool:
        nonlocal probe
        probe = Probe(Path(folder), Path(reference), int(threads))
        return True

    answer(out, load)
    for order in sys.stdin:
        if probe is None:
            break
        what = json.loads(order)
        answer(out, lambda what=what: getattr(probe, what.pop("do"))(**what))  # type: ignore[misc]
    os._exit(0)


def answer(out: Any, work: Callable[[], Any]) -> None:
    try:
        found = json.dumps({"ok": work()})
    except Exception as failed:  # noqa: BLE001 - a library fails in its own way
        found = json.dumps({"error": line(failed)})
    out.write(found + "\n")
    out.flush()


if __name__ == "__main__":
    main()
