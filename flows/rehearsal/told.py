"""The first shuffle judged as a rollout is, for its verdicts in words."""

from __future__ import annotations

from lockgate.flows.rehearsal.draws import Counted
from lockgate.monitoring.measurement import Histogram, Pairs, Tally
from lockgate.rollout.analysis.analysis import Analysis
from lockgate.rollout.analysis.batch import BatchPairs, BatchTally
from lockgate.rollout.analysis.words import Look
from lockgate.rollout.spec import RolloutSpec
from lockgate.rollout.verdict import Verdict


class Told:
    def __init__(self, spec: RolloutSpec) -> None:
        self._analysis = Analysis(spec)
        self._evidence = self._analysis.begin()

    def look(self, step: int, counted: Counted, *, warm: bool, at: float) -> None:
        replicas = counted.replicas
        look = Look(
            step=step,
            at=at,
            stable=_tally(counted.stable),
            candidate=_tally(counted.candidate),
            warm=warm,
            replicas=tuple(zip(*(map(int, each[0]) for each in replicas), strict=True)) if replicas else (),
            pairs={name: _pairs(pairs) for name, pairs in counted.pairs.items()},
        )
        self._evidence = self._analysis.look(self._evidence, look)

    def verdict(self, step: int) -> Verdict:
        return self._analysis.verdict(self._evidence, step)


def _tally(tally: BatchTally) -> Tally:
    counts = tuple(map(int, tally.counts[0]))
    return Tally(int(tally.requests[0]), int(tally.errors[0]), Histogram(tuple(tally.edges.tolist()), counts))


def _pairs(pairs: BatchPairs) -> Pairs:
    values = (pairs.compared, pairs.differing, pairs.echoed, pairs.echoes_differing)
    return Pairs(*(int(value[0]) for value in values))
