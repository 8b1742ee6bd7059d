"""How many rows in one call of the engine are worth it, learnt from the calls as they come.

An accelerator answers 32 rows nearly as fast as one. A processor that is busy with one row takes 32 times as long:
there a batch wins nothing, and whoever is in it waits for all the others.
"""

from __future__ import annotations

import statistics
from collections import deque

_LAST, _ENOUGH = 9, 3
_GAIN = 0.9
"""A batch is worth it when a row takes at most this share of what it takes in a smaller one."""
_SHORT = 0.002
"""Seconds of a call, from which it is looked at: in shorter ones, what is around the engine decides, and rows together
are always cheaper."""
_MUCH = 8
"""Times as large a batch must have won nothing: of two rows and one, a busy machine may say anything."""
_TRY_EVERY, _TRY_AT_LEAST = 32, 1024
"""Calls after which a larger batch is tried, of 2, 4 and 8 times the size in turn: the engine may have changed.
Whenever all three have won nothing it takes twice as many, up to the second: who waits behind a large batch is late."""
_TURNS = 3


class Sizes:
    """`learn` and `most` are the event loop's."""

    def __init__(self, most: int) -> None:
        self._most = self._worth = most
        self._seconds: dict[int, deque[float]] = {}
        """Of a row, in the last calls, by the power of two that the call's rows reach."""
        self._every = self._left = _TRY_EVERY
        """Calls from one try to the next, and until the next."""
        self._turn = 0

    def most(self) -> int:
        """Rows that go into the next call at most."""
        return self._worth if self._left else min(self._most, self._worth * 2 ** (1 + self._turn % _TURNS))

    def learn(self, rows: int, seconds: float) -> None:
        """`seconds`: of one call that answered so many rows."""
        last = self._seconds.setdefault(_power(rows), deque(maxlen=_LAST))
        last.append(seconds / rows)
        before, self._worth = self._worth, self._found()
        if self._worth != before:
            self._every = self._left = _TRY_EVERY
        elif self._left:
            self._left -= 1
        elif rows > before:  # else nobody waited who could have been in it
            self._tried(seconds / rows)

    def _tried(self, seconds: float) -> None:
        """`seconds`: of a row in a call that was larger than is worth it."""
        self._turn += 1
        if seconds <= statistics.median(self._seconds[_power(self._worth)]) * _GAIN:
            self._every = _TRY_EVERY
        elif self._turn % _TURNS == 0:
            self._every = min(2 * self._every, _TRY_AT_LEAST)
        self._left = self._every

    def _found(self) -> int:
        """The smallest size than which no larger one that was seen is worth more; without any, all that is allowed."""
        known = {size: statistics.median(s) for size, s in sorted(self._seconds.items()) if len(s) >= _ENOUGH}
        if not known:
            return self._most
        best, *larger = known
        for size in larger:
            if known[size] <= known[best] * _GAIN:
                best = size
        seen_much = max(known) >= min(best * _MUCH, _power(self._most))
        if best == max(known) or not seen_much or known[best] * best < _SHORT:
            return self._most
        return best


def _power(rows: int) -> int:
    return 1 << (rows.bit_length() - 1)
