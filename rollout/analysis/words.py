"""What the analysis is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from lockgate.monitoring.measurement import Arrivals, Group, Pairs, Reading, Spread, Tally


@dataclass(frozen=True, slots=True)
class Beside:
    """What came of one more challenger; users are those who are either its or stable's."""

    tally: Tally = field(default_factory=Tally)
    rewards: Mapping[str, tuple[Group, ...]] = field(default_factory=dict)
    arrivals: tuple[Arrivals, ...] = ()


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


def beside(look: Look, of: Beside) -> Look:
    """The look at another challenger, as if it were the candidate. Only what its requests and users did is known."""
    own = replace(look, candidate=of.tally, rewards=of.rewards, arrivals=of.arrivals)
    return replace(own, pairs={}, spreads={}, readings={}, others={})
