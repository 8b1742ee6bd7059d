"""How sure a verdict must be: three named sets of numbers (docs/verdicts.md says what each was measured to cost)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Profile:
    """`alpha` is spent over the whole rollout: over its gates, and over the steps at which a regression may begin."""

    alpha: float
    ratio: float
    """A rate counts as worse from this many times stable's on: what clumps of requests do by chance stays below."""
    design_effect: float
    """The least that evidence is divided by, for requests that are not independent; more where stable's own counts
    are seen to vary more."""
    starts: Literal["once", "steps", "looks"]
    """Where a regression is looked for from: the rollout's start, each step's start, or every look."""


PROFILES = {
    "fast": Profile(0.05, 1.0, 1.0, "once"),
    "default": Profile(0.05, 1.25, 1.5, "steps"),
    "strict": Profile(0.01, 1.25, 1.5, "looks"),
}
