"""The rollout's words as values: endpoints, routes, measurements, verdicts. No vendor, no clock, no network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from lockgate.monitoring.measurement import Tally

WHOLE = 10_000
"""All traffic. Weights and mirror shares are whole numbers of ten-thousandths, so that they compare exactly."""


class Phase(StrEnum):
    PENDING = "pending"
    BUILDING = "building"
    PROGRESSING = "progressing"
    WAITING = "waiting"
    PROMOTING = "promoting"
    PROBATION = "probation"
    SUCCEEDED = "succeeded"
    ROLLING_BACK = "rolling_back"
    ROLLED_BACK = "rolled_back"
    FAILED = "failed"

    @property
    def stepping(self) -> bool:
        """In the steps: measured, judged, and open to a person's word."""
        return self in (Phase.PROGRESSING, Phase.WAITING)

    @property
    def over(self) -> bool:
        return self in (Phase.SUCCEEDED, Phase.ROLLED_BACK, Phase.FAILED)


class Outcome(StrEnum):
    """Of a gate or of all gates; the worst wins."""

    PASS = "pass"  # noqa: S105 - a verdict, not a password
    UNDECIDED = "undecided"
    ERROR = "error"
    FAIL = "fail"


@dataclass(frozen=True, slots=True, order=True)
class Endpoint:
    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Other:
    """One more challenger of an A/B test. `name` is its variant; `weight` its share, in ten-thousandths.

    One without endpoints keeps its place in the split, and stable answers there.
    """

    name: str
    endpoints: tuple[Endpoint, ...] = ()
    weight: int = 0


@dataclass(frozen=True, slots=True)
class Routes:
    """The split of traffic. Shares are in ten-thousandths of the live requests.

    `weight` of them are answered by the candidate, each of the `others` answers its own, and stable the rest. `mirror`
    of all live requests are copied to the candidate, whose answers are thrown away; `echo` of them are copied to stable
    itself, which measures how often stable's answers differ from stable's. `salt` decides which users fall to whom:
    with the same salt, larger weights take users from stable and give it none. Beside others, a candidate may have a
    weight and no endpoints: it was dropped, and stable answers in its place.
    """

    stable: tuple[Endpoint, ...]
    candidate: tuple[Endpoint, ...] = ()
    weight: int = 0
    mirror: int = 0
    echo: int = 0
    salt: str = "lockgate"
    others: tuple[Other, ...] = ()


@dataclass(frozen=True, slots=True)
class Replica:
    """Requests that one of stable's replicas ended since the data plane knows it, and those of them that failed."""

    address: str
    requests: int = 0
    errors: int = 0


@dataclass(frozen=True, slots=True)
class Counts:
    """Cumulative counts per side since the data plane started. `shadow` counts the copies of live requests."""

    stable: Tally = Tally()
    candidate: Tally = Tally()
    shadow: Tally = Tally()
    replicas: tuple[Replica, ...] = ()
    """Of stable, by address."""
    others: Mapping[str, Tally] = field(default_factory=dict)
    """By name."""
    shed: int = 0
    """Copies that were not sent, for too many were under way; `shadow` is without them."""
