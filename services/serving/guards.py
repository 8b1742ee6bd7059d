"""What a model may do wrong, and what is said of it."""

from __future__ import annotations

import math
import traceback
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from .batcher import Run
from .fields import Array
from .refusals import BadAnswer
from .schema import Arrays

_INNERMOST = 5
_PLAIN = frozenset({str, bool, int, bytes, type(None)})
_FEW = 1024
"""Values whose product with themselves is found faster than it is looked at each of them."""


def contained(run: Run) -> Run:
    """A model that exits, or panics in Rust, fails its request: let through, it would end the event loop.

    So does one that raises StopIteration, which no future takes: to a coroutine that waits for it, it is a value.
    """

    def call(x: Arrays) -> Arrays:
        try:
            return run(x)
        except StopIteration as odd:
            raise RuntimeError("the model raised StopIteration") from odd
        except Exception:
            raise
        except BaseException as odd:
            raise RuntimeError(f"the model raised {type(odd).__name__}, which is for ending processes") from odd

    return call


def finite(outputs: Arrays) -> None:
    """NaN is no prediction. It leaves as an error, so that the gates see it and not the client's arithmetic."""
    for name, value in outputs.items():
        kind = value.dtype.kind
        if kind == "O":
            _finite_objects(name, value)
        if kind != "f" or (value.size <= _FEW and math.isfinite(np.vdot(value, value))):
            continue  # no NaN and no infinity has a finite square; a large number's may be infinite
        if not np.isfinite(value).all():
            row = int(np.argwhere(~np.isfinite(value))[0][0])
            raise _not_finite(name, row, nan=bool(np.isnan(value[row]).any()))


def _finite_objects(name: str, value: Array) -> None:
    """Mostly texts; but what a table has beside texts, and lists of numbers, are floats that are objects."""
    items = value.ravel().tolist()
    if _PLAIN.issuperset(map(type, items)):
        return
    for i, item in enumerate(items):
        if (odd := _odd((item,))) is not None:
            raise _not_finite(name, i * len(value) // len(items), nan=math.isnan(odd))


def _odd(items: Iterable[Any]) -> float | None:
    """The first number that is not finite, however deep it is in what JSON has a form for."""
    for item in items:
        odd: float | None = None
        if isinstance(item, float | np.floating):
            odd = None if math.isfinite(item) else float(item)
        elif isinstance(item, list | tuple):
            odd = _odd(item)
        elif isinstance(item, Mapping):
            odd = _odd(item.values())
        elif isinstance(item, np.ndarray) and item.dtype.kind in "fO":
            odd = _odd(item.ravel().tolist())
        if odd is not None:
            return odd
    return None


def _not_finite(name: str, row: int, *, nan: bool) -> BadAnswer:
    return BadAnswer(f"the model answered {'NaN' if nan else 'infinity'} for output {name!r} in row {row}")


def places(failed: Exception) -> str:
    """The innermost lines of code that it went through."""
    frames = [(frame.f_code, line) for frame, line in traceback.walk_tb(failed.__traceback__)][-_INNERMOST:]
    return " > ".join(f"{code.co_filename}:{line} {code.co_name}" for code, line in frames)
