"""One step of many simulated rollouts, judged by the product's own judge."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lockgate.rollout.analysis.batch import Batch
from lockgate.rollout.analysis.bets import Array
from lockgate.rollout.analysis.forecast_traffic import COARSE, Draws, Split, look_times, split
from lockgate.rollout.gates import Disagreement, Gate, Mean, PredictionDrift, Query
from lockgate.rollout.spec import RolloutSpec, ShadowStep, Step, options

Bools = NDArray[np.bool_]
NEVER = np.inf


@dataclass(frozen=True, slots=True)
class Ended:
    """When something happened in each of R rollouts: seconds of the step and the candidate's requests in it.

    Infinity where it never did.
    """

    seconds: Array
    requests: Array

    @property
    def share(self) -> float:
        return float(np.isfinite(self.seconds).mean())

    def within(self, seconds: float) -> float:
        """The share of rollouts where it happened by then."""
        return float((self.seconds <= seconds).mean())


@dataclass(frozen=True, slots=True)
class Expected:
    """Median and 90th percentile over simulated rollouts; None where it takes forever."""

    median: float | None
    most: float | None


def expected(values: Array) -> Expected:
    """`values` (R,); infinity is forever."""
    if not len(values):
        return Expected(None, None)
    median, most = (float(np.quantile(values, q, method="higher")) for q in (0.5, 0.9))
    return Expected(*(value if np.isfinite(value) else None for value in (median, most)))


@dataclass(frozen=True, slots=True)
class Trial:
    passed: Ended
    """The step could end well: every gate passes, and it was held."""
    gates: Mapping[str, Ended]
    """Each gate by itself passes, or only does not fail where the step asks no more."""
    failed: Mapping[str, Ended]
    """By gate."""
    rolled_back: Bools
    """(R,)"""


def unforeseen(gate: Gate, step: Step) -> str:
    """Why nobody can say beforehand when this gate passes in this step, as a sentence; empty where one can."""
    if isinstance(gate, Query):
        return f"what the query will say is not foreseen; it passes after {gate.count} values within its limits"
    if isinstance(gate, PredictionDrift):
        return "how predictions are distributed is not foreseen"
    if isinstance(gate, Mean):
        return _NO_USERS if isinstance(step, ShadowStep) else "what users do is not foreseen"
    if isinstance(gate, Disagreement) and not isinstance(step, ShadowStep):
        return "answers are compared in shadow steps only"
    return ""


_NO_USERS = "users do nothing because of a shadow"


def foreseen(spec: RolloutSpec, step: Step) -> tuple[str, ...]:
    """Gates about requests; `forecast_ab_guards` foresees those about users."""
    return tuple(name for name, gate in spec.gates.items() if not unforeseen(gate, step))


class Watch:
    """Runs one step of every rollout until `seconds`, or until nothing is open any more.

    `alone`: a rollout ends when each gate by itself has failed, or has passed and was held; else when the step ends.
    `rough`: looks are half as many, for searches that try many numbers.
    """

    def __init__(
        self, spec: RolloutSpec, batch: Batch, draws: Draws, *, alone: bool = False, rough: bool = False
    ) -> None:
        self._spec, self._batch, self._draws, self._alone = spec, batch, draws, alone
        self._coarse = COARSE * (2 if rough else 1)

    def step(self, index: int, seconds: float, going: Bools | None = None) -> Trial:
        """`going` (R,): rollouts that have come so far; to the others nothing happens."""
        step = self._spec.steps[index]
        of, rollouts = split(step, self._draws.traffic.rps), self._draws.rollouts
        open_ = Open(self._spec, step, rollouts, np.ones(rollouts, bool) if going is None else going)
        for begun, ended in look_times(of.candidate, seconds, self._coarse):
            self._look(index, of, (begun, ended), open_)
            if not open_.going(alone=self._alone).any():
                break
        return open_.trial()

    def _look(self, index: int, of: Split, time: tuple[float, float], open_: Open) -> None:
        begun, ended = time
        going = open_.going(alone=self._alone)
        stable, candidate, pairs = self._draws.look(of, ended - begun, going)
        warm_up = self._spec.warm_up
        warm = begun >= warm_up.duration or begun * of.candidate >= warm_up.requests
        named = {n: pairs for n, gate in self._spec.gates.items() if isinstance(gate, Disagreement) and of.paired}
        self._batch.look(index, stable, candidate, warm=warm, pairs=named)
        open_.seen(ended, candidate.requests, self._batch.gates(index), going)


class Open:
    """What has not happened yet in a step of R rollouts."""

    def __init__(self, spec: RolloutSpec, step: Step, rollouts: int, going: Bools) -> None:
        self._step, self._names, self._going = step, foreseen(spec, step), going
        self._requests = np.zeros(rollouts)
        self._values = max((g.every * g.count for g in spec.gates.values() if isinstance(g, Query)), default=0.0)
        self._passed = self._never()
        self._gates = {name: self._never() for name in self._names}
        self._ends = {name: self._never() for name in self._names}
        self._failed = {name: self._never() for name in self._names}

    def _never(self) -> Ended:
        return Ended(np.full(len(self._requests), NEVER), np.full(len(self._requests), NEVER))

    def going(self, *, alone: bool) -> Bools:
        if not alone:
            return self._going & ~_yet(self._passed) & ~self._rolled_back()
        settled = np.ones(len(self._going), bool)
        for name in self._names:
            settled &= _yet(self._ends[name]) | _yet(self._failed[name])
        return self._going & ~settled

    def stop(self, rollouts: Bools) -> None:
        """Nothing more will come to these (R,)."""
        self._going = self._going & ~rollouts

    def _rolled_back(self) -> Bools:
        back = np.zeros(len(self._going), bool)
        for failed in self._failed.values():
            back |= _yet(failed)
        return back

    def seen(self, seconds: float, requests: Array, outcomes: Mapping[str, Array], going: Bools) -> None:
        """After a look: what has happened by `seconds` in the rollouts that are `going`."""
        self._requests += requests
        step = options(self._step)
        decided = step.until == "decided"
        held = going & (self._requests >= step.hold.min_requests) & (seconds >= (step.hold.duration or 0))
        together = held & (not decided or seconds >= self._values)
        for name in self._names:
            enough = outcomes[name] > 0 if decided else outcomes[name] >= 0
            self._note(self._failed[name], seconds, going & (outcomes[name] < 0))
            self._note(self._gates[name], seconds, going & enough)
            self._note(self._ends[name], seconds, held & enough & ~_yet(self._failed[name]))
            together &= enough
        self._note(self._passed, seconds, together)

    def _note(self, event: Ended, seconds: float, now: Bools) -> None:
        first = now & ~_yet(event)
        event.seconds[first] = seconds
        event.requests[first] = self._requests[first]

    def trial(self) -> Trial:
        return Trial(self._passed, self._gates, self._failed, self._rolled_back())


def _yet(event: Ended) -> Bools:
    """Where it has happened."""
    return np.isfinite(event.seconds)
