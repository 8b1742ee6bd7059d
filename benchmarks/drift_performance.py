"""Performance by labels, on simulated answers: what is called worse though it is not, and what is found."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from lockgate.monitoring.performance.baseline import baseline_of_losses
from lockgate.monitoring.performance.judge import judge
from lockgate.monitoring.performance.words import Asked, Baseline, Labelled, Measure

WINDOWS, FEW = 200, 100
SIZES = (200, 500, 1000, 2000, 5000, 20_000)
PLANTED_IN = 1000
"""Labels of the window in which what is planted must be found."""
STREAMS, LABELS, EVERY = 100, 20_000, 50
"""Of versions that are looked at again and again while nothing is wrong: after so many labels each time."""

Random = np.random.Generator
Draw = Callable[[Random, int], Any]


def right(share: float) -> Draw:
    """Of answers, so many are right."""
    return lambda rng, n: (rng.random(n) >= share).astype(float)


def away(sigma: float, power: int = 1) -> Draw:
    """Errors of numbers, normal."""
    return lambda rng, n: np.abs(rng.normal(0, sigma, n)) ** power


def surprised(spread: float, shift: float) -> Draw:
    """Log loss of chances that were right for logits without the shift."""

    def draw(rng: Random, n: int) -> Any:
        logits = rng.normal(0, spread, n)
        happened = rng.random(n) < 1 / (1 + np.exp(-(logits + rng.normal(0, shift, n))))
        return np.log1p(np.exp(np.where(happened, -logits, logits)))

    return draw


_MAE, _LOG_LOSS = float(np.sqrt(2 / np.pi)), 0.4620
"""What the measure is without a change: of the absolute of a standard normal, and of logits of spread 2."""
_RIGHT = 0.92, 0.99, 0.999
"""Accuracies: a good model is hardly ever wrong, and it is seen all the same when it is wrong more often."""
Well = tuple[Measure, float, Draw]
WELL: dict[str, Well] = {
    **{f"accuracy {share}": ("accuracy", share, right(share)) for share in _RIGHT},
    "mae": ("mae", _MAE, away(1.0)),
    "rmse": ("rmse", 1.0, away(1.0, 2)),
    "log_loss": ("log_loss", _LOG_LOSS, surprised(2.0, 0.0)),
}
PLANTED: dict[str, tuple[str, Draw]] = {
    "accuracy 0.92 -> 0.85": ("accuracy 0.92", right(0.85)),
    "accuracy 0.99 -> 0.92": ("accuracy 0.99", right(0.92)),
    "accuracy 0.999 -> 0.93": ("accuracy 0.999", right(0.93)),
    "mae: errors 1.2 times as large": ("mae", away(1.2)),
    "rmse: errors 1.2 times as large": ("rmse", away(1.2, 2)),
    "log loss: logits off by 2 sigma": ("log_loss", surprised(2.0, 2.0)),
}
NARROW: dict[str, tuple[str, Draw]] = {
    "0.99 -> 0.97": ("accuracy 0.99", right(0.97)),
    "0.999 -> 0.985": ("accuracy 0.999", right(0.985)),
    "0.999 -> 0.96": ("accuracy 0.999", right(0.96)),
}
"""With a margin of 1 %, in windows of 5,000 labels."""
ROWS = (200, 1000, 10_000)
"""Of the reference, where the baseline is that of one."""


def performance() -> dict[str, Any]:
    found: dict[str, Any] = {
        "performance_false_flags_of_200": {
            what: {str(n): flags(well, well[2], n) for n in SIZES} for what, well in WELL.items()
        },
        "performance_flags_of_200_worse_by_half_the_margin": {
            str(n): flags(WELL["accuracy 0.92"], right(0.92 - 0.023), n) for n in SIZES
        },
        "performance_false_flags_of_200_by_rows_of_the_reference": {
            what: {str(rows): by_reference(well, rows) for rows in ROWS} for what, well in WELL.items()
        },
        "performance_found_of_100_by_rows_of_the_reference": {
            what: {str(rows): by_reference(WELL[of], rows, draw, FEW) for rows in ROWS}
            for what, (of, draw) in PLANTED.items()
        },
        "performance_streams_with_a_false_flag_of_100": streams(),
    }
    many = {what: flags(WELL[of], draw, PLANTED_IN, FEW) for what, (of, draw) in PLANTED.items()}
    found["performance_planted"] = len(PLANTED)
    found["performance_planted_found"] = sum(
        flags(WELL[of], draw, PLANTED_IN, 1, seed=7) for of, draw in PLANTED.values()
    )
    found["performance_planted_found_of_100"] = many
    found["performance_found_of_100_at_a_margin_of_1_percent"] = {
        what: narrow(WELL[of], draw) for what, (of, draw) in NARROW.items()
    }
    found["performance_seconds_5k"] = round(seconds(5000), 4)
    return found


def flags(well: Well, draw: Draw, n: int, windows: int = WINDOWS, seed: int = 1) -> int:
    """Windows that are called worse."""
    measure, value, _ = well
    rngs = (np.random.default_rng([seed, n, i]) for i in range(windows))
    return sum(judge(asked(measure, n), labelled(draw(rng, n)), Baseline(value)).drifting for rng in rngs)


def narrow(well: Well, draw: Draw) -> int:
    """Windows of 100 of 5,000 labels that are called worse where the margin is 1 %."""
    measure, value, _ = well
    how = replace(asked(measure, 5000), margin=0.01)
    rngs = (np.random.default_rng([9, i]) for i in range(FEW))
    return sum(judge(how, labelled(draw(rng, 5000)), Baseline(value)).drifting for rng in rngs)


def by_reference(well: Well, rows: int, draw: Draw | None = None, windows: int = WINDOWS) -> int:
    """Windows of 5,000 labels that are called worse; `draw` is by default as in the reference, so none should be.

    Without an error in the reference there is no baseline, and so no verdict.
    """
    measure, _, good = well
    drifting = 0
    for i in range(windows):
        rng = np.random.default_rng([5, rows, i])
        if (of := good(rng, rows)).any():
            found = labelled((draw or good)(rng, 5000))
            drifting += judge(asked(measure, 5000), found, baseline_of_losses(measure, of)).drifting
    return drifting


def streams() -> int:
    """Of 100 versions, those that are called worse at any of 380 looks at the latest 1,000 of 20,000 labels."""
    wrong = 0
    for i in range(STREAMS):
        losses = right(0.92)(np.random.default_rng([3, i]), LABELS)
        ends = range(PLANTED_IN, LABELS + 1, EVERY)
        wrong += any(
            judge(asked("accuracy", PLANTED_IN), labelled(losses[end - PLANTED_IN : end]), Baseline(0.92)).drifting
            for end in ends
        )
    return wrong


def seconds(n: int) -> float:
    found = labelled(right(0.92)(np.random.default_rng(1), n))
    began = time.perf_counter()
    judge(asked("accuracy", n), found, Baseline(0.92))
    return time.perf_counter() - began


def asked(measure: Measure, n: int) -> Asked:
    return replace(Asked("truth", measure, "", 0.05, 0), window=n)


def labelled(losses: Any) -> Labelled:
    at = np.arange(len(losses), dtype=float)
    return Labelled(losses, at, np.zeros(len(losses)), 1.0, float(len(losses)))
