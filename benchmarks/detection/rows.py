"""What a simulation found, as rows: they become tables, a CSV, a picture and the last line."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np

from benchmarks.detection.traffic import Floats


@dataclass(frozen=True, slots=True)
class Row:
    """Of one rule in one cell. `median`, `high`: candidate requests at the 50th and 95th percentile of rollouts."""

    section: str
    case: str
    rule: str
    rps: float
    weight: float
    rollouts: int
    share: float
    """Of the rollouts: rolled back by the rule, or passed, as the section says."""
    median: float | None = None
    """None when fewer than half of them were."""
    high: float | None = None
    bound: float | None = None
    """Candidate requests in theory, or by the plan, where the section has such a thing."""


def summarised(row: Row, at: Floats) -> Row:
    """`at` (rollouts,): candidate requests when it happened, infinite where it did not."""
    return Row(
        row.section,
        row.case,
        row.rule,
        row.rps,
        row.weight,
        len(at),
        float(np.isfinite(at).mean()),
        _quantile(at, 0.5),
        _quantile(at, 0.95),
        row.bound,
    )


def _quantile(at: Floats, q: float) -> float | None:
    value = float(np.quantile(at, q, method="lower"))
    return value if np.isfinite(value) else None


def seeded(*words: object) -> np.random.Generator:
    """The same numbers for the same words, whatever else is simulated."""
    return np.random.default_rng(zlib.crc32(" ".join(map(str, words)).encode()))
