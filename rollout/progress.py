"""What was looked at so far. Kept beside the log, not in it: it changes with every look."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from lockgate.monitoring.measurement import Tally
from lockgate.rollout.analysis.analysis import Evidence
from lockgate.rollout.analysis.words import Beside, Look
from lockgate.rollout.ports import Observed, Users
from lockgate.rollout.spec import ShadowStep, Step, WarmUp, challengers
from lockgate.rollout.verdict import Verdict
from lockgate.rollout.words import WHOLE, Counts, Replica, Routes

SHORTEST, LONGEST = 1.0, 30.0
"""Seconds between two looks."""
_OF_THE_STEP = 0.005


@dataclass(frozen=True, slots=True)
class Progress:
    """`seen` is what the data plane's counters said last, `step` what came since the step's routes were applied."""

    index: int
    """The step these counts belong to."""
    at: float
    """Of the last look, in unix seconds."""
    evidence: Evidence
    seen: Counts = Counts()
    step: Counts = Counts()
    verdict: Verdict | None = None
    began: float = 0.0
    """When the step's routes were applied."""
    cold_since: float = 0.0
    cold_from: int = 0
    """When the warm-up began, and what the candidate had answered in the step by then."""
    servers: tuple[str, ...] = ()
    """Addresses of both sides' replicas at the last look."""
    shares: tuple[tuple[float, float], ...] = ()
    """From when on the candidate was given which share of the users."""

    others: Mapping[str, tuple[tuple[float, float], ...]] = field(default_factory=dict)
    """The same of the challengers beside the candidate, by name."""

    def shared(self, now: float, routes: Routes) -> Progress:
        """With routes that are to be applied at `now`."""
        chances = _chances(routes)
        shares = _with(self.shares, now, chances.pop("candidate"))
        others = {name: _with(self.others.get(name, ()), now, chance) for name, chance in chances.items()}
        if shares == self.shares and others == {name: self.others.get(name) for name in others}:
            return self
        return replace(self, shares=shares, others={**self.others, **others})

    def on(self, since: float, now: float) -> Progress:
        """The shares that were to be on `since` then were by `now` only."""

        def later(shares: tuple[tuple[float, float], ...]) -> tuple[tuple[float, float], ...]:
            return (*shares[:-1], (now, shares[-1][1])) if shares and shares[-1][0] == since else shares

        return replace(self, shares=later(self.shares), others={n: later(of) for n, of in self.others.items()})

    def due(self, now: float) -> bool:
        """Looks are a second apart at first, and then ever farther: a week is not sixty times ten thousand of them.

        A clock that was set back holds nothing up.
        """
        pause = min(LONGEST, max(SHORTEST, (self.at - self.began) * _OF_THE_STEP))
        return not 0 <= now - self.at < pause * 0.9

    def look(self, now: float, seen: Counts, observed: Observed, step: Step) -> tuple[Progress, Look]:
        """With what came since the last look; a counter that was reset loses nothing."""
        came = Counts(
            stable=seen.stable.since(self.seen.stable),
            candidate=seen.candidate.since(self.seen.candidate),
            shadow=seen.shadow.since(self.seen.shadow),
            others={name: tally.since(self.seen.others.get(name, Tally())) for name, tally in seen.others.items()},
            shed=seen.shed - self.seen.shed if seen.shed >= self.seen.shed else seen.shed,
        )
        total = Counts(
            stable=self.step.stable.plus(came.stable),
            candidate=self.step.candidate.plus(came.candidate),
            shadow=self.step.shadow.plus(came.shadow),
            others={name: self.step.others.get(name, Tally()).plus(tally) for name, tally in came.others.items()},
            shed=self.step.shed + came.shed,
        )
        look = Look(
            step=self.index,
            at=now,
            stable=came.stable,
            candidate=_candidate(came, step),
            replicas=tuple((r.requests, r.errors) for r in _since(seen.replicas, self.seen.replicas)),
            pairs=observed.pairs,
            spreads=observed.spreads,
            readings=observed.readings,
            blind=observed.blind,
            rewards=observed.rewards,
            arrivals=observed.arrivals,
            others={name: _beside(name, came, observed) for name in challengers(step)[1:]},
        )
        return replace(self, at=now, seen=seen, step=total), look

    def warmed(self, now: float, servers: tuple[str, ...], rule: WarmUp, step: Step) -> tuple[Progress, bool]:
        """Whether latencies count by now: the warm-up begins anew when a replica came."""
        it = replace(self, servers=servers)
        if set(servers) - set(self.servers):
            it = replace(it, cold_since=now, cold_from=self.answered(step))
        answered = it.answered(step) - it.cold_from
        return it, answered >= rule.requests or not 0 <= now - it.cold_since < rule.duration

    def answered(self, step: Step) -> int:
        return _candidate(self.step, step).requests


def begun(index: int, now: float, seen: Counts, evidence: Evidence, servers: tuple[str, ...] = ()) -> Progress:
    """A step whose routes have just been applied: what was counted until now belongs to the one before."""
    return Progress(index, now, evidence, seen, began=now, cold_since=now, servers=servers)


def answered_by(name: str, counts: Counts, step: Step) -> Tally:
    """What a challenger has answered."""
    return _candidate(counts, step) if name == "candidate" else counts.others.get(name, Tally())


def _candidate(counts: Counts, step: Step) -> Tally:
    """In shadow, the candidate answers the copies."""
    return counts.shadow if isinstance(step, ShadowStep) else counts.candidate


def _beside(name: str, came: Counts, observed: Observed) -> Beside:
    users = observed.others.get(name, Users())
    return Beside(came.others.get(name, Tally()), users.rewards, users.arrivals)


def _chances(routes: Routes) -> dict[str, float]:
    """For each challenger the chance that a user who is either its or stable's is its."""
    weights = {"candidate": routes.weight if routes.candidate else 0}
    weights |= {other.name: other.weight if other.endpoints else 0 for other in routes.others}
    stable = WHOLE - sum(weights.values())
    return {name: weight / (weight + stable) if weight else 0.0 for name, weight in weights.items()}


def _with(shares: tuple[tuple[float, float], ...], now: float, share: float) -> tuple[tuple[float, float], ...]:
    return shares if shares and shares[-1][1] == share else (*shares, (now, share))


def _since(now: tuple[Replica, ...], earlier: tuple[Replica, ...]) -> list[Replica]:
    """What each replica that is still there ended; one that is new, or was reset, counts from nothing."""
    before = {r.address: r for r in earlier}
    came = []
    for it in now:
        then = before.get(it.address, Replica(it.address))
        if it.requests < then.requests or it.errors < then.errors:
            then = Replica(it.address)
        came.append(Replica(it.address, it.requests - then.requests, it.errors - then.errors))
    return came
