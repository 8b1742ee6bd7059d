"""What a comparison of live inputs with the reference found, as values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from lockgate.monitoring.drift.aspects import Kind
from lockgate.monitoring.drift.columns import Array
from lockgate.monitoring.drift.profile import Role

Outcome = Literal["same", "drifts", "severe", "undecided"]
LEAST_ROWS = 200
"""Live, and in the reference: with fewer there is no verdict."""


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """Live rows, by the name of the input or output: columns as `profile_of` takes them.

    `groups`: (rows,) numbers of what rows belong together (of one request, or of one user), which are not independent
    of one another; None where all are. `since`, `until`: when they were answered, in unix seconds, and `at`: when each
    was. `problems`: files that could not be read. `notes`: sentences about how the rows were taken.
    """

    inputs: dict[str, Any]
    outputs: dict[str, Any] = field(default_factory=dict)
    rows: int = 0
    groups: Array | None = None
    since: float = 0.0
    until: float = 0.0
    problems: tuple[str, ...] = ()
    at: Array | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Share:
    """How many live rows have something, against the reference; `chance`: that it is as different by accident."""

    live: float
    reference: float
    chance: float = 1.0


@dataclass(frozen=True, slots=True)
class Distance:
    """Between live values and the reference. `psi`: less what chance adds; `raw`: with it.

    `chance`: of values as far apart, were nothing different (chi-square of two samples). `rows`: live ones, and
    `design_effect`: how many dependent rows say as much as one independent.
    """

    aspect: str
    psi: float
    raw: float
    chance: float
    rows: int
    design_effect: float = 1.0


@dataclass(frozen=True, slots=True)
class Compared:
    """One feature: an input, an output, or one element of a vector.

    `says`: a sentence, where it drifts or is undecided.
    `distances`: of each aspect, the largest first. `new`: rows with labels that the reference has never seen.
    `outside`: rows below or above all that it has.
    """

    name: str
    role: Role
    kind: Kind
    outcome: Outcome
    rows: int
    missing: Share
    distances: tuple[Distance, ...] = ()
    new: Share | None = None
    outside: Share | None = None
    says: str = ""

    @property
    def drifts(self) -> bool:
        return self.outcome in ("drifts", "severe")

    @property
    def psi(self) -> float | None:
        return self.distances[0].psi if self.distances else None


@dataclass(frozen=True, slots=True)
class Comparison:
    """`share`: of the inputs that drift. `says`: one sentence about all. `notes`: what was not compared, and why.

    `side`: whose training data the reference is, `candidate` or `stable`; empty where nobody said.
    """

    features: tuple[Compared, ...]
    drifting: bool
    severe: bool
    undecided: bool
    share: float
    rows: int
    reference_rows: int
    says: str
    notes: tuple[str, ...] = ()
    since: float = 0.0
    until: float = 0.0
    side: str = ""

    @property
    def drifted(self) -> tuple[Compared, ...]:
        """Those that drift, the worst first."""
        found = [of for of in self.features if of.drifts]
        return tuple(sorted(found, key=lambda of: (of.role, of.outcome != "severe", -(of.psi or 0.0), of.name)))
