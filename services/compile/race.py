"""Who is fastest, found with as few calls as the machine's noise allows.

Candidates are called in turn, a slice each, again and again: what disturbs the machine disturbs all of them, and only
comparisons within one round count. Who is behind in every round so far is out.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from .words import Candidate, Objective, Timing

Time = Callable[[Candidate, int, float, int], list[float]]
"""candidate, batch, seconds, least calls → seconds of each call; raises `Lost`."""

_BEHIND = (2.0, 1.3, 1.12, 1.06, 1.04)
"""Out when slower than the leader by this factor in every round, after one round, two, three, ..."""
_LEVEL = 1.02
"""Who is within this factor of the leader need not be told apart."""


@dataclass(frozen=True, slots=True)
class Rounds:
    most: int = 7
    least: int = 3
    seconds: float = 0.15
    """Of one candidate's slice at one batch size."""
    calls: int = 1
    """In a slice at least; a call of a large model takes longer than the slice."""
    drop: bool = True
    """Whoever is behind in every round is out; False measures everybody to the end."""


@dataclass(slots=True)
class _Runner:
    slices: dict[int, list[list[float]]] = field(default_factory=dict)

    def score(self, at: int, objective: Objective) -> float:
        """Of one round: the objective over all batch sizes alike."""
        each = [_figure(self.slices[b][at], b, objective) for b in objective.batch_sizes]
        return math.exp(statistics.fmean(math.log(value) for value in each))

    def rounds(self, objective: Objective) -> int:
        return min(len(self.slices.get(b, ())) for b in objective.batch_sizes)

    def median(self, objective: Objective, last: int) -> float:
        rounds = self.rounds(objective)
        return statistics.median(self.score(i, objective) for i in range(max(0, rounds - last), rounds))


class Race:
    """`enter` candidates, `run` to drop those that cannot win; some may enter later and meet the survivors."""

    def __init__(self, time: Time, objective: Objective, rounds: Rounds, lost: Callable[[Candidate, str], None]) -> None:
        self._time, self._objective, self._plan, self._lost = time, objective, rounds, lost
        self._all: dict[Candidate, _Runner] = {}
        self.running: list[Candidate] = []
        self.dropped: dict[Candidate, str] = {}

    def enter(self, candidate: Candidate) -> None:
        self._all[candidate] = _Runner()
        self.running.append(candidate)

    def run(self, *, final: bool) -> None:
        """Rounds with everybody who still runs, until the rest cannot be told apart or there were enough of them."""
        for done in range(1, (self._plan.most if final else self._plan.least) + 1):
            if len(self.running) < 2 and (not final or self._rounds() >= self._plan.least):
                return
            self._round()
            if self._plan.drop:
                self._drop(done)
            if final and self._plan.drop and done >= self._plan.least and self._level(done):
                return

    def leader(self) -> Candidate | None:
        return min(self.running, key=self.score, default=None)

    def score(self, candidate: Candidate) -> float:
        """Seconds; over the rounds that the candidate shared with those who still run."""
        runner = self._all[candidate]
        shared = min((self._all[c].rounds(self._objective) for c in {*self.running, candidate}), default=0)
        return runner.median(self._objective, max(1, shared))

    def timings(self, candidate: Candidate) -> tuple[Timing, ...]:
        found = []
        for batch, slices in sorted(self._all[candidate].slices.items()):
            calls = sorted(second for part in slices for second in part)
            p50 = statistics.median(statistics.median(part) for part in slices)
            found.append(Timing(batch, p50, _quantile(calls, 0.99), len(slices), len(calls)))
        return tuple(found)

    def measure(self, candidates: Iterable[Candidate], batches: Sequence[int], rounds: int) -> None:
        """Interleaved figures for the table, of batch sizes that the objective does not ask for."""
        for _ in range(rounds):
            for candidate in candidates:
                for batch in batches:
                    self._slice(candidate, batch)

    def _round(self) -> None:
        for batch in self._objective.batch_sizes:
            for candidate in list(self.running):
                self._slice(candidate, batch)

    def _slice(self, candidate: Candidate, batch: int) -> None:
        try:
            calls = self._time(candidate, batch, self._plan.seconds, self._plan.calls)
        except Exception as failed:  # noqa: BLE001 - a process that died is out, whatever it died of
            if candidate in self.running:
                self.running.remove(candidate)
            self._lost(candidate, str(failed))
        else:
            self._all[candidate].slices.setdefault(batch, []).append(calls)

    def _drop(self, done: int) -> None:
        """Compares within the rounds of this run only: all who run shared them."""
        leader = min(self.running, key=lambda c: self._all[c].median(self._objective, done), default=None)
        if leader is None:
            return
        for candidate in list(self.running):
            ratios = self._ratios(candidate, leader, done)
            if candidate != leader and min(ratios) > _BEHIND[min(done, len(_BEHIND)) - 1]:
                self.running.remove(candidate)
                self.dropped[candidate] = f"{statistics.median(ratios):.2f} times as long as {leader}"

    def _ratios(self, candidate: Candidate, leader: Candidate, done: int) -> list[float]:
        a, b = self._all[candidate], self._all[leader]
        return [
            a.score(a.rounds(self._objective) - i, self._objective)
            / b.score(b.rounds(self._objective) - i, self._objective)
            for i in range(1, done + 1)
        ]

    def _level(self, done: int) -> bool:
        scores = [self._all[c].median(self._objective, done) for c in self.running]
        return max(scores) / min(scores) < _LEVEL

    def _rounds(self) -> int:
        return min(self._all[c].rounds(self._objective) for c in self.running) if self.running else 0


def predicted(scores: Mapping[Candidate, float], candidate: Candidate) -> float | None:
    """What a candidate would take if target and precision each brought their own factor; None when that is unknown.

    From the same target at another precision, and other targets that ran at both; the most hopeful of them counts.
    """
    found = []
    for known, base in scores.items():
        if known.target != candidate.target or known.precision == candidate.precision:
            continue
        for other, score in scores.items():
            twin = Candidate(other.target, known.precision)
            if other.precision == candidate.precision and other.target != candidate.target and twin in scores:
                found.append(base * score / scores[twin])
    return min(found, default=None)


def _figure(calls: Sequence[float], batch: int, objective: Objective) -> float:
    if objective.minimize == "latency_p99":
        return _quantile(sorted(calls), 0.99)
    middle = statistics.median(calls)
    return middle / batch if objective.minimize == "seconds_per_row" else middle


def _quantile(ordered: Sequence[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, math.ceil(share * len(ordered)) - 1)]
