"""How long to wait before something that died is started again: longer each time, and never all at the same moment."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

FIRST, LONGEST = 1.0, 60.0
"""Seconds before the second start in a row, and at most; the first one comes at once."""
STEADY = 60.0
"""Seconds that something must have been up before its next death counts as a first one."""
_JITTER = 0.25


@dataclass
class Backoff:
    """`dice` gives numbers from 0 to 1."""

    dice: Callable[[], float] = random.random
    _next: float = 0.0
    _tries: int = 0
    _up_since: float | None = field(default=None)

    def due(self, now: float) -> bool:
        """Whether to start it now; it is seen to be down."""
        if self._up_since is not None and now - self._up_since >= STEADY:
            self._tries = 0
        self._up_since = None
        return self._tries == 0 or now >= self._next

    def tried(self, now: float) -> float:
        """It was started, or that failed. Seconds until the next start, if one is needed."""
        pause = min(LONGEST, FIRST * float(2**self._tries)) * (1 - _JITTER * self.dice())
        self._tries = min(self._tries + 1, 10)
        self._next = now + pause
        return pause

    def up(self, now: float) -> None:
        """It is seen to be up."""
        if self._up_since is None:
            self._up_since = now
