"""What is simulated: faults, kinds of dependence, cells of traffic, and how many rollouts of each."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.detection.traffic import Cell, Kind, Law

OFTEN, RARE = 0.01, 0.001
"""Stable's shares of failed requests."""
FAULTS = {
    "errors 0.1 → 1 %": (Law(RARE), Law(0.01)),
    "errors 0.1 → 5 %": (Law(RARE), Law(0.05)),
    "errors 1 → 2 %": (Law(OFTEN), Law(0.02)),
    "p99 x 1.2": (Law(RARE), Law(RARE, 1.2)),
    "p99 x 1.5": (Law(RARE), Law(RARE, 1.5)),
    "p99 x 2": (Law(RARE), Law(RARE, 2.0)),
}
KINDS = (
    Kind("independent"),
    Kind("retries", clump=3),
    Kind("retries spread", clump=3, spread=True),
    Kind("pods 0.2", pod_cv=0.2),
    Kind("pods 0.5", pod_cv=0.5),
    Kind("incident", incident=10.0),
    Kind("wave", wave=True),
)


@dataclass(frozen=True, slots=True)
class Size:
    """How much is simulated."""

    aa: int
    """Rollouts in each cell without harm."""
    dependent: int
    faults: int
    """Rollouts of each fault in each cell."""
    cells: tuple[Cell, ...]
    """Of the false alarms."""
    fault_cells: tuple[Cell, ...]
    dependent_cells: tuple[Cell, ...]
    second_cells: tuple[Cell, ...]
    """Where false alarms are counted with a look every second as well, and with other shadow steps than the first."""
    profiles: tuple[str, ...] = ("fast", "default", "strict")
    shadows: tuple[str, ...] = ("alone",)
    """What came before a rollout on dependent data."""
    kinds: tuple[Kind, ...] = KINDS
    harm: tuple[str, ...] = tuple(FAULTS)
    minutes: int = 30
    requests: int = 60_000
    """Of the candidate, where looks are small: a rollout that is not decided by then counts as never."""


_RPS = (20, 200, 2000)
_SOME = (Cell(200, 0.05), Cell(200, 0.5), Cell(2000, 0.05))
FAULT_WEIGHTS = (0.01, 0.05, 0.25, 0.5)
_CELLS = tuple(Cell(rps, weight) for rps in _RPS for weight in (0.01, 0.05, 0.1, 0.25, 0.5))
_FAULT_CELLS = tuple(Cell(rps, weight) for rps in _RPS for weight in FAULT_WEIGHTS)
FULL = Size(
    aa=2000,
    dependent=2000,
    faults=1000,
    cells=_CELLS,
    fault_cells=_FAULT_CELLS,
    dependent_cells=tuple(Cell(rps, weight) for rps in _RPS for weight in (0.05, 0.5)),
    second_cells=_SOME,
    shadows=("alone", "mirrored", "none"),
)
QUICK = Size(
    aa=1000,
    dependent=500,
    faults=300,
    cells=_CELLS,
    fault_cells=_FAULT_CELLS,
    dependent_cells=_SOME,
    second_cells=_SOME[2:],
    profiles=("fast", "default"),
    shadows=("alone", "mirrored"),
)
