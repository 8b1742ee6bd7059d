"""What of a comparison is drawn: a sample of the columns that drift first, as plain numbers and labels."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lockgate.monitoring.drift.aspects import aspects
from lockgate.monitoring.drift.columns import Column, column
from lockgate.monitoring.drift.profile import Feature, Profile
from lockgate.monitoring.drift.reference import Rows
from lockgate.monitoring.drift.words import Compared, Comparison, Window

MOST_ROWS = 10_000
MOST_COLUMNS = 50
_SEED = 3
_LABELS = 20
"""Of one column that are drawn; the others are one."""
_OTHERS = "others"
_LONG = 60
_UNSAFE = re.compile(r"[^\w .,:;()\[\]+*/%#@!?=-]")
"""What clients send must not become a part of the page."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """Both sides' columns by the same names, numbers or text; and of each its PSI and whether it drifts."""

    reference: dict[str, Any]
    live: dict[str, Any]
    verdicts: dict[str, tuple[float, bool]]

    def __bool__(self) -> bool:
        return bool(self.verdicts)


def drawn(profile: Profile, reference: Rows, window: Window, comparison: Comparison) -> Drawn:
    """Rows that are sampled are sampled as whole rows."""
    features = {(of.role, of.name): of for of in profile.features}
    found = Drawn({}, {}, {})
    sides = {"input": (reference.inputs, window.inputs), "output": (reference.outputs, window.outputs)}
    worst = sorted(comparison.features, key=lambda of: (not of.drifts, of.role, -(of.psi or 0.0)))
    for compared in worst[:MOST_COLUMNS]:
        feature = features[compared.role, compared.name]
        name, both = _both(feature, compared, sides[compared.role])
        if both is not None:
            at = _named(f"{name} (output)" if compared.role == "output" else name, found.verdicts)
            found.reference[at], found.live[at] = both
            found.verdicts[at] = (compared.psi or 0.0, compared.drifts)
    return found


def _both(
    feature: Feature, compared: Compared, sides: tuple[Mapping[str, Any], ...]
) -> tuple[str, tuple[Any, Any] | None]:
    name, found = feature.name, []
    for side in sides:
        fitting = feature.fit(_sample(column(side[feature.column]))) if feature.column in side else None
        if fitting is None:
            return name, None
        if feature.kind not in ("number", "category"):
            about = next((of.aspect for of in compared.distances if of.aspect not in ("words", "characters")), "")
            aspect = aspects(feature.kind, fitting).get(about)
            if aspect is None:
                return name, None
            name, fitting = (
                f"{feature.name} ({about})",
                Column("number", np.zeros(len(aspect.values), bool), aspect.values),
            )
        found.append(fitting)
    plain = _labels(*found) if feature.kind == "category" else [_numbers(of) for of in found]
    return name, (plain[0], plain[1]) if all(any(v is not None for v in side) for side in plain) else None


def _sample(found: Column) -> Column:
    if found.rows <= MOST_ROWS:
        return found
    chosen = np.random.Generator(np.random.PCG64(_SEED)).permutation(found.rows)[:MOST_ROWS]
    return found.take(np.sort(chosen))


def _numbers(found: Column) -> list[float | None]:
    return [value if np.isfinite(value) else None for value in found.values.astype(np.float64).tolist()]


def _labels(*sides: Column) -> list[list[str | None]]:
    """The frequent ones of both sides together."""
    plain = [[None if code < 0 else _safe(side.labels[code]) for code in side.values.tolist()] for side in sides]
    often = Counter(label for side in plain for label in side if label is not None)
    kept = {label for label, _ in often.most_common(_LABELS)}
    return [[label if label is None or label in kept else _OTHERS for label in side] for side in plain]


def _safe(label: str) -> str:
    return _UNSAFE.sub("_", label)[:_LONG]


def _named(name: str, taken: Mapping[str, Any]) -> str:
    plain = _safe(name)
    return plain if plain not in taken else f"{plain} {len(taken)}"
