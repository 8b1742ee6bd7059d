"""The worst disagreements of each gate, as people read them."""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from typing import Any

import numpy as np

from lockgate.monitoring.answers.columns import Array, Column
from lockgate.monitoring.answers.compare import Differences
from lockgate.monitoring.answers.meeting import Met
from lockgate.monitoring.answers.words import Example

_MOST = 20
_LONG = 200
"""Characters of a text."""
_MANY = 32
"""Elements of a vector, and inputs of a request."""


class Examples:
    """Keeps the farthest ones; of those equally far the first."""

    def __init__(self) -> None:
        self._kept: dict[str, list[tuple[float, int, Example]]] = {}
        self._seen = 0

    def note(self, gate: str, met: Met, answers: tuple[Column, Column], found: Differences) -> None:
        """All four have the same rows."""
        kept = self._kept.setdefault(gate, [])
        far = np.where(found.differ, found.far, -1.0)
        for row in np.argsort(-far, kind="stable")[:_MOST].tolist():
            if not found.differ[row] or (len(kept) == _MOST and far[row] <= kept[0][0]):
                return
            self._seen += 1
            item = float(far[row]), -self._seen, _example(gate, met, answers, row, float(far[row]))
            (heapq.heappush if len(kept) < _MOST else heapq.heapreplace)(kept, item)

    def all(self) -> list[Example]:
        """Gate by gate, the farthest first."""
        return [one for gate in self._kept for _, _, one in sorted(self._kept[gate], key=lambda i: i[:2], reverse=True)]


def _example(gate: str, met: Met, answers: tuple[Column, Column], row: int, far: float) -> Example:
    (stable, at), (other, there) = met.stable[row], met.other[row]
    # Both had the same inputs. Whichever answer came last still has them at hand.
    inputs = other.inputs(there)
    inputs = stable.inputs(at) if inputs is None else inputs
    ours, theirs = (json_value(of.values[row]) for of in answers)
    return Example(gate, stable.keys[at], float(stable.at[at]), json_value(inputs or {}), ours, theirs, far)


def json_value(value: Any) -> Any:
    """What JSON can hold, short enough to be read: text and vectors end with an ellipsis where they are cut."""
    if isinstance(value, np.ndarray):
        return _vector(value)
    if isinstance(value, np.generic):
        # The shortest decimals that say it: 0.1 in 32 bits is not 0.10000000149.
        return json_value(float(str(value)) if isinstance(value, np.floating) else value.item())
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if np.isfinite(value) else str(value)
    if isinstance(value, Mapping):
        return {str(name)[:_LONG]: json_value(of) for name, of in list(value.items())[:_MANY]}
    if isinstance(value, list | tuple):
        return [json_value(of) for of in value[:_MANY]] + ([_more(len(value))] if len(value) > _MANY else [])
    text = str(value)
    return text if len(text) <= _LONG else text[:_LONG] + " …"


def _vector(values: Array) -> Any:
    """Tensors are shown flat once they are cut."""
    if values.size <= _MANY:
        return [json_value(of) for of in values] if values.ndim else json_value(values[()])
    return [json_value(of) for of in values.ravel()[:_MANY]] + [_more(values.size)]


def _more(size: int) -> str:
    return f"… {size} in all"
