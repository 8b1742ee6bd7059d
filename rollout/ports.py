"""What the rollout needs from the data plane. One adapter per file; all of them pass the same contract tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from lockgate.monitoring.measurement import Arrivals, Group, Pairs, Reading, Spread
from lockgate.rollout.words import Counts, Routes


def always() -> bool:
    return True


class Router(Protocol):
    """Splits live traffic between two sides."""

    def apply(self, routes: Routes, still: Callable[[], bool] = always) -> bool:
        """Make the data plane serve `routes`; return when it does. False when they are not wanted any more.

        `still`: asked when nobody else can change anything any more, right before this does. Whoever slept on the way
        here has been followed by others, and changes nothing; an error that it raises goes on to the caller.

        Applying what is served already changes nothing. Raises `RouterRefused` when the data plane keeps what it
        served before, and `RouterDown` when it does not answer.
        """

    def applied(self) -> Routes:
        """What the data plane really serves now. Raises `RouterDown` when it does not answer."""


class MetricSource(Protocol):
    """Counts what each side answered."""

    def measure(self) -> Counts:
        """Cumulative counts, read at one moment. Raises `SourceDown` when there are none to be had."""


@dataclass(frozen=True, slots=True)
class Users:
    """What the users of one more challenger did, and of stable; see `Look`."""

    rewards: Mapping[str, tuple[Group, ...]] = field(default_factory=dict)
    arrivals: tuple[Arrivals, ...] = ()


@dataclass(frozen=True, slots=True)
class Observed:
    """What came since the last look, by the names of the gates that asked for it. `blind`: why nothing did."""

    pairs: Mapping[str, Pairs] = field(default_factory=dict)
    spreads: Mapping[str, Spread] = field(default_factory=dict)
    readings: Mapping[str, Reading] = field(default_factory=dict)
    blind: Mapping[str, str] = field(default_factory=dict)
    rewards: Mapping[str, tuple[Group, ...]] = field(default_factory=dict)
    """By the names of business metrics."""
    arrivals: tuple[Arrivals, ...] = ()
    others: Mapping[str, Users] = field(default_factory=dict)
    """Of the challengers beside the candidate, by name."""


@dataclass(frozen=True, slots=True)
class Span:
    """What an observer is asked for. Times are unix seconds."""

    step: int
    since: float
    """When the last look ended."""
    now: float
    began: float = 0.0
    """When the step's routes were on."""
    shares: tuple[tuple[float, float], ...] = ()
    """From when on which share of the users fell to the candidate, of those who are either its or stable's."""
    others: Mapping[str, tuple[tuple[float, float], ...]] = field(default_factory=dict)
    """The same of the challengers beside the candidate, by name."""


class Observer(Protocol):
    """Sees what the data plane's counters do not tell: answers, what users did, and what other sources measure."""

    def observe(self, span: Span) -> Observed:
        """What came since the last look. Never raises, and never waits long."""


class Nothing(Observer):
    """For gates that the data plane's counters are enough for."""

    def observe(self, span: Span) -> Observed:  # noqa: ARG002 - the port's
        return Observed()
