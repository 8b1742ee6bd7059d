"""What a measure was when the version was trained: rows of the reference that have both a label and a prediction."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped, unused-ignore]

from lockgate.monitoring.drift.columns import text
from lockgate.monitoring.drift.errors import NoReference
from lockgate.monitoring.drift.reference import columns_of_file
from lockgate.monitoring.performance.bounds import upper_bound
from lockgate.monitoring.performance.errors import Unfit
from lockgate.monitoring.performance.losses import Floats, losses, value
from lockgate.monitoring.performance.words import LEAST, Asked, Baseline, Measure


def baseline_of_file(path: Path, asked: Asked) -> Baseline:
    """From the columns that are called like the output and the label. Raises `NoReference`."""
    found = columns_of_file(path, [asked.output, asked.label])
    truth: pa.ChunkedArray = found[asked.label]
    labels = [None if one is None else text(one) for one in truth.to_pylist()]
    try:
        of = losses(asked.measure, found[asked.output], [label or "" for label in labels])
    except Unfit as reason:
        raise NoReference(f"{path.name}: {reason}") from None
    of = of[np.array([label is not None for label in labels], bool) & ~np.isnan(of)]
    if len(of) < LEAST:
        raise NoReference(f"{path.name} has {len(of)} rows with a label and a prediction, and it takes {LEAST}")
    if not of.mean() > 0:
        raise NoReference(
            f"{path.name} has no prediction that is wrong: it is of rows that the model knew; give"
            " monitoring.performance.baseline, of rows that it did not"
        )
    if asked.measure == "accuracy" and of.all():
        raise NoReference(
            f"{path.name} has no prediction that is right; name the output that predicts {asked.label} in"
            " monitoring.performance.output"
        )
    return baseline_of_losses(asked.measure, of)


def baseline_of_losses(measure: Measure, of: Floats) -> Baseline:
    """What the measure is of them, and what it may be where they came from."""
    return Baseline(value(measure, of), value(measure, np.array([upper_bound(measure, of)])))
