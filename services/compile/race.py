"""Who is fastest, found with as few calls as the machine's noise allows.

Candidates are called in turn, a short slice each, again and again: what disturbs the machine disturbs all of them, and
only comparisons within one round count. Who is behind beyond doubt is out, and when the leader can hardly be beaten by
more than a little it is over.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from .words import Candidate, Objective, Timing

Time = Callable[[Candidate, int, float, int], list[float]]
"""candidate, batch, seconds, least calls → seconds of each call; raises `Lost`."""

_FAR = (5.0, 2.5, 2.0)
"""Out when slower than the leader by this factor in every round, after one round, two, three."""
_DOUBT = 3.3
"""Standard errors of a median; tests/unit/services/test_race.py simulates noisy machines with these figures."""
_LEVEL = 1.04
"""Who may be faster than the leader by this factor at most need not be told apart."""
_FEW = 6
"""Rounds; fewer say nothing about their spread."""


@dataclass(frozen=True, slots=True)
class Rounds:
    most: int = 40
    least: int = 3
    seconds: float = 0.04
    """Of one candidate's slice at one batch size: short beside the phases in which a machine is slow."""
    longest: float = 90.0
    """Seconds of calls after which the last rounds end, told apart or not."""
    calls: int = 1
    """In a slice at least; a call of a large model takes longer than the slice."""
    all: int = 12
    """With everybody, where nobody is dropped."""
    drop: bool = True
    """Whoever is behind in every round is out; False measures everybody to the end."""


@dataclass(slots=True)
class _Runner:
    """`slices`: of each batch size, the calls of each slice. `scores`: of each round, by its number in the race."""

    slices: dict[int, list[list[float]]] = field(default_factory=dict)
    scores: dict[int, float] = field(default_factory=dict)


class Race:
    """`enter` candidates, `run` to drop those that cannot win; some may enter later and meet the survivors."""

    def __init__(self, time: Time, objective: Objective, plan: Rounds, lost: Callable[[Candidate, str], None]) -> None:
        self._time, self._objective, self._plan, self._lost = time, objective, plan, lost
        self._all: dict[Candidate, _Runner] = {}
        self._number, self._spent = 0, 0.0
        self.running: list[Candidate] = []
        self.dropped: dict[Candidate, str] = {}

    def enter(self, candidate: Candidate) -> None:
        self._all[candidate] = _Runner()
        self.running.append(candidate)

    def run(self, *, final: bool) -> None:
        """Rounds with everybody who still runs, until the rest cannot be told apart or there were enough of them."""
        begun, self._spent = self._number, 0.0
        most = self._plan.least if not final else self._plan.most if self._plan.drop else self._plan.all
        for done in range(1, most + 1):
            if len(self.running) < 2 and len(self._shared(self.running)) >= self._plan.least:
                return
            self._round()
            if self._plan.drop:
                self._drop(range(begun, self._number))
            enough = self._level() or self._spent > self._plan.longest
            if final and self._plan.drop and done >= self._plan.least and enough:
                return

    def leader(self) -> Candidate | None:
        return min(self.running, key=self.score, default=None)

    def score(self, candidate: Candidate) -> float:
        """Seconds; of one that was dropped, what it would take in the rounds that the leader ran."""
        if candidate in self.running:
            return self._median(candidate)
        leader = min(self.running, key=self._median, default=candidate)
        ratios = self._ratios(candidate, leader, self._shared([candidate, leader]))
        return statistics.median(ratios) * self._median(leader) if ratios else self._median(candidate)

    def times(self, candidate: Candidate, other: Candidate) -> list[float]:
        """How many times as long the candidate takes, in each round that both ran."""
        return self._ratios(candidate, other, self._shared([candidate, other]))

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
                    if candidate in self.running:
                        self._slice(candidate, batch)

    def _round(self) -> None:
        """Backwards every other time, so that a machine that slows down steadily favours nobody."""
        for batch in self._objective.batch_sizes:
            for candidate in self.running[:: -1 if self._number % 2 else 1]:
                self._slice(candidate, batch)
        for candidate in self.running:
            slices = self._all[candidate].slices
            each = [_figure(slices[b][-1], b, self._objective) for b in self._objective.batch_sizes]
            self._all[candidate].scores[self._number] = math.exp(statistics.fmean(map(math.log, each)))
        self._number += 1

    def _slice(self, candidate: Candidate, batch: int) -> None:
        try:
            calls = self._time(candidate, batch, self._plan.seconds, self._plan.calls)
        except Exception as failed:  # noqa: BLE001 - a process that died is out, whatever it died of
            self.running.remove(candidate)
            self._lost(candidate, str(failed))
        else:
            self._all[candidate].slices.setdefault(batch, []).append(calls)
            self._spent += sum(calls)

    def _drop(self, rounds: Collection[int]) -> None:
        """Compares within the rounds of this run only: all who run shared them."""
        leader = min(self.running, key=self._median, default=None)
        if leader is None:
            return
        for candidate in [c for c in self.running if c != leader]:
            ratios = self._ratios(candidate, leader, rounds)
            far = min(ratios) > _FAR[min(len(ratios), len(_FAR)) - 1]
            if far or _least(ratios) > 1.0:
                self.running.remove(candidate)
                self.dropped[candidate] = f"{statistics.median(ratios):.2f} times as long as {leader}"

    def _shared(self, candidates: Iterable[Candidate]) -> set[int]:
        """Rounds that all of them ran."""
        each = [set(self._all[c].scores) for c in candidates]
        return each[0].intersection(*each) if each else set()

    def _median(self, candidate: Candidate) -> float:
        """Over the rounds that it shares with all who still run."""
        rounds = self._shared([candidate, *self.running]) or self._shared([candidate])
        return statistics.median(self._all[candidate].scores[number] for number in rounds)

    def _ratios(self, candidate: Candidate, leader: Candidate, rounds: Collection[int]) -> list[float]:
        a, b = self._all[candidate].scores, self._all[leader].scores
        return [a[number] / b[number] for number in rounds]

    def _level(self) -> bool:
        leader = min(self.running, key=self._median, default=None)
        if leader is None:
            return True
        rounds = self._shared(self.running)
        return all(_least(self._ratios(c, leader, rounds)) > 1 / _LEVEL for c in self.running if c != leader)


def _least(ratios: Sequence[float]) -> float:
    """What the true ratio is at least, beyond reasonable doubt."""
    if len(ratios) < _FEW:
        return 0.0
    logs = [math.log(ratio) for ratio in ratios]
    middle = statistics.median(logs)
    spread = 1.4826 * statistics.median(abs(log - middle) for log in logs)
    return math.exp(middle - _DOUBT * 1.2533 * spread / math.sqrt(len(logs)))


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
