"""The e-detector: what it promises while nothing is wrong, and how soon it finds what is."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lockgate.monitoring.performance.evidence import _BETS, _MOST, evidence

BASELINE = 0.08
"""Share of wrong answers."""


def wrong(seed: int, n: int, share: float = BASELINE) -> np.ndarray:
    return (np.random.default_rng([seed, n]).random(n) < share).astype(float)


def test_it_is_the_sum_over_all_beginnings_of_what_a_bet_from_there_has_won() -> None:
    losses, total = wrong(1, 7, 0.4), 0.0
    for start in range(7):
        for bet in _BETS:
            gains = np.minimum(losses[start:] / BASELINE, _MOST) - 1
            total += float(np.prod(1 + bet * gains)) / len(_BETS)
    assert evidence(losses, BASELINE).log == pytest.approx(math.log(total))


def test_by_shiryaev_and_roberts_it_grows_by_one_with_each_loss_on_average() -> None:
    """Which is what holds the time between false alarms: its mean after n losses is n."""
    found = [math.exp(evidence(wrong(seed, 50), BASELINE).log) for seed in range(4000)]
    error = np.std(found) / math.sqrt(len(found))
    assert np.mean(found) == pytest.approx(50, abs=4 * error)


def test_who_looks_after_every_label_is_not_misled() -> None:
    """Windows slide, and are looked at each time: 40 streams of 2,000 labels have less than one false alarm each 50."""
    alarms = 0
    for seed in range(40):
        losses = wrong(seed, 2000)
        alarms += any(evidence(losses[max(0, end - 500) : end], BASELINE).log > math.log(500 / 0.01)
                      for end in range(200, 2001, 20))  # fmt: skip
    assert alarms <= 2  # 40 * 2000 labels, and 50,000 or more between two alarms


def test_it_finds_when_the_change_began() -> None:
    losses = np.concatenate([wrong(1, 3000), wrong(2, 600, 0.2)])
    found = evidence(losses, BASELINE)
    assert found.log > math.log(5000 / 0.01)
    assert 2900 < found.begins < 3100


def test_a_good_model_that_errs_forty_times_as_often_is_found() -> None:
    """One error of a model of 99.9 % is 1,000 baselines: cut to 20, four in a hundred would be no evidence at all."""
    good, bad = wrong(1, 5000, 0.001), wrong(2, 5000, 0.04)
    assert evidence(good, 0.001, whole=1.0).log < math.log(5000 / 0.01) < evidence(bad, 0.001, whole=1.0).log
    assert evidence(bad, 0.001).log < math.log(5000 / 0.01)


@pytest.mark.parametrize("baseline", [0.3, 0.08, 0.01, 0.001, 1e-5])
def test_no_bet_on_a_loss_of_a_model_that_is_what_it_was_is_expected_to_win(baseline: float) -> None:
    """Of right and wrong answers, and of losses in between, by enumeration: the wealth is 1 before, and 1 after."""
    for loss, share in ((1.0, baseline), (0.5, 2 * baseline), (1.5, baseline / 1.5)):
        won, lost = (math.exp(evidence(np.array([of]), baseline, whole=1.0).log) for of in (loss, 0.0))
        assert share * won + (1 - share) * lost <= 1 + 1e-9


def test_one_outlier_proves_nothing() -> None:
    losses = np.full(300, 1.0)
    losses[150] = 1e9
    assert evidence(losses, 1.0).log < math.log(300 / 0.01)


def test_numbers_that_overflow_any_product_have_a_logarithm() -> None:
    assert math.isfinite(evidence(np.full(100_000, 10.0), 1.0).log)
    assert math.isfinite(evidence(np.zeros(100_000), 1.0).log)
    assert evidence(np.zeros(0), 1.0).log == -math.inf
