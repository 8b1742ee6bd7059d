"""What was counted in the step so far. Kept beside the log, not in it: it changes on every tick."""

from __future__ import annotations

from dataclasses import dataclass, replace

from lockgate.monitoring.measurement import Tally
from lockgate.rollout.spec import ShadowStep, Step
from lockgate.rollout.verdict import Verdict
from lockgate.rollout.words import Counts


@dataclass(frozen=True, slots=True)
class Progress:
    """`seen` is what the data plane's counters said last, `step` what came since the step's routes were applied."""

    index: int
    """The step these counts belong to; -1 before the first."""
    at: float
    seen: Counts = Counts()
    step: Counts = Counts()
    verdict: Verdict | None = None

    def counted(self, now: float, seen: Counts) -> Progress:
        """With the counts that came since the last look; a counter that was reset loses nothing."""
        step = Counts(
            stable=self.step.stable.plus(seen.stable.since(self.seen.stable)),
            candidate=self.step.candidate.plus(seen.candidate.since(self.seen.candidate)),
            shadow=self.step.shadow.plus(seen.shadow.since(self.seen.shadow)),
        )
        return replace(self, at=now, seen=seen, step=step)

    def sides(self, step: Step) -> tuple[Tally, Tally]:
        """What stable and the candidate answered in this step; in shadow, the candidate answers the copies."""
        return self.step.stable, self.step.shadow if isinstance(step, ShadowStep) else self.step.candidate


def begun(index: int, now: float, seen: Counts) -> Progress:
    """A step whose routes have just been applied: what was counted until now belongs to the one before."""
    return Progress(index, now, seen)
