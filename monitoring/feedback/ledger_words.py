"""What the ledger is told and what it says, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from lockgate.monitoring.measurement import Arrivals, Group

GRACE = 5.0
"""Seconds for which captured rows and feedback may still be on their way when a window is over."""


@dataclass(frozen=True, slots=True)
class Measure:
    """What is measured of one metric: what a user did within `window` seconds after the first request.

    `kind`: `binary` or `continuous`. `take`: `sum` or `mean` of a user's values. `lowest`, `highest`: what a user's
    value is clipped to; those of a continuous metric are learned where they are not given. `delay`: seconds that its
    source may take to tell what happened.
    """

    kind: str
    window: float
    take: str = "sum"
    lowest: float | None = None
    highest: float | None = None
    delay: float = 0.0

    @property
    def settled(self) -> float:
        """Seconds after a user's first request from when on nothing more can come of what counts."""
        return self.window + self.delay + GRACE


@dataclass(frozen=True, slots=True)
class Told:
    """Of one challenger and stable: users whose windows closed, by metric, and users who were first seen.

    A group's or arrival's `candidate` is this challenger. Users of another one are not in it.
    """

    rewards: Mapping[str, tuple[Group, ...]] = field(default_factory=dict)
    arrivals: tuple[Arrivals, ...] = ()


@dataclass(frozen=True, slots=True)
class Came:
    """Users whose windows closed, by metric, and users who were first seen, since the last look.

    They are stable's and the candidate's; `others` has the same for each other challenger that was asked for, by name.
    `blind`: why nothing can be known now; what it leaves out comes with a later look. `notes`: of all feedback so far,
    how many rows were `matched`, came `late` (their user's window was over), were `early` (before their user's first
    request) or are `unmatched` (given up); and how many are `waiting` for a captured request.
    """

    rewards: Mapping[str, tuple[Group, ...]] = field(default_factory=dict)
    arrivals: tuple[Arrivals, ...] = ()
    blind: str = ""
    notes: Mapping[str, int] = field(default_factory=dict)
    others: Mapping[str, Told] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Look:
    """One look, in unix seconds: users who were due by `since` have been handed out, those due by `now` are wanted.

    `origin`: those due by then were handed out before this file was made.
    """

    since: float
    now: float
    origin: float

    @property
    def times(self) -> dict[str, float]:
        """Parameters of the statements. Edges are when windows were over of users who are due `GRACE` later."""
        edges = {"edge": self.since - GRACE, "origin_edge": self.origin - GRACE}
        return {"since": self.since, "now": self.now, "origin": self.origin, "grace": GRACE} | edges
