"""How wrong each prediction was: no loss is below 0, and its mean is what the measure says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lockgate.monitoring.drift.columns import TRUTHS, Column, as_number, column
from lockgate.monitoring.performance import classes
from lockgate.monitoring.performance.errors import Unfit
from lockgate.monitoring.performance.words import Measure

Floats = NDArray[np.float64]
_LEAST_CHANCE = 1e-15
"""As scikit-learn has it: the logarithm of 0 is no number."""


def losses(measure: Measure, values: Any, labels: Sequence[str]) -> Floats:
    """(rows,) NaN where a label or a prediction is none that the measure knows. Raises `Unfit`.

    `values`: the predictions, as they came.
    """
    predictions = column(values)
    if measure == "accuracy":
        return classes.wrong(values, predictions, labels)
    truth = _numbers(labels)
    if measure == "log_loss":
        return _surprise(predictions, truth)
    found = as_number(predictions)
    if found is None:
        raise Unfit(f"{measure} needs an output of numbers")
    away = found.values.astype(np.float64) - truth
    return np.abs(away) if measure == "mae" else away * away


def value(measure: Measure, of: Floats) -> float:
    """What people know by the name of the measure."""
    mean = float(of.mean())
    return 1 - mean if measure == "accuracy" else float(np.sqrt(mean)) if measure == "rmse" else mean


def loss(measure: Measure, of: float) -> float:
    """The mean of the losses for which the measure has this value."""
    return 1 - of if measure == "accuracy" else of * of if measure == "rmse" else of


def counts_whole(measure: Measure) -> float:
    """A loss up to which nothing is an outlier: one wrong answer, or a chance of 37 % for what happened."""
    return 1.0 if measure in ("accuracy", "log_loss") else 0.0


def limit(measure: Measure, baseline: float, margin: float) -> float:
    return baseline * (1 - margin) if measure == "accuracy" else baseline * (1 + margin)


def worse(measure: Measure, one: float, other: float) -> bool:
    return one < other if measure == "accuracy" else one > other


def _surprise(predictions: Column, truth: Floats) -> Floats:
    """By a vector, the chance of each class; by a number, that of class 1."""
    if predictions.form == "vector":
        chances = predictions.values.astype(np.float64)
    elif (found := as_number(predictions)) is not None:
        one = found.values.astype(np.float64)
        chances = np.column_stack([1 - one, one])
    else:
        raise Unfit("log_loss needs an output of probabilities: a number for class 1, or a vector for all classes")
    if np.nanmin(chances, initial=0) < 0 or np.nanmax(chances, initial=1) > 1 + 1e-4:
        raise Unfit("log_loss needs an output of probabilities, and this one has values that are none")
    known = (truth >= 0) & (truth < chances.shape[1]) & (truth == np.floor(truth))
    places = np.where(known, truth, 0).astype(np.int64)
    chance = chances[np.arange(len(places)), places]
    return np.where(known, -np.log(np.clip(chance, _LEAST_CHANCE, 1.0)), np.nan)


def _numbers(labels: Sequence[str]) -> Floats:
    return np.array([_number(label) for label in labels], np.float64)


def _number(label: str) -> float:
    if label in TRUTHS:
        return float(TRUTHS.index(label))
    try:
        return float(label)
    except ValueError:
        return np.nan
