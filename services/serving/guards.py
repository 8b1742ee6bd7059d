"""What a model may do wrong, and what is said of it."""

from __future__ import annotations

import math
import traceback

import numpy as np

from .batcher import Run
from .refusals import BadAnswer
from .schema import Arrays

_INNERMOST = 5
_FEW = 1024
"""Values whose product with themselves is found faster than it is looked at each of them."""


def contained(run: Run) -> Run:
    """A model that exits, or panics in Rust, fails its request: let through, it would end the event loop."""

    def call(x: Arrays) -> Arrays:
        try:
            return run(x)
        except Exception:
            raise
        except BaseException as odd:
            raise RuntimeError(f"the model raised {type(odd).__name__}, which is for ending processes") from odd

    return call


def finite(outputs: Arrays) -> None:
    """NaN is no prediction. It leaves as an error, so that the gates see it and not the client's arithmetic."""
    for name, value in outputs.items():
        if value.dtype.kind != "f" or (value.size <= _FEW and math.isfinite(np.vdot(value, value))):
            continue  # no NaN and no infinity has a finite square; a large number's may be infinite
        if not np.isfinite(value).all():
            row = int(np.argwhere(~np.isfinite(value))[0][0])
            what = "NaN" if np.isnan(value[row]).any() else "infinity"
            raise BadAnswer(f"the model answered {what} for output {name!r} in row {row}")


def places(failed: Exception) -> str:
    """The innermost lines of code that it went through."""
    frames = [(frame.f_code, line) for frame, line in traceback.walk_tb(failed.__traceback__)][-_INNERMOST:]
    return " > ".join(f"{code.co_filename}:{line} {code.co_name}" for code, line in frames)
