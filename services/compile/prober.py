"""The search's side of a probe."""

from __future__ import annotations

import json
import select
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from . import apart
from .errors import Lost
from .words import Head, Limits, ParityEvidence, Tolerance

_LOOK_EVERY = 0.25


class Prober:
    """`load_seconds`: from the start of the process to its first answer to one row."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path, limits: Limits) -> None:
        self._process, self._log, self._limits = process, log, limits
        self._buffer = b""
        started = time.perf_counter()
        self._answer("load")
        self.load_seconds = time.perf_counter() - started

    def prove(self, tolerance: Tolerance, max_batch: int) -> ParityEvidence:
        return evidence(self._order("prove", tolerance=asdict(tolerance), max_batch=max_batch))

    def time(self, batch: int, seconds: float, least: int) -> list[float]:
        """Seconds of each call with this many rows."""
        return list(self._order("time", batch=batch, seconds=seconds, least=least))

    def memory(self, batch: int) -> int:
        """Bytes resident, with the artifact loaded and warm for batches of this size."""
        return int(self._order("memory", batch=batch))

    def _order(self, do: str, **what: Any) -> Any:
        assert self._process.stdin is not None  # noqa: S101 - `started` asks for the pipes
        try:
            self._process.stdin.write(json.dumps({"do": do, **what}).encode() + b"\n")
            self._process.stdin.flush()
        except (OSError, ValueError):  # broken, or closed with the process
            raise self._gone() from None
        return self._answer(do)

    def _answer(self, do: str) -> Any:
        said = json.loads(self._line(do))
        if "error" in said:
            raise Lost(f"does not {do}: {said['error']}")
        return said["ok"]

    def _line(self, do: str) -> bytes:
        assert self._process.stdout is not None  # noqa: S101
        deadline = time.monotonic() + self._limits.seconds
        while b"\n" not in self._buffer:
            if time.monotonic() > deadline:
                raise Lost(f"took longer than {self._limits.seconds:g} s to {do} and was ended")
            apart.check_memory(self._process, self._limits)
            if select.select([self._process.stdout], [], [], _LOOK_EVERY)[0]:
                piece = self._process.stdout.read1()  # type: ignore[attr-defined]
                if not piece:
                    raise self._gone()
                self._buffer += piece
        found, _, self._buffer = self._buffer.partition(b"\n")
        return found

    def _gone(self) -> Lost:
        self._process.wait()
        return Lost(f"its process {apart.how_it_ended(self._process.returncode)}{apart.last_words(self._log)}")


@contextmanager
def probe(artifact: Path, reference: Path, log: Path, limits: Limits, threads: int) -> Iterator[Prober]:
    """A probe over an artifact's folder. Raises `Lost` when it does not load within the limits."""
    arguments = [str(artifact), str(reference), str(threads)]
    with apart.started("probe", arguments, log, {}) as process:
        yield Prober(process, log, limits)


def evidence(found: dict[str, Any]) -> ParityEvidence:
    """From JSON."""
    heads = tuple(Head(**head) for head in found["heads"])
    return ParityEvidence(**{**found, "heads": heads, "cases": tuple(found["cases"])})
