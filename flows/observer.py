"""What a rollout's gates are told beyond the router's counters: answers compared, and Prometheus queries."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from lockgate.flows.rewards import Rewards, asked
from lockgate.flows.spec import Spec
from lockgate.monitoring.answers.answers import Answers
from lockgate.monitoring.answers.kept import Kept
from lockgate.monitoring.answers.words import Comparison, Example
from lockgate.monitoring.measurement import Reading
from lockgate.monitoring.prometheus import Prometheus, fill
from lockgate.rollout.gates import Compare, Disagreement, PredictionDrift, Query
from lockgate.rollout.ports import Observed, Observer, Span

_LOG = logging.getLogger("lockgate.observer")
_BINS = "bins.json"


class Observation(Observer):
    """Of one rollout. `facts`: what was built. Counts of a step begin when it does; leave it when it is over."""

    def __init__(self, spec: Spec, facts: Mapping[str, str], capture: Path, rewards: Rewards | None = None) -> None:
        gates = spec.rollout.gates
        self._spec = spec.rollout
        self._rewards = rewards
        self._capture = capture
        self._digests = facts.get("stable_digest", ""), facts.get("candidate_digest", "")
        self._compared = {n: comparison(g.compare) for n, g in gates.items() if isinstance(g, Disagreement)}
        self._drifts = {n: g.output for n, g in gates.items() if isinstance(g, PredictionDrift)}
        self._readings = _Readings(spec, facts)
        self._step = -1
        self._answers: Answers | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._readings.close()
        if self._rewards:
            self._rewards.close()

    def observe(self, span: Span) -> Observed:
        """See `Observer.observe`."""
        seen = self._answered(span)
        if self._rewards is None:
            return seen
        try:
            came = self._rewards.came(span)
        except Exception as odd:  # noqa: BLE001 - a folder that is gone must not stop the rollout's loop
            _LOG.exception("what users did cannot be read")
            why = f"what users did cannot be read ({type(odd).__name__}); the controller's log says why"
            gates = [gate for gates in asked(self._spec, span.step).values() for gate in gates]
            return replace(seen, blind={**seen.blind, **dict.fromkeys(gates, why)})
        blind = {**seen.blind, **came.blind}
        return replace(seen, rewards=came.rewards, arrivals=came.arrivals, blind=blind, others=came.others)

    def _answered(self, span: Span) -> Observed:
        step, since, now = span.step, span.since, span.now
        readings = self._readings.taken(step, now)
        if not self._compared and not self._drifts:
            return Observed(readings=readings)
        if self._answers is None or self._step != step:  # after a restart too, what was counted is not read again
            self._step = step
            kept = Kept(self._capture / _BINS, " ".join((*self._digests, str(step), str(span.began))))
            self._answers = Answers(self._capture, *self._digests, self._compared, self._drifts, since, kept)
        try:
            came = self._answers.came(now)
        except Exception as odd:  # noqa: BLE001 - a model answers anything: its gates are blind, and traffic is still driven
            _LOG.exception("the captured answers cannot be compared")
            why = f"the captured answers cannot be compared ({type(odd).__name__}); the controller's log says why"
            return Observed(readings=readings, blind=dict.fromkeys((*self._compared, *self._drifts), why))
        return Observed(came.pairs, came.spreads, readings, came.blind)

    @property
    def feedback(self) -> dict[str, int]:
        """Rows of feedback in the step so far, by what became of them."""
        return self._rewards.notes if self._rewards else {}

    def examples(self) -> list[Example]:
        """The worst disagreements of the step so far."""
        return self._answers.examples() if self._answers else []


def comparison(of: Compare) -> Comparison:
    return Comparison(of.by, of.output, of.atol, of.rtol, of.least, of.function)


class _Readings:
    """Asks each query when it is due, in a thread: a Prometheus that does not answer delays no tick."""

    def __init__(self, spec: Spec, facts: Mapping[str, str]) -> None:
        self._gates = {name: gate for name, gate in spec.rollout.gates.items() if isinstance(gate, Query)}
        self._prometheus = Prometheus(spec.monitoring.prometheus) if spec.monitoring.prometheus else None
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="queries") if self._gates else None
        self._asked: dict[str, Future[Reading]] = {}
        self._last: dict[str, float] = {}
        self._step = -1
        values = {
            "variant": "candidate",
            "name": spec.name,
            "model": spec.model.name,
            "version": facts.get("candidate_version", ""),
        }
        self._queries = {name: fill(gate.query, values) for name, gate in self._gates.items()}

    def taken(self, step: int, now: float) -> dict[str, Reading]:
        """What has been answered in this step since the last call; asks again where it is time."""
        if step != self._step:  # what was asked before says nothing of it
            self._step, self._asked, self._last = step, {}, {}
        found = {name: asked.result() for name, asked in self._asked.items() if asked.done()}
        for name in found:
            del self._asked[name]
        for name, gate in self._gates.items():
            waited = now - self._last.get(name, -gate.every)
            if name not in self._asked and self._threads and self._prometheus and not 0 <= waited < gate.every:
                self._last[name] = now
                self._asked[name] = self._threads.submit(self._prometheus.read, self._queries[name])
        return found

    def close(self) -> None:
        if self._threads:
            self._threads.shutdown(wait=False, cancel_futures=True)
