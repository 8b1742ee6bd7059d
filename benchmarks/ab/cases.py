"""What is simulated, and how many rollouts of each."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.ab.sections import Split
from benchmarks.ab.users import Cell, Law

RARE, SOME, OFTEN = Law("1%", 0.01), Law("5%", 0.05), Law("30%", 0.3)
AMOUNT, BASKET = Law("lognormal", 1.0, 1.0), Law("5% buy", 0.05, 1.0)
_LAWS = (RARE, SOME, OFTEN, AMOUNT, BASKET)

COVERAGE = (
    *(Cell(law, weight) for law in _LAWS for weight in (0.1, 0.5)),
    *(Cell(law, 0.5, 0.1) for law in (SOME, OFTEN, AMOUNT, BASKET)),
    *(Cell(law, 0.5, 0.1, wave=True) for law in (SOME, OFTEN, AMOUNT)),
    *(Cell(law, 0.5, 0.1, thompson=True) for law in (SOME, OFTEN, AMOUNT, BASKET)),
    *(Cell(law, 0.5, wave=True, thompson=True) for law in (SOME, AMOUNT)),
)
DECISIONS = (
    *((Cell(law, weight), 0.02) for law in (SOME, OFTEN, AMOUNT) for weight in (0.1, 0.5)),
    (Cell(SOME, 0.5, thompson=True), 0.02),
    (Cell(SOME, 0.5, wave=True), 0.02),
    (Cell(RARE, 0.5, 0.5), 0.1),
    (Cell(SOME, 0.5, 0.2), 0.05),
    (Cell(SOME, 0.1, 0.2), 0.05),
    (Cell(OFTEN, 0.5, 0.05), 0.01),
    (Cell(OFTEN, 0.5, 0.2), 0.2),
    (Cell(AMOUNT, 0.5, 0.1), 0.02),
    (Cell(BASKET, 0.5, 0.3), 0.05),
    (Cell(SOME, 0.5, 0.2, thompson=True), 0.05),
)
"""With the minimum effect."""
SPLITS = (
    Split("50%", 0.5, 0.5),
    Split("10%", 0.1, 0.1),
    Split("moving", 0.5, 0.5, thompson=True),
    Split("52% for 50%", 0.5, 0.52),
    Split("11% for 10%", 0.1, 0.11),
    Split("9% for 10%", 0.1, 0.09),
    Split("one in 20 crosses", 0.5, 0.5, 0.05),
)


@dataclass(frozen=True, slots=True)
class Size:
    """How much is simulated."""

    rollouts: int
    """For coverage; a quarter of them for decisions."""
    users: int
    """For coverage and for a test without an effect. One with an effect lasts four fixed horizons."""
    split_users: int = 60_000
    coverage: tuple[Cell, ...] = COVERAGE
    decisions: tuple[tuple[Cell, float], ...] = DECISIONS
    splits: tuple[Split, ...] = SPLITS


QUICK, FULL = Size(800, 15_000), Size(4000, 100_000)
