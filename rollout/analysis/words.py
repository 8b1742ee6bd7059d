"""What the analysis is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from lockgate.monitoring.measurement import Arrivals, Group, Pairs, Reading, Spread, Tally


@dataclass(frozen=True, slots=True)
class Run:
    """Ticks in a row in which a challenger answered something and failed all of it; see `outage`."""

    number: int = 0
    """How many runs of the rollout had at least two failures; this is the last of them, or there is none now."""
    since: float = 0.0
    """When its first tick ended, in unix seconds, and when its last one did."""
    at: float = 0.0
    opening: int = 0
    """Failures before anything was bet."""
    ticks: tuple[tuple[int, int, int], ...] = ()
    """And then in each tick: the challenger's failures, stable's requests, and stable's failures."""

    @property
    def failed(self) -> int:
        return self.opening + sum(tick[0] for tick in self.ticks)


@dataclass(frozen=True, slots=True)
class Beside:
    """What came of one more challenger; users are those who are either its or stable's."""

    tally: Tally = field(default_factory=Tally)
    rewards: Mapping[str, tuple[Group, ...]] = field(default_factory=dict)
    arrivals: tuple[Arrivals, ...] = ()
    run: Run = Run()


@dataclass(frozen=True, slots=True)
class Look:
    """What came between two looks at the traffic of one step. The event log keeps each one: `verify` judges it anew."""

    step: int
    """Index of the step in the spec."""
    at: float
    """When it ended, in unix seconds."""
    stable: Tally = field(default_factory=Tally)
    candidate: Tally = field(default_factory=Tally)
    """In a shadow step, the copies that the candidate answered."""
    warm: bool = True
    """False during the warm-up: its latencies prove nothing."""
    replicas: tuple[tuple[int, int], ...] = ()
    """Requests and failed requests of each of stable's replicas, in an order that lasts."""
    pairs: Mapping[str, Pairs] = field(default_factory=dict)
    """By the name of a `disagreement` gate."""
    spreads: Mapping[str, Spread] = field(default_factory=dict)
    """By the name of a `prediction_drift` gate."""
    readings: Mapping[str, Reading] = field(default_factory=dict)
    """By the name of a `query` gate, where one was due."""
    blind: Mapping[str, str] = field(default_factory=dict)
    """Gates whose source said nothing, by name, and why."""
    rewards: Mapping[str, tuple[Group, ...]] = field(default_factory=dict)
    """By the name of a business metric, where a step or a gate looks at one."""
    arrivals: tuple[Arrivals, ...] = ()
    """Who came into the step."""
    others: Mapping[str, Beside] = field(default_factory=dict)
    """What came of the challengers beside the candidate, by name."""
    run: Run = Run()
    """Of the candidate's failures, up to the look's end."""


def beside(look: Look, of: Beside) -> Look:
    """The look at another challenger, as if it were the candidate. Only what its requests and users did is known."""
    own = replace(look, candidate=of.tally, rewards=of.rewards, arrivals=of.arrivals, run=of.run)
    return replace(own, pairs={}, spreads={}, readings={}, others={})
