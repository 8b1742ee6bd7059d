"""Two sets of named outputs, value by value and label by label."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .words import FULL, Array, Arrays, Precision, Tolerance

_MATRIX = 2
Who = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Compared:
    """One output of one case. `errors` and `allowed` have the output's shape; labels have none of them."""

    name: str
    want: Array
    found: Array
    errors: Array
    allowed: Array
    scale: float
    held: Tolerance

    @property
    def labels(self) -> bool:
        """It answers labels, not numbers to be near to."""
        return str(self.want.dtype.kind) != "f"

    @property
    def bad_rows(self) -> Array:
        """Which rows hold a value beyond what is allowed, or another label."""
        wrong = differ(self.want, self.found) if self.labels else self.errors > self.allowed
        return np.asarray(np.asarray(wrong).reshape(len(self.want), -1).any(axis=1))

    @property
    def same_label(self) -> Array:
        """Per row. Scores of two or more classes name a label: the largest, or one that equals it within tolerance."""
        if self.labels:
            return np.asarray(~self.bad_rows)
        if self.want.ndim != _MATRIX or self.want.shape[1] < _MATRIX:
            return np.ones(len(self.want), bool)
        rows, named = np.arange(len(self.want)), np.argmax(self.found, axis=1)
        largest = self.want.max(axis=1)
        with np.errstate(invalid="ignore"):
            level = largest - self.want[rows, named] <= self.held.atol + self.held.rtol * np.abs(largest)
        return np.asarray(level | (np.argmax(self.want, axis=1) == named))

    @property
    def worst(self) -> tuple[float, tuple[int, ...]]:
        """How many times what is allowed the worst value is off, and where it is."""
        if self.labels or not self.errors.size:
            return 0.0, (0,)
        with np.errstate(divide="ignore", invalid="ignore"):
            times = np.where(self.errors > 0, self.errors / self.allowed, 0.0)
        at = np.unravel_index(int(np.argmax(times)), times.shape)
        return float(times[at]), tuple(int(i) for i in at)

    def sentence(self, who: Who) -> str:
        """Names the worst value, and how many rows are beyond what is allowed."""
        bad = self.bad_rows
        if self.labels:
            row = int(np.argmax(bad))
            says = f"{who[0]} says {self.want[row]!s}, {who[1]} says {self.found[row]!s}"
            return f"output {self.name!r}, row {row}: {says} ({int(bad.sum())} of {len(bad)} rows differ)"
        at = self.worst[1]
        return (
            f"output {self.name!r}, row {_place(at)}: {who[0]} says {self.want[at]:.6g}, {who[1]} says "
            f"{self.found[at]:.6g} (they differ by {self.errors[at]:.3g}, {self.allowed[at]:.3g} is allowed; "
            f"{int(bad.sum())} of {len(bad)} rows differ so)"
        )


@dataclass(frozen=True, slots=True)
class Rule:
    """How values are held against one another. `scales`: largest value of each output in the sample."""

    tolerance: Tolerance
    precision: Precision = FULL
    edge: bool = False
    scales: dict[str, float] | None = None


def compare(want: Arrays, found: Arrays, rule: Rule) -> list[Compared]:
    """Each output of `want`. The two must have the same structure: see `structure`."""
    return [_compared(name, want[name], found[name], rule) for name in want]


def structure(want: Arrays, found: Arrays, who: Who) -> str:
    """Why the two cannot be compared at all, or nothing."""
    if set(want) != set(found):
        return f"{who[0]} answers the outputs {sorted(want)}, {who[1]} answers {sorted(found)}"
    for name, value in want.items():
        other = np.asarray(found[name])
        if value.shape != other.shape:
            return f"output {name!r} has shape {list(value.shape)} from {who[0]} and {list(other.shape)} from {who[1]}"
        if not _alike(value.dtype.kind, other.dtype.kind):
            return f"output {name!r} is {value.dtype} from {who[0]} and {other.dtype} from {who[1]}"
    return ""


def beyond(want: Arrays, found: Arrays, tolerance: Tolerance, who: Who) -> str:
    """The sentence about the worst output beyond tolerance, or nothing."""
    if refusal := structure(want, found, who):
        return refusal
    bad = [c for c in compare(want, found, Rule(tolerance)) if c.bad_rows.any()]
    return max(bad, key=lambda c: c.worst[0]).sentence(who) if bad else ""


def differ(want: Array, found: Array) -> Array:
    """Value by value; also text that is an object on one side."""
    return np.asarray(want.astype(object) != found.astype(object))


def _alike(kind: str, other: str) -> bool:
    """Floats, whole numbers or text on both sides; objects hold text or whole numbers, which their values will tell."""
    kinds = {"float" if k == "f" else "text" if k in "US" else "object" if k == "O" else "whole" for k in (kind, other)}
    return len(kinds) == 1 or ("object" in kinds and "float" not in kinds)


def scale_of(value: Array) -> float:
    """The largest absolute value; 0 for labels and for outputs without a finite value."""
    if value.dtype.kind != "f":
        return 0.0
    finite = np.abs(value[np.isfinite(value)])
    return float(finite.max(initial=0.0))


def _compared(name: str, want: Array, found: Array, rule: Rule) -> Compared:
    if want.dtype.kind != "f":
        return Compared(name, want, found, np.zeros(0), np.zeros(0), 0.0, rule.tolerance)
    scale = max(scale_of(want), (rule.scales or {}).get(name, 0.0))
    return Compared(name, want, found, _distance(want, found), _allowed(want, scale, rule), scale, rule.tolerance)


def _allowed(want: Array, scale: float, rule: Rule) -> Array:
    """Sums are rounded at the size of their terms, so `atol` grows with outputs beyond 1: a logit near 0 is a sum."""
    held = rule.tolerance
    atol = held.atol * max(1.0, scale)
    if rule.precision != FULL:
        return np.full(want.shape, max(atol, held.margin * scale))
    if rule.edge:
        return np.full(want.shape, atol + held.rtol * scale)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.nan_to_num(atol + held.rtol * np.abs(want.astype(np.float64)), nan=0.0, posinf=0.0))


def _distance(want: Array, found: Array) -> Array:
    """Absolute differences in 64 bit; 0 where both are NaN or the same infinity, infinity where only one is."""
    a, b = want.astype(np.float64), found.astype(np.float64)
    with np.errstate(invalid="ignore"):
        errors = np.abs(a - b)
    errors[(a == b) | (np.isnan(a) & np.isnan(b))] = 0.0
    return np.asarray(np.nan_to_num(errors, nan=np.inf, posinf=np.inf))


def _place(at: tuple[Any, ...]) -> str:
    row, *rest = (int(i) for i in at)
    return f"{row}, position {rest if len(rest) > 1 else rest[0]}" if rest else str(row)
