"""The load as whoever measures sees it: counts and failures so far, from the process that asks."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).parents[2]


class Clients:
    """Ask `url` at `rate` requests a second until the `with` ends."""

    def __init__(self, url: str, rate: float) -> None:
        self.failures: list[dict[str, Any]] = []
        self.slowest: list[tuple[float, float]] = []
        """(when it was said, seconds) of the slowest answer of each fifth of a second."""
        self._url, self._rate = url, rate
        self._last: dict[str, Any] = {"asked": 0, "answered": 0, "versions": {}}

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "benchmarks.chaos.load", self._url, str(self._rate)]
        self._process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        self._thread = threading.Thread(target=self._read, name="clients")
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._thread.join()
        self._process.wait()
        if not self._last.get("done"):
            raise RuntimeError(f"the load ended with code {self._process.returncode} before it was told to")

    def _read(self) -> None:
        assert self._process.stdout is not None  # noqa: S101 - we asked for the pipe
        with self._process.stdout as lines:
            for line in lines:
                self._last = said = json.loads(line)
                self.failures += said["failures"]
                self.slowest.append((said["at"], said["slowest"]))

    @property
    def asked(self) -> int:
        return int(self._last["asked"])

    @property
    def answered(self) -> int:
        return int(self._last["answered"])

    @property
    def versions(self) -> Counter[str]:
        return Counter(self._last["versions"])

    def until_answered(self, more: int, seconds: float = 60.0) -> None:
        """Wait for so many more answers. Raises `TimeoutError`."""
        goal, deadline = self.answered + more, time.monotonic() + seconds
        while self.answered < goal:
            if time.monotonic() > deadline:
                raise TimeoutError(f"the clients did not get {more} more answers in {seconds:g} s")
            time.sleep(0.05)
