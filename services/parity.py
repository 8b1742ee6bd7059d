"""Proof that a loaded artifact answers as its source model does, row by row, at batch sizes 1, 2 and N."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from lockgate.registry.words import Arrays, SourceModel
from lockgate.services.calibration import sample
from lockgate.services.compare import compare
from lockgate.services.errors import ParityFailed
from lockgate.services.ports import Engine
from lockgate.services.spec import Parity
from lockgate.services.words import ParityEvidence

Run = Callable[[Arrays], Arrays]
_SMALL = (1, 2)


class Reference:
    """The source's answers to the sample rows. They are computed once and every target is held against them."""

    def __init__(self, model: SourceModel, parity: Parity) -> None:
        """Raises `ParityFailed` where the source itself cannot be served in batches: no target can help there."""
        self.x = sample(model.fetched.example, parity.rows)
        self.rows = _rows(self.x)
        self._parity = parity
        who = f"the source model {model.fetched.version}"
        example = model.run(model.fetched.example)
        sizes = (*_SMALL, self.rows)
        answers = {n: _asked(model.run, _first(self.x, n), n, (who, _rows(model.fetched.example))) for n in sizes}
        self.y = answers[self.rows]
        if refusal := _not_by_rows(self.y, self.rows) or (None if example else "it has no outputs"):
            raise ParityFailed(f"{who} cannot be served: {refusal}.")
        for n in _SMALL:
            self._rows_stand_alone(answers[n], n, who)

    def prove(self, engine: Engine, target: str) -> ParityEvidence:
        """Evidence over all rows; not passed as soon as one of the batch sizes or layouts differs."""
        evidence = self._against(engine.run, self.x, self.rows, target)
        runs = [(_first(self.x, n), n) for n in _SMALL] + [(_strided(self.x), self.rows)]
        for i, (x, n) in enumerate(runs):
            how = f"a batch of {n}" if i < len(_SMALL) else "strided input"
            other = self._against(engine.run, x, n, target)
            if evidence.passed and not other.passed:
                evidence = replace(other, rows=self.rows, reason=f"{other.reason} (seen with {how})")
        return evidence

    def _against(self, run: Run, x: Arrays, n: int, target: str) -> ParityEvidence:
        try:
            found = run(x)
        except Exception as failed:  # noqa: BLE001 - an engine raises anything
            reason = f"{target} does not answer {n} rows: its batch dimension is frozen, or {_line(failed)}"
            return ParityEvidence(n, float("inf"), float("inf"), 0.0, "", passed=False, reason=reason)
        return compare(_first(self.y, n), found, self._parity, ("the source", target))

    def _rows_stand_alone(self, answer: Arrays, n: int, who: str) -> None:
        """Requests share batches, so a row's answer must not depend on the rows beside it."""
        found = compare(_first(self.y, n), answer, self._parity, (f"a batch of {self.rows}", f"a batch of {n}"))
        if not found.passed:
            raise ParityFailed(
                f"{who} answers the same row differently in batches of {self.rows} and of {n}: {found.reason}. "
                "Rows of different requests share a batch, so a row's answer must not depend on its neighbours "
                "(a layer left in training mode does that)."
            )


def _asked(run: Run, x: Arrays, n: int, who: tuple[str, int]) -> Arrays:
    try:
        return run(x)
    except Exception as failed:
        name, example = who
        raise ParityFailed(
            f"{name} does not answer {n} rows like those of its input example, which has {example}: {_line(failed)}. "
            "If its batch dimension is frozen, log it again with an input example of two rows or more "
            "and no batch size in its code."
        ) from failed


def _not_by_rows(y: Arrays, rows: int) -> str | None:
    for name, value in y.items():
        if value.ndim == 0 or len(value) != rows:
            return f"output {name!r} has shape {list(value.shape)} for {rows} rows; its first dimension must be the row"
    return None


def _rows(x: Arrays) -> int:
    return len(next(iter(x.values())))


def _first(x: Arrays, n: int) -> Arrays:
    return {name: value[:n] for name, value in x.items()}


def _strided(x: Arrays) -> Arrays:
    """The same values, not contiguous: compiled kernels were seen to misread such arrays without an error."""
    return {name: np.repeat(value, 2, axis=0)[::2] for name, value in x.items()}


def _line(failed: Exception) -> str:
    lines = str(failed).strip().splitlines() or [""]
    return f"{type(failed).__name__}: {lines[0][:300]}"
