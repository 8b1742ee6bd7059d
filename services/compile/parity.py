"""Proof that a loaded artifact answers as its source model does: every case, every output, and the worst row kept."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations
from typing import Any

import numpy as np

from .cases import EXTREMES, SAMPLE, Case, rows_of, tried
from .compare import Compared, Rule, Who, compare, differ, scale_of, structure
from .ports import Engine
from .reference import chunked, line
from .words import FULL, Array, Arrays, Head, ParityEvidence, Precision, Tolerance

_SHOWN = 32
"""Values of the worst row's inputs and outputs that the evidence keeps."""
_MOST_CHANGED = 0.5


class Proof:
    """Collects what the cases show; `evidence` is the whole.

    int8 is not held to the extremes: it has 256 steps for the range of the sample, and what lies beyond is cut off.
    """

    def __init__(self, cases: tuple[Case, tuple[Case, ...]], tolerance: Tolerance, precision: Precision) -> None:
        self._sample, edges = cases
        self._edges = tuple(case for case in edges if precision != "int8" or case.name != EXTREMES)
        self._tolerance, self._precision = tolerance, precision
        self._scales = {name: scale_of(value) for name, value in self._sample.y.items()}
        self._seen: list[tuple[Case, list[Compared]]] = []
        self._reason = ""

    def of(self, engine: Engine, target: str, max_batch: int) -> ParityEvidence:
        """Every case is tried, also after one has failed: the evidence shows how far off the whole is."""
        who = ("the source", target)
        for case in tried(self._sample, self._edges, max_batch):
            try:
                found = chunked(engine.run, case.x, max_batch)
            except Exception as failed:  # noqa: BLE001 - an engine raises anything
                self._refuse(_unanswered(target, case, failed))
                continue
            if refusal := structure(case.y, found, who):
                self._refuse(_swapped(case.y, found) or refusal, case)
                continue
            rule = Rule(self._tolerance, self._precision, case.edge, self._scales)
            compared = compare(case.y, found, rule)
            self._seen.append((case, compared))
            self._refuse(self._differs(case, compared, who), case)
        self._agreement(who)
        self._labels(who)
        return self._evidence()

    def _refuse(self, reason: str, case: Case | None = None) -> None:
        """The first reason stays; it says on which case, and what was right before."""
        if not reason or self._reason:
            return
        before = self._seen if case is None else [(c, cs) for c, cs in self._seen if c is not case]
        right = [c.name for c, cs in before if not any(compared.bad_rows.any() for compared in cs)]
        seen = f" (seen with {case.name}{f'; {right[0]} was right' if right else ''})" if case else ""
        self._reason = reason + seen

    def _differs(self, case: Case, compared: list[Compared], who: Who) -> str:
        bad = [c for c in compared if not c.labels and c.bad_rows.any()]
        if not bad:
            return ""
        worst = max(bad, key=lambda c: c.worst[0])
        return _swapped(case.y, {c.name: c.found for c in compared}) or worst.sentence(who)

    def _labels(self, who: Who) -> None:
        """In each batch size and layout the labels that are right in the sample; at the edge where nothing else tells.

        Lower precisions may change a label with the rows beside it, so there it takes most of a case's rows.
        """
        most = 0.0 if self._precision == FULL else _MOST_CHANGED
        sample = [cs for case, cs in self._seen if case.name == SAMPLE]
        wrong = {c.name: c.bad_rows for c in (sample[0] if sample else ()) if c.labels}
        for case, compared in self._seen:
            if case.name == SAMPLE or (case.edge and not all(c.labels for c in compared)):
                continue
            for c in compared:
                bad = c.bad_rows if c.labels else np.zeros(1, bool)
                if not case.edge and c.name in wrong:
                    bad = bad & ~np.resize(wrong[c.name], len(bad))
                if bad.mean() > most:
                    self._refuse(_swapped(case.y, {o.name: o.found for o in compared}) or c.sentence(who), case)

    def _agreement(self, who: Who) -> None:
        """Of the sample: the other batches hold the same rows."""
        for case, compared in self._seen:
            if case.name != SAMPLE:
                continue
            worst = min(compared, key=lambda c: float(c.same_label.mean()))
            share = float(worst.same_label.mean())
            if share < self._tolerance.min_agreement:
                row = int(np.argmin(worst.same_label))
                self._refuse(
                    f"{share:.2%} of the rows get the same label, {self._tolerance.min_agreement:.2%} must; for "
                    f"example output {worst.name!r}, row {row}: {who[0]} says {_label(worst.want[row])}, {who[1]} says "
                    f"{_label(worst.found[row])}",
                    case,
                )

    def _evidence(self) -> ParityEvidence:
        heads = tuple(self._head(name) for name in self._sample.y)
        least = self._tolerance.min_agreement
        worst = max(heads, key=lambda h: (h.agreement < least, h.relative_error, -h.agreement))
        compared = [c for _, cs in self._seen for c in cs if not c.labels]
        errors = np.concatenate([c.errors.ravel() for c in compared]) if compared else np.zeros(0)
        answered = bool(self._seen)
        return ParityEvidence(
            rows=rows_of(self._sample.x),
            max_abs_error=float(errors.max(initial=0.0)) if answered else float("inf"),
            mean_abs_error=float(errors.mean()) if errors.size else 0.0,
            agreement=min(h.agreement for h in heads) if answered else 0.0,
            worst_output=worst.name,
            passed=not self._reason,
            reason=self._reason,
            relative_error=max(h.relative_error for h in heads) if answered else float("inf"),
            heads=heads,
            cases=tuple(case.name for case, _ in self._seen),
            worst=self._worst(),
        )

    def _head(self, name: str) -> Head:
        found = [(case, c) for case, cs in self._seen for c in cs if c.name == name]
        numbers = [c for _, c in found if not c.labels]
        errors = np.concatenate([c.errors.ravel() for c in numbers]) if numbers else np.zeros(0)
        relative = [float(c.errors.max(initial=0.0)) / c.scale for c in numbers if c.scale > 0]
        labels = [c.same_label for case, c in found if case.name == SAMPLE]
        return Head(
            name,
            max_abs_error=float(errors.max(initial=0.0)),
            mean_abs_error=float(errors.mean()) if errors.size else 0.0,
            relative_error=max(relative, default=0.0),
            agreement=float(labels[0].mean()) if labels else 0.0,
        )

    def _worst(self) -> dict[str, Any]:
        """The row that is furthest off, measured by what is allowed there."""
        if not self._seen:
            return {}
        case, worst = max(((k, c) for k, cs in self._seen for c in cs), key=lambda found: _off(found[1]))
        row = int(np.argmax(worst.bad_rows)) if worst.labels else worst.worst[1][0]
        return {
            "case": case.name,
            "row": row,
            "output": worst.name,
            "inputs": {name: _few(value[row]) for name, value in case.x.items()},
            "source": _few(worst.want[row]),
            "compiled": _few(worst.found[row]),
        }


def _off(compared: Compared) -> float:
    """Another label is further off than any number that is allowed, and less than one that is not."""
    return float(compared.bad_rows.any()) if compared.labels else compared.worst[0]


def _unanswered(target: str, case: Case, failed: Exception) -> str:
    n = rows_of(case.x)
    if case.edge:
        return f"{target} does not answer {case.name}, which the source does: {line(failed)}"
    return f"{target} does not answer {n} row{'s' * (n > 1)}: its batch dimension is frozen, or {line(failed)}"


def _swapped(want: Arrays, found: Arrays) -> str:
    """Two outputs that answer what the other should."""
    for a, b in combinations([name for name in want if name in found], 2):
        if _near(want[a], found[b]) and _near(want[b], found[a]) and not _near(want[a], found[a]):
            return f"the outputs {a!r} and {b!r} are swapped"
    return ""


def _near(a: Array, b: Array) -> bool:
    if a.shape != b.shape:
        return False
    if a.dtype.kind != "f" or b.dtype.kind != "f":
        return not differ(a, b).any()
    return bool(np.allclose(a, b, rtol=1e-2, atol=1e-6, equal_nan=True))


def _label(value: Any) -> str:
    return str(int(np.argmax(value))) if np.ndim(value) else str(value)


def _few(value: Any) -> Any:
    """At most `_SHOWN` values, as JSON takes them."""
    flat: Iterable[Any] = np.asarray(value).ravel()[:_SHOWN].tolist()
    found = [v if isinstance(v, int | float | bool) or v is None else str(v) for v in flat]
    return found if np.ndim(value) else found[0]
