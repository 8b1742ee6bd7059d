"""When the rows of a comparison were answered."""

from __future__ import annotations

import numpy as np
import pytest

from lockgate.monitoring.drift.age import aged, span
from lockgate.monitoring.drift.judge import compare
from lockgate.monitoring.drift.profile import profile_of
from lockgate.monitoring.drift.words import Comparison, Window

BEGAN = 1_700_000_000.0


def drifting(since: float = BEGAN, until: float = BEGAN + 60) -> Comparison:
    found = compare(profile_of({"x": np.arange(500)}), Window({"x": np.ones(500) * 900}, {}, 500, None, since, until))
    assert found.severe
    return found


@pytest.mark.parametrize(
    ("age", "says"), [(3601, "60 minutes"), (2 * 3600, "2 hours"), (47 * 3600, "47 hours"), (30 * 86_400, "30 days")]
)
def test_rows_that_are_old_decide_nothing(age: float, says: str) -> None:
    found = aged(drifting(), BEGAN + 60 + age, 3600)
    assert (found.undecided, found.drifting, found.severe, found.share, found.drifted) == (True, False, False, 0, ())
    at = "2023-11-14 22:14:20 UTC"
    assert found.says == f"no verdict about drift: the latest live row was answered {says} ago, at {at}"


def test_rows_of_now_decide() -> None:
    found = drifting()
    assert aged(found, BEGAN + 3660, 3600) is found
    timeless = drifting(0, 0)
    assert aged(timeless, BEGAN, 3600) is timeless


def test_when_they_were_answered_is_told_where_it_is_known() -> None:
    assert span(drifting()) == "answered 2023-11-14 22:13:20 UTC to 2023-11-14 22:14:20 UTC"
    assert span(drifting(0, 0)) == ""
