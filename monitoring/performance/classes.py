"""Predicted classes and labels: whether they are the same, exactly."""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped, unused-ignore]
from numpy.typing import NDArray

from lockgate.monitoring.drift.columns import TRUTHS, Column, text
from lockgate.monitoring.performance.errors import Unfit

_NUMBER = re.compile(r"-?(0|[1-9]\d{0,300})(\.\d{1,300})?([eE][+-]?\d{1,3})?")
"""As JSON writes one: 00501 is a text."""
_SINGLE = ("float", "halffloat", "float32", "float16")
"""What Arrow and numpy call numbers that keep 7 digits, or 3."""

Number = int | float


def wrong(values: Any, found: Column, labels: Sequence[str]) -> NDArray[np.float64]:
    """(rows,) 1 where the prediction is another than the label, also where it is none. Raises `Unfit`.

    `values`: the predictions as they came, and `found` the same as a column.
    """
    said, single = _said(values, found)
    numbers = {label: _number(label) for label in set(labels)}
    pairs = zip(said, labels, strict=True)
    same = [_same(one, label, numbers[label], single=single) for one, label in pairs]
    if same and not any(same) and not _comparable(said, labels):
        raise Unfit("no label is a value that the output ever has; name the output that predicts it")
    return 1.0 - np.array(same, np.float64)


def _said(values: Any, found: Column) -> tuple[list[Any], bool]:
    """Of a vector the place of its largest element. And whether these are numbers of few digits."""
    if found.form == "vector":
        return np.nan_to_num(found.values, nan=-np.inf).argmax(1).tolist(), False
    if found.form not in ("label", "number", "nothing"):
        raise Unfit(f"accuracy needs an output of classes, and this one is of the form {found.form}")
    if isinstance(values, pa.ChunkedArray | pa.Array):
        return values.to_pylist(), str(values.type) in _SINGLE
    array = np.asarray(values)
    return array.tolist(), str(array.dtype) in _SINGLE


def _same(said: Any, label: str, number: Number | None, *, single: bool) -> bool:
    """Texts are compared as texts; numbers and truth values as numbers, whole ones with all their digits."""
    if said is None:
        return False
    if not _numeric(said):
        return text(said) == text(label) or (said in TRUTHS and TRUTHS.index(said) == number)
    if not isinstance(number, float):
        return bool(said == number)
    with np.errstate(over="ignore"):
        return bool(np.float32(said) == np.float32(number)) if single else float(said) == number


def _number(label: str) -> Number | None:
    """Exactly, where it is a whole one: 1, 1.0 and true are the same."""
    if label in TRUTHS:
        return TRUTHS.index(label)
    found = _NUMBER.fullmatch(label)
    if found is None:
        return None
    if found[2] is None and found[3] is None:
        return int(label)
    of = float(label)
    return int(of) if of.is_integer() else of


def _numeric(said: Any) -> bool:
    return isinstance(said, bool | int | float | Decimal)


def _comparable(said: Sequence[Any], labels: Sequence[str]) -> bool:
    """Whether some of both are numbers, or words: then a model that is never right is wrong, and not another output."""
    of_output = {_numeric(one) or _digits(one) for one in said if one is not None}
    return not of_output or bool(of_output & {_digits(label) for label in labels})


def _digits(word: str) -> bool:
    """Also 00501, and a truth value: what a number may have been written as."""
    try:
        return word in TRUTHS or bool(np.isfinite(float(word)))
    except ValueError:
        return False
