"""Drivers as whoever measures sees them: started in a moment, armed, and waited for."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from benchmarks.chaos.clients import ROOT
from benchmarks.chaos.stage import Stage, until

_READY_WITHIN = 300.0
"""Everything is imported in it, on a machine that may be busy."""


class Drivers:
    """The process that forks them; see `drivers`. `told`: where they write down what was reached and struck."""

    def __init__(self, stage: Stage, *, hurry: bool = True) -> None:
        """`hurry`: whether time runs faster in them."""
        self._hurry = hurry
        self.ended: dict[int, int] = {}
        """Exit codes by process id."""
        self._stage = stage
        self._orders: dict[int, int] = {}
        self._ready = threading.Event()

    @property
    def told(self) -> Path:
        return self._stage.root / "told.jsonl"

    @property
    def log(self) -> Path:
        return self._stage.root / "drivers.log"

    @property
    def pid(self) -> int:
        return self._process.pid

    def __enter__(self) -> Self:
        self.told.touch()
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.chaos.drivers"],
                cwd=ROOT,
                env=self._stage.environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self._thread = threading.Thread(target=self._read, name="drivers")
        self._thread.start()
        if not self._ready.wait(_READY_WITHIN):
            said = self.log.read_text(encoding="utf-8", errors="replace")[-2000:]
            raise TimeoutError(f"no driver could be prepared in {_READY_WITHIN:g} s: {said}")
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None  # noqa: S101 - we asked for the pipe
        self._process.stdin.close()
        self._thread.join()
        self._process.wait()

    def _read(self) -> None:
        assert self._process.stdout is not None  # noqa: S101 - we asked for the pipe
        with self._process.stdout as lines:
            for line in lines:
                said = json.loads(line)
                if "ready" in said:
                    self._ready.set()
                elif "started" in said:
                    self._orders[said["order"]] = said["started"]
                else:
                    self.ended[said["ended"]] = said["code"]

    def serve(self) -> None:
        """Stable and the router, as `lockgate up` does."""
        pid = self.start([], up=True)
        until("stable is served", lambda: pid in self.ended)
        if self.ended[pid]:
            raise RuntimeError(f"stable could not be served:\n{self.log.read_text(encoding='utf-8')[-3000:]}")

    def start(self, arms: Sequence[dict[str, Any]], *, up: bool = False) -> int:
        """The process id of a new driver."""
        assert self._process.stdin is not None  # noqa: S101 - we asked for the pipe
        number = len(self._orders)
        order = {"order": number, "arms": list(arms), "stand_in": self._stage.stand_in, "up": up, "hurry": self._hurry}
        order |= {"spec": str(self._stage.spec), "told": str(self.told), "log": str(self.log)}
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return int(until("a driver is started", lambda: self._orders.get(number), 30))
