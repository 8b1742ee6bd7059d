"""A baseline of a reference: what the mean of the losses may be where its rows came from."""

from __future__ import annotations

from collections.abc import Callable
from math import comb

import numpy as np
import pytest

from lockgate.monitoring.performance.baseline import baseline_of_losses
from lockgate.monitoring.performance.bounds import MISSED, of_mean, of_share, upper_bound
from lockgate.monitoring.performance.judge import judge
from lockgate.monitoring.performance.words import Asked, Labelled, Measure

Draw = Callable[[np.random.Generator, int], np.ndarray]
DRAWS: dict[Measure, Draw] = {
    "accuracy": lambda rng, n: (rng.random(n) >= 0.7).astype(float),
    "mae": lambda rng, n: np.abs(rng.normal(0, 1, n)),
    "rmse": lambda rng, n: rng.normal(0, 1, n) ** 2,
    "log_loss": lambda rng, n: np.log1p(np.exp(-np.where(rng.random(n) < 0.8, 1, -1) * np.abs(rng.normal(0, 2, n)))),
}


@pytest.mark.parametrize(("wrong", "n"), [(0, 200), (1, 200), (60, 200), (199, 200), (30, 1000)])
def test_of_a_share_it_is_exact(wrong: int, n: int) -> None:
    """By Clopper and Pearson: where it is true, so few errors are seen with the chance that was asked for."""
    share = of_share(wrong, n)
    assert sum(comb(n, i) * share**i * (1 - share) ** (n - i) for i in range(wrong + 1)) == pytest.approx(MISSED)


def test_of_many_rows_it_is_a_number_too() -> None:
    assert 0.02 < of_share(2000, 100_000) < 0.0213
    assert of_share(200, 200) == 1.0
    assert of_mean(np.full(300, 2.0)) == 2.0


def test_of_skewed_losses_it_is_hardly_ever_too_low() -> None:
    """Squares of normal errors, 2,000 references of 200 rows: without the skewness it is too low for about 30."""
    rng = np.random.default_rng(1)
    assert sum(of_mean(rng.normal(0, 1, 200) ** 2) < 1 for _ in range(2000)) <= 20


def test_a_reference_that_happens_to_have_no_surprise_is_not_taken_for_a_model_that_has_none() -> None:
    """One answer in a hundred surprises by 3 nats: one reference of 200 rows in seven has none of these."""
    never_wrong = np.full(200, 0.005)
    assert of_mean(never_wrong) == pytest.approx(0.005)
    assert upper_bound("log_loss", never_wrong) == pytest.approx(0.005 + of_share(0, 200))


@pytest.mark.parametrize("measure", list(DRAWS))
def test_a_version_that_answers_as_in_a_small_reference_is_not_called_worse(measure: Measure) -> None:
    """50 references of 200 rows: taken at their word, 5 to 11 of them would have it drifting for ever."""
    wrong = 0
    for i in range(50):
        rng = np.random.default_rng([5, i])
        baseline, losses = baseline_of_losses(measure, DRAWS[measure](rng, 200)), DRAWS[measure](rng, 5000)
        found = Labelled(losses, np.arange(5000.0), np.zeros(5000), 1.0, 5000.0)
        wrong += judge(Asked("truth", measure, "", 0.05, 5000), found, baseline).drifting
    assert wrong <= 1
