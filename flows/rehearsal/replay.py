"""A whole rollout over captured traffic, many shuffles at once, with the product's judge and simulated time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lockgate.flows.rehearsal.draws import Counted, Draws
from lockgate.flows.rehearsal.told import Told
from lockgate.rollout.analysis.batch import Batch
from lockgate.rollout.analysis.forecast_traffic import look_times
from lockgate.rollout.analysis.forecast_trial import Bools, Open, Trial
from lockgate.rollout.spec import RolloutSpec, options
from lockgate.rollout.verdict import Verdict

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Step:
    """What became of the shuffles that reached a step."""

    index: int
    reached: Bools
    """(S,)"""
    trial: Trial
    ran_out: Bools
    """(S,): the captured traffic ended before the step did."""
    outcomes: dict[str, Array]
    """(S,) by gate: -1 fail, 0 undecided, 1 pass, when the step ended."""
    verdict: Verdict | None
    """Of the first shuffle, in words."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """S shuffles. `seconds` and `requests` (S,) are those of the whole rollout: the candidate's requests."""

    steps: tuple[Step, ...]
    failed: Bools
    ran_out: Bools
    timed_out: Bools
    seconds: Array
    requests: Array

    @property
    def passed(self) -> Bools:
        return ~(self.failed | self.ran_out | self.timed_out)


class Replay:
    def __init__(self, spec: RolloutSpec, draws: Draws) -> None:
        self._spec, self._draws = spec, draws
        self._batch, self._told = Batch(spec, draws.shuffles), Told(spec)
        self._at = np.zeros(draws.shuffles)
        self._requests = np.zeros(draws.shuffles)

    def run(self) -> Replayed:
        """Each shuffle goes on with the traffic that follows when its step has ended."""
        going, steps = np.ones(self._draws.shuffles, bool), []
        ran_out, failed, timed_out = (np.zeros(self._draws.shuffles, bool) for _ in range(3))
        for index in range(len(self._spec.steps)):
            if not going.any():
                break
            step = self._step(index, going)
            steps.append(step)
            passed = going & np.isfinite(step.trial.passed.seconds)
            ran_out |= step.ran_out
            failed |= going & step.trial.rolled_back
            timed_out |= going & ~passed & ~failed & ~ran_out
            going = passed
        return Replayed(tuple(steps), failed, ran_out, timed_out, self._at, self._requests)

    def _step(self, index: int, reached: Bools) -> Step:
        step, draws = self._spec.steps[index], self._draws
        shares, begun = draws.shares(step), self._at.copy()
        rate = draws.captured.rps * shares.candidate
        open_ = Open(self._spec, step, draws.shuffles, reached)
        ran_out = np.zeros(draws.shuffles, bool)
        outcomes = {name: np.zeros(draws.shuffles) for name in self._batch.gates(index)}
        for start, end in look_times(rate, options(step).timeout):
            out = open_.going(alone=False) & (begun + end > draws.captured.seconds)
            ran_out |= out
            open_.stop(out)
            going = open_.going(alone=False)
            if not going.any():
                break
            until = np.where(going, begun + end, begun + start)
            counted = draws.look(shares, begun + start, until)
            self._judge(index, counted, warm=self._warm(start, rate), at=end, first=bool(going[0]))
            now = self._batch.gates(index)
            open_.seen(end, counted.candidate.requests, now, going)
            outcomes = {name: np.where(going, now[name], before) for name, before in outcomes.items()}
            self._at = np.where(going, until, self._at)
            self._requests += counted.candidate.requests
        return Step(index, reached, open_.trial(), ran_out, outcomes, self._told.verdict(index) if reached[0] else None)

    def _warm(self, seconds: float, rate: float) -> bool:
        rule = self._spec.warm_up
        return seconds >= rule.duration or seconds * rate >= rule.requests

    def _judge(self, index: int, counted: Counted, *, warm: bool, at: float, first: bool) -> None:
        self._batch.look(
            index,
            counted.stable,
            counted.candidate,
            warm=warm,
            replicas=counted.replicas,
            pairs=counted.pairs,
        )
        if first:
            self._told.look(index, counted, warm=warm, at=at)
