"""Finds the answers to the same request, which come from different files at different times."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

from lockgate.monitoring.answers.records import Records, Role

_MOST = 20_000
"""Requests that wait for another answer."""
_MOST_BYTES = 256 * 2**20
"""Of the answers that wait."""
_PATIENCE = 30.0
"""Seconds that an answer waits for another one."""
_ALONE = 100
"""So many copies without their originals are no accident."""

Place = tuple[Records, int]


@dataclass(slots=True)
class Met:
    """Two answers to each of some requests, in the same order."""

    stable: list[Place] = field(default_factory=list)
    other: list[Place] = field(default_factory=list)

    def take(self, rows: Sequence[int]) -> Met:
        return Met([self.stable[row] for row in rows], [self.other[row] for row in rows])


@dataclass(slots=True)
class _Request:
    """`answers`: the first of each role. One that has been met is None: a later one with that id is not the same."""

    since: float
    size: float = 0.0
    answers: dict[int, Place | None] = field(default_factory=dict)


class Meeting:
    """Where answers wait for one another, not too many and not too long.

    Clients choose request ids, and may choose one twice. Then the first answers of both sides meet, and others with
    that id are left out while it is remembered.
    """

    def __init__(self) -> None:
        self._requests: OrderedDict[str, _Request] = OrderedDict()
        self._bytes = 0.0
        self._alone = 0

    def __len__(self) -> int:
        return len(self._requests)

    def join(self, came: Sequence[Records], now: float) -> tuple[Met, Met]:
        """Those that have now met: stable's answers and the candidate's, stable's answers and stable's second ones."""
        compared, echoed = Met(), Met()
        into = {Role.CANDIDATE.value: compared, Role.ECHO.value: echoed}
        for of in came:
            for row, (key, role) in enumerate(zip(of.keys, of.roles.tolist(), strict=True)):
                if role != Role.LIVE:
                    self._arrived(key, role, (of, row), now, into)
            self.leave(now)
        self._alone = 0 if compared.stable else self._alone
        return compared, echoed

    def leave(self, now: float) -> None:
        """Those that waited too long, and the oldest of too many."""
        while self._requests:
            oldest = next(iter(self._requests.values()))
            if now - oldest.since < _PATIENCE and len(self) <= _MOST and self._bytes <= _MOST_BYTES:
                return
            _, oldest = self._requests.popitem(last=False)
            self._bytes -= oldest.size
            self._alone += oldest.answers.get(Role.CANDIDATE) is not None

    def missing(self) -> str:
        """Why nothing meets, or nothing."""
        if self._alone < _ALONE:
            return ""
        return f"the candidate answered {self._alone} copies of requests of which no answer by stable was captured"

    def _arrived(self, key: str, role: int, place: Place, now: float, into: dict[int, Met]) -> None:
        request = self._requests.get(key)
        if request is None:
            request = self._requests[key] = _Request(now)
        if role not in request.answers:
            request.answers[role] = place
            request.size += place[0].size
            self._bytes += place[0].size
            self._meet(request, role, into)

    def _meet(self, request: _Request, came: int, into: dict[int, Met]) -> None:
        stable = request.answers.get(Role.STABLE)
        for role in into if came == Role.STABLE else (came,):
            other = request.answers.get(role)
            if stable is None or other is None:
                continue
            request.answers[role] = None
            # Of another number of rows it is another request, and another row of it was chosen.
            if stable[0].rows[stable[1]] == other[0].rows[other[1]]:
                into[role].stable.append(stable)
                into[role].other.append(other)
