"""The source's own answers: computed once, kept on disk, and every artifact is held against them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from . import arrays
from .cases import SAMPLE, Case, edges, first, rows_of
from .compare import beyond
from .errors import Unservable
from .sample import sample
from .words import Arrays, Model, Tolerance

FILE, FEW = "cases.npz", "few.npz"
_FEW_ROWS = 8
_IN, _OUT = "x ", "y "


def write(model: Model, tolerance: Tolerance, max_batch: int, into: Path) -> None:
    """Write the cases into `into`. Raises `Unservable` where the source itself cannot be served in batches."""
    x = sample(model.about.example, tolerance.rows)
    asked = _Asked(model)
    y = asked.in_chunks(x, max_batch)
    for n in (1, 2):
        _rows_stand_alone(model, first(y, n), asked.rows(first(x, n)), (n, tolerance))
    found = {_IN + SAMPLE: x, _OUT + SAMPLE: y}
    for name, given in edges(x, model.about.inputs).items():
        if accepted := asked.accepted(given):
            found |= {_IN + name: accepted[0], _OUT + name: accepted[1]}
    arrays.save(into / FEW, {"x": first(x, _FEW_ROWS)})
    arrays.save(into / FILE, found)  # last: it says that the rest is there


def read_few(folder: Path) -> Arrays:
    """A few rows: quickly read, for the first calls of an engine."""
    return arrays.load(folder / FEW)["x"]


def read(folder: Path) -> tuple[Case, tuple[Case, ...]]:
    """The sample and the edge cases."""
    found = arrays.load(folder / FILE)
    names = [name.removeprefix(_IN) for name in found if name.startswith(_IN)]
    cases = {name: Case(name, found[_IN + name], found[_OUT + name], edge=name != SAMPLE) for name in names}
    return cases.pop(SAMPLE), tuple(cases.values())


class _Asked:
    """The source, answering in batches that the service would make."""

    def __init__(self, model: Model) -> None:
        self._model, self._about = model, model.about

    def _run(self, x: Arrays) -> Arrays:
        """Of a copy: a source that changes its inputs must not change the case."""
        return self._model.run({name: value.copy() for name, value in x.items()})

    def rows(self, x: Arrays) -> Arrays:
        """Raises `Unservable` when it does not answer row by row."""
        n = rows_of(x)
        try:
            y = self._run(x)
        except Exception as failed:
            raise Unservable(
                f"the source model {self._about.name} does not answer {n} row{'s' * (n > 1)} like those of its input "
                f"example, which has {rows_of(self._about.example)}: {line(failed)}. If its batch dimension is frozen, "
                "log it again with an input example of two rows or more and no batch size in its code"
            ) from failed
        for name, value in y.items():
            if value.ndim == 0 or len(value) != n:
                raise Unservable(
                    f"the source model {self._about.name} cannot be served: output {name!r} has shape "
                    f"{list(value.shape)} for {n} rows; its first dimension must be the row"
                )
        if not y:
            raise Unservable(f"the source model {self._about.name} cannot be served: it has no outputs")
        return y

    def in_chunks(self, x: Arrays, most: int) -> Arrays:
        return chunked(self.rows, x, most)

    def accepted(self, x: Arrays) -> tuple[Arrays, Arrays] | None:
        """The rows that the source answers with finite values, and its answers; None where there are none."""
        try:
            y = self._run(x)
        except Exception:  # noqa: BLE001 - a source may refuse the edge in any way it likes
            return None
        good = np.ones(rows_of(x), bool)
        for value in y.values():
            if value.ndim == 0 or len(value) != len(good):
                return None
            if value.dtype.kind == "f":
                good &= np.isfinite(value).reshape(len(value), -1).all(axis=1)
        if not good.any():
            return None
        return {k: v[good] for k, v in x.items()}, {k: v[good] for k, v in y.items()}


def chunked(run: Callable[[Arrays], Arrays], x: Arrays, most: int) -> Arrays:
    """`run` over `x` in batches of at most `most` rows."""
    parts = [run({k: v[at : at + most] for k, v in x.items()}) for at in range(0, rows_of(x), most)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def line(failed: BaseException) -> str:
    lines = str(failed).strip().splitlines() or ["no reason given"]
    return f"{type(failed).__name__}: {lines[0][:300].rstrip('.')}"


def _rows_stand_alone(model: Model, want: Arrays, found: Arrays, how: tuple[int, Tolerance]) -> None:
    """Requests share batches, so a row's answer must not depend on the rows beside it."""
    n, tolerance = how
    if sentence := beyond(want, found, tolerance, ("larger batches", f"a batch of {n}")):
        raise Unservable(
            f"the source model {model.about.name} answers the same row differently in batches of {n} and in larger "
            f"ones: {sentence}. Rows of different requests share a batch, so a row's answer must not depend on its "
            "neighbours (a layer left in training mode does that)"
        )
