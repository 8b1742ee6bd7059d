"""Sample-ratio mismatch: fair while the split is right, found where it is not."""

from __future__ import annotations

from math import comb, log

import numpy as np
import pytest

from lockgate.rollout.analysis import ratio
from lockgate.rollout.analysis.evidence import keep, kept_state
from lockgate.rollout.analysis.ratio import Ratio
from lockgate.rollout.analysis.seen import BatchArrivals


def came(candidate: float, stable: float, share: float = 0.5, crossed: float = 0.0) -> BatchArrivals:
    return BatchArrivals(share, *(np.array([float(each)]) for each in (stable, candidate, crossed)))


def after(*arrivals: BatchArrivals) -> Ratio:
    return ratio.look(ratio.begin(1), arrivals)


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 0.8])
def test_it_is_fair_while_the_split_is_right(share: float) -> None:
    """Over two looks at different shares, all outcomes enumerated."""
    expected = 0.0
    for one in range(7):
        for two in range(6):
            chance = comb(6, one) * share**one * (1 - share) ** (6 - one) * comb(5, two) * 0.3**two * 0.7 ** (5 - two)
            state = after(came(one, 6 - one, share), came(two, 5 - two, 0.3))
            expected += chance * float(np.exp(ratio.log_evidence(state)[0]))
    assert expected == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("arrivals", "wrong"),
    [
        ((), False),
        ((came(0, 0),), False),
        ((came(1, 0),), False),
        ((came(5000, 5000),), False),
        ((came(5300, 4700),), True),
        ((came(4700, 5300),), True),
        ((came(530, 470),), False),
        ((came(100, 900, 0.1), came(900, 100, 0.9)), False),
        ((came(5000, 5000, 0.1),), True),
        ((came(0, 100),), True),
        (tuple(came(2650, 2350, 0.5) if i % 2 else came(2600, 2400, 0.49) for i in range(4)), True),
        ((came(3, 0, 0.0),), True),
        ((came(0, 1000, 0.0),), False),
    ],
)
def test_a_wrong_split_is_told_from_chance(arrivals: tuple[BatchArrivals, ...], wrong: bool) -> None:  # noqa: FBT001
    state = after(*arrivals)
    assert bool(ratio.mismatched(state)[0]) is wrong
    assert np.isfinite(ratio.log_evidence(state)).all()


def test_one_user_where_none_should_be_is_no_alarm_yet() -> None:
    assert ratio.log_evidence(after(came(1, 0, 0.0)))[0] < log(ratio.ALARM)


@pytest.mark.parametrize(
    ("crossed", "wrong"), [((19.0, 100), False), ((20.0, 100), True), ((20.0, 2000), False), ((21.0, 2000), True)]
)
def test_more_than_one_in_a_hundred_and_not_a_handful_on_both_sides(
    crossed: tuple[float, int],
    wrong: bool,  # noqa: FBT001
) -> None:
    number, every = crossed
    assert bool(ratio.crossing(after(came(every / 2, every / 2, crossed=number)))[0]) is wrong


def test_right_splits_are_seldom_called_wrong() -> None:
    rng, rollouts = np.random.default_rng(9), 500
    state, alarmed = ratio.begin(rollouts), np.zeros(rollouts)
    share = np.full(rollouts, 0.5)
    for _ in range(100):
        mine = rng.binomial(50, share).astype(float)
        state = ratio.look(state, (BatchArrivals(share, 50 - mine, mine, mine * 0),))
        alarmed = np.maximum(alarmed, ratio.mismatched(state))
        share = np.clip(share + 0.05 * np.sign(mine / 50 - share), 0.1, 0.9)
    assert alarmed.sum() <= 3


def test_it_survives_the_event_log() -> None:
    state = after(came(10, 20, 0.3, 1))
    assert keep(kept_state(ratio.begin(1), keep(state))) == keep(state)
