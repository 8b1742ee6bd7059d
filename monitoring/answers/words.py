"""The words of comparing answers, as values. They import no numbers, so that whoever only maps to them starts fast."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from lockgate.monitoring.measurement import Pairs, Spread


@dataclass(frozen=True, slots=True)
class Comparison:
    """When two answers to the same request are the same.

    `label`: the same labels; of float vectors, the same largest element (or one less than `atol` below it).
    `score`: every element within `atol + rtol * |stable's|`; NaN equals NaN.
    `rank`: Spearman's correlation of the two vectors is at least `least`.
    `cosine`: their cosine is at least `least`.
    `function`: `module:name`, of two arrays with one row for each answer, says for each row whether they agree.
    `auto`: label of whole numbers, text, truth values and float vectors whose elements sum to 1; score otherwise.
    """

    by: Literal["auto", "label", "score", "rank", "cosine", "function"] = "auto"
    output: str | None = None
    """The first one by default."""
    atol: float = 0.001
    rtol: float = 0.01
    least: float = 0.99
    function: str | None = None


@dataclass(frozen=True, slots=True)
class Example:
    """One disagreement, for people: request id, when stable answered (unix seconds), inputs and both answers as JSON.

    `far` says how far they differ. Labels: 1, or the share of labels that differ. Float vectors by label: half the
    sum of the absolute differences. `score`: how many times what is tolerated. `rank`, `cosine`: 1 minus it.
    `function`: 1.
    """

    gate: str
    request_id: str
    at: float
    inputs: Mapping[str, Any]
    stable: Any
    candidate: Any
    far: float


@dataclass(frozen=True, slots=True)
class Came:
    """What came since the last call, by the names of the gates. `blind`: gates whose source says nothing, and why."""

    pairs: Mapping[str, Pairs] = field(default_factory=dict)
    spreads: Mapping[str, Spread] = field(default_factory=dict)
    """Only once their bins are fixed."""
    blind: Mapping[str, str] = field(default_factory=dict)
