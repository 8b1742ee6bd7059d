"""Two sets of named outputs, value by value and label by label."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from lockgate.registry.words import Arrays
from lockgate.services.spec import Parity
from lockgate.services.words import ParityEvidence

Array = np.ndarray[Any, Any]
_MATRIX = 2


@dataclass(frozen=True, slots=True)
class _Head:
    """One output compared. `excess` is the largest error beyond its tolerance, negative when all are within."""

    name: str
    errors: Array
    excess: float
    agreement: float
    sentence: str


def compare(want: Arrays, found: Arrays, parity: Parity, who: tuple[str, str]) -> ParityEvidence:
    """How far `found` is from `want`; `who` names the two in the sentence. NaN equals NaN."""
    rows = len(next(iter(want.values())))
    if refusal := _structure(want, found, who):
        return ParityEvidence(rows, float("inf"), float("inf"), 0.0, "", passed=False, reason=refusal)
    heads = [_head(name, want[name], found[name], parity, who) for name in want]
    worst = max(heads, key=lambda h: (h.excess, float(h.errors.max(initial=0.0))))
    agreement = min(h.agreement for h in heads)
    errors = np.concatenate([h.errors for h in heads])
    reason = worst.sentence if worst.excess > 0 else _disagreement(agreement, heads, parity)
    return ParityEvidence(
        rows=rows,
        max_abs_error=float(errors.max(initial=0.0)),
        mean_abs_error=float(errors.mean()) if errors.size else 0.0,
        agreement=agreement,
        worst_output=worst.name,
        passed=not reason,
        reason=reason,
    )


def _structure(want: Arrays, found: Arrays, who: tuple[str, str]) -> str:
    if set(want) != set(found):
        return f"{who[0]} answers the outputs {sorted(want)}, {who[1]} answers {sorted(found)}"
    for name, value in want.items():
        if value.shape != found[name].shape:
            return (
                f"output {name!r} has shape {list(value.shape)} from {who[0]} "
                f"and {list(found[name].shape)} from {who[1]}"
            )
        if _is_float(value) != _is_float(found[name]):
            return f"output {name!r} is {value.dtype} from {who[0]} and {found[name].dtype} from {who[1]}"
    return ""


def _is_float(value: Array) -> bool:
    return bool(value.dtype.kind == "f")


def _head(name: str, want: Array, found: Array, parity: Parity, who: tuple[str, str]) -> _Head:
    if not _is_float(want):
        return _labels(name, want, found, who)
    errors = _distance(want, found)
    with np.errstate(invalid="ignore"):
        allowed = np.nan_to_num(parity.atol + parity.rtol * np.abs(want), nan=0.0, posinf=0.0)
        excess = errors - allowed
    at = np.unravel_index(int(np.argmax(excess)), excess.shape)
    sentence = (
        f"output {name!r}, row {_place(at)}: {who[0]} says {want[at]:.6g}, {who[1]} says {found[at]:.6g} "
        f"(they differ by {errors[at]:.3g}, {allowed[at]:.3g} is allowed)"
    )
    return _Head(name, errors.ravel(), float(excess[at]), _same_argmax(want, found), sentence)


def _distance(want: Array, found: Array) -> Array:
    """Absolute differences in 64 bit; 0 where both are NaN or the same infinity, infinity where only one is."""
    a, b = want.astype(np.float64), found.astype(np.float64)
    with np.errstate(invalid="ignore"):
        errors = np.abs(a - b)
    errors[(a == b) | (np.isnan(a) & np.isnan(b))] = 0.0
    return np.nan_to_num(errors, nan=np.inf, posinf=np.inf)


def _same_argmax(want: Array, found: Array) -> float:
    """Scores of two or more classes name a label: the largest."""
    if want.ndim != _MATRIX or want.shape[1] < _MATRIX:
        return 1.0
    return float(np.mean(np.argmax(want, axis=1) == np.argmax(found, axis=1)))


def _labels(name: str, want: Array, found: Array, who: tuple[str, str]) -> _Head:
    same = np.asarray(want == found)
    rows = same.reshape(len(same), -1).all(axis=1)
    sentence = ""
    if not rows.all():
        row = int(np.argmin(rows))
        sentence = f"output {name!r}, row {row}: {who[0]} says {want[row]!s}, {who[1]} says {found[row]!s}"
    return _Head(name, np.zeros(0), -1.0, float(rows.mean()), sentence)


def _disagreement(agreement: float, heads: list[_Head], parity: Parity) -> str:
    if agreement >= parity.min_agreement:
        return ""
    worst = min(heads, key=lambda h: h.agreement)
    return (
        f"{agreement:.2%} of the rows get the same label, {parity.min_agreement:.2%} must; "
        f"for example {worst.sentence or worst.name}"
    )


def _place(at: tuple[Any, ...]) -> str:
    row, *rest = (int(i) for i in at)
    return f"{row}, position {rest if len(rest) > 1 else rest[0]}" if rest else str(row)
