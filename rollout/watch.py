"""What the data plane counts from tick to tick: an outage waits for no look. A look keeps the run that it ends with."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from lockgate.monitoring.measurement import Tally
from lockgate.rollout.analysis.outage import proven, ticked
from lockgate.rollout.analysis.words import Look, Run
from lockgate.rollout.progress import Progress, answered_by
from lockgate.rollout.spec import Step, challengers
from lockgate.rollout.words import Counts


@dataclass(frozen=True, slots=True)
class Watch:
    """`runs` of failures by challenger, up to the tick at which the counters said `seen`."""

    index: int
    """The step that is watched."""
    at: float
    seen: Counts
    runs: Mapping[str, Run]

    def ticked(self, now: float, seen: Counts, step: Step, up: Collection[str], deadline: float) -> Watch:
        """`up`: challengers that have replicas. Of one that has none everybody knows already, and it is given none.

        `deadline`: a challenger's seconds for a request. Stable has more time, but what takes it longer than that would
        have failed too.
        """
        stable = _within(seen.stable.since(self.seen.stable), deadline)
        runs = {}
        for name in challengers(step):
            came = answered_by(name, seen, step).since(answered_by(name, self.seen, step))
            run = self.runs.get(name, Run())
            runs[name] = ticked(run, now, came, stable) if name in up else Run(run.number)
        return replace(self, at=now, seen=seen, runs=runs)

    def alarms(self, challengers: int) -> bool:
        """Whether an outage is proven by what came at the last tick. `challengers`: of the whole rollout."""
        return any(run.at == self.at and proven(run, challengers) for run in self.runs.values())

    def told(self, look: Look) -> Look:
        """The look, with the runs at its end."""
        others = {name: replace(of, run=self.runs.get(name, Run())) for name, of in look.others.items()}
        return replace(look, run=self.runs["candidate"], others=others)


def _within(tally: Tally, deadline: float) -> Tally:
    late = tally.latency.perhaps_above(deadline * 1000)
    return replace(tally, errors=min(tally.requests, tally.errors + late))


def watch(progress: Progress) -> Watch:
    """From the last look on."""
    evidence = progress.evidence
    runs = {"candidate": evidence.run, **{name: of.run for name, of in evidence.others.items()}}
    return Watch(progress.index, progress.at, progress.seen, {name: Run(run.number) for name, run in runs.items()})
