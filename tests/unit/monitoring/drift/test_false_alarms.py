"""How often nothing is called drift: few windows of many sizes here, all of them in `benchmarks/drift.py`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from lockgate.monitoring.drift.judge import compare
from lockgate.monitoring.drift.profile import profile_of
from lockgate.monitoring.drift.repeats import groups
from lockgate.monitoring.drift.words import Window

Rows = Callable[..., dict[str, Any]]


@pytest.mark.parametrize(("reference", "window"), [(200, 200), (300, 3000), (10_000, 200), (10_000, 1000)])
def test_windows_without_drift_are_hardly_ever_flagged(rows: Rows, reference: int, window: int) -> None:
    profile = profile_of(rows(0, reference))
    flagged = [compare(profile, Window(rows(seed, window), rows=window)).drifted for seed in range(1, 61)]
    assert sum(map(bool, flagged)) <= 1


def test_tests_alone_would_flag_windows_and_size_alone_would_too(rows: Rows) -> None:
    """What each of the two conditions is there for."""
    profile = profile_of(rows(0, 500))
    found = [compare(profile, Window(rows(seed, 300), rows=300)) for seed in range(1, 31)]
    distances = [[of.distances[0] for of in one.features if of.distances] for one in found]
    assert sum(any(of.chance < 0.05 for of in of_one) for of_one in distances) > 10
    assert sum(any(of.raw > 0.1 for of in of_one) for of_one in distances) > 10
    assert not any(one.drifted for one in found)


def test_rows_that_come_in_requests_are_no_false_alarm(rows: Rows) -> None:
    """Requests of thirty-two rows that are alike, but for a little."""
    rng, profile = np.random.default_rng(0), profile_of(rows(0, 5000))
    for seed in range(1, 21):
        columns = {name: np.repeat(values, 32) for name, values in rows(seed, 150).items()}
        for name in ("normal 0", "normal 1"):
            columns[name] = columns[name] * 0.95 + rng.normal(size=4800) * 0.3
        found = compare(profile, Window(columns, rows=4800, groups=np.repeat(np.arange(150), 32)))
        assert not found.drifted
        assert not found.undecided


def test_requests_without_a_user_beside_users_are_no_false_alarm(rows: Rows) -> None:
    """Forty users with a row each, and many rows in requests of sixty-four that are alike."""
    profile, alike = profile_of(rows(0, 5000)), np.concatenate([np.arange(40), np.repeat(np.arange(40, 160), 64)])
    about = pa.table(
        {
            "unit": [f"user {i}" if i < 40 else None for i in alike],
            "request_id": [f"request {i}" for i in alike],
            "row": np.arange(len(alike)),
            "at": alike,
            "digest": ["d"] * len(alike),
        }
    )
    for seed in range(1, 21):
        columns = {name: values[alike] for name, values in rows(seed, 160).items()}
        assert not compare(profile, Window(columns, rows=len(alike), groups=groups(about))).drifted
        assert compare(profile, Window(columns, rows=len(alike))).drifted
