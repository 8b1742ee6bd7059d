"""Rows of twenty inputs as models have them: even, skewed, with ties, labels of few and of many kinds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

Rows = Callable[..., dict[str, Any]]


def made(rng: np.random.Generator, n: int) -> dict[str, Any]:
    """Eight normal inputs, four lognormal, four of labels, four with ties and gaps."""
    columns: dict[str, Any] = {f"normal {i}": rng.normal(size=n) for i in range(8)}
    columns |= {f"skewed {i}": rng.lognormal(6, 0.5 + i / 2, n) for i in range(4)}
    for kinds in (2, 5, 30, 300):
        weights = 1 / np.arange(1, kinds + 1)
        names = np.array([f"kind {i}" for i in range(kinds)])
        columns[f"labels {kinds}"] = rng.choice(names, size=n, p=weights / weights.sum())
    columns["mostly zero"] = np.where(rng.random(n) < 0.6, 0.0, rng.exponential(size=n))
    columns["count"] = rng.poisson(3, n)
    columns["truth"] = rng.random(n) < 0.3
    columns["gaps"] = np.where(rng.random(n) < 0.1, np.nan, rng.uniform(size=n))
    return columns


@pytest.fixture
def rows() -> Rows:
    """`rows(seed, n)`: the same for the same seed."""
    return lambda seed, n: made(np.random.default_rng(seed), n)
