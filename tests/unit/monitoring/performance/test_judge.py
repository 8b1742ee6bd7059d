"""When a version is called worse, and what is said about it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lockgate.monitoring.performance.judge import judge
from lockgate.monitoring.performance.words import Asked, Baseline, Labelled, Performance

ASKED = Asked("fraud", "accuracy", "label", 0.05, 1000)
NOW = 1_700_000_000.0


def labelled(*parts: tuple[int, float], seed: int = 0, coverage: float = 0.8) -> Labelled:
    """`parts`: so many labels, and the accuracy in them; one a second, each 90 minutes late."""
    rng = np.random.default_rng(seed)
    losses = np.concatenate([(rng.random(n) >= right).astype(float) for n, right in parts])
    at = NOW + np.arange(len(losses))
    return Labelled(losses, at, np.full(len(losses), 5400.0), coverage, at[-1] + 5400, "label")


def judged(*parts: tuple[int, float], seed: int = 0, asked: Asked = ASKED) -> Performance:
    return judge(asked, labelled(*parts, seed=seed), Baseline(0.92))


@pytest.mark.parametrize("n", [200, 1000, 5000])
def test_while_it_is_what_it_was_nobody_is_alarmed(n: int) -> None:
    """200 windows of each size."""
    asked = replace(ASKED, window=n)
    assert sum(judged((n, 0.92), seed=seed, asked=asked).drifting for seed in range(200)) <= 2


def test_what_is_within_the_margin_is_no_drift_however_many_labels_prove_it() -> None:
    """0.905 of 0.92 is proven at 20,000 labels: nobody cares."""
    found = [judged((20_000, 0.905), seed=seed, asked=replace(ASKED, window=20_000)) for seed in range(5)]
    assert not any(of.drifting for of in found)
    assert all(of.proof > of.proven_from for of in found)
    assert "proven worse, and within the limit of 0.874" in found[0].says


def test_seven_points_less_are_found_in_one_window_of_a_thousand() -> None:
    assert sum(judged((1000, 0.85), seed=seed).drifting for seed in range(50)) >= 47


def test_what_decayed_lately_is_found_in_a_window_that_is_still_good_on_the_whole() -> None:
    found = judged((4200, 0.92), (800, 0.84), asked=replace(ASKED, window=5000))
    assert found.drifting
    assert found.value is not None
    assert found.limit is not None
    assert found.value > found.limit  # the mean of the whole window would say nothing for days
    assert found.since == pytest.approx(NOW + 4200, abs=250)
    assert "it became worse" in found.says


def test_a_few_wrong_answers_are_chance() -> None:
    found = judge(
        ASKED, replace(labelled((210, 1.0)), losses=np.tile([1.0] + [0.0] * 6, 30)), Baseline(0.92)
    )  # 6 of 7 right
    assert not found.drifting
    assert "worse than the limit of 0.874, and may be chance" in found.says


def test_too_few_labels_decide_nothing() -> None:
    found = judged((199, 0.1))
    assert (found.undecided, found.drifting) == (True, False)
    assert found.says == "no verdict about performance: 199 labelled requests so far, and it takes 200"


def test_a_trickle_is_never_judged_without_saying_so() -> None:
    some = judge(ASKED, labelled((1000, 0.92), coverage=0.03), Baseline(0.92))
    most = judge(ASKED, labelled((1000, 0.92), coverage=0.97), Baseline(0.92))
    assert some.says.endswith(
        "3.0 % of the requests of that time have a label, half of them within 1.5 hours; they may not be like the"
        " others"
    )
    assert most.says.endswith("97 % of the requests of that time have a label, half of them within 1.5 hours")


def test_the_sentence_has_the_numbers() -> None:
    found = judged((1000, 0.8))
    assert found.says.startswith(
        f"accuracy is {found.value:.4g} over the latest 1,000 labelled requests, the baseline is 0.92: it became worse,"
    )
    assert "the limit is 0.874" in found.says


def test_larger_errors_of_numbers_are_worse() -> None:
    rng = np.random.default_rng(1)
    asked = replace(ASKED, measure="rmse")
    found = replace(labelled((1000, 1.0)), losses=rng.normal(0, 2.5, 1000) ** 2)
    assert judge(asked, found, Baseline(2.0)).drifting
    assert not judge(asked, found, Baseline(2.6)).drifting


@pytest.mark.parametrize(("before", "after", "margin"), [(0.999, 0.96, 0.01), (0.99, 0.955, 0.01), (0.999, 0.93, 0.05)])
def test_a_good_model_that_decays_is_found(before: float, after: float, margin: float) -> None:
    asked = replace(ASKED, window=5000, margin=margin)
    assert judge(asked, labelled((5000, after)), Baseline(before)).drifting
    assert not judge(asked, labelled((5000, before)), Baseline(before)).drifting


def test_log_loss_of_a_good_model_counts_in_full() -> None:
    """Nearly always sure and right; then 4 % are surprises of 1 nat, 100 baselines each."""
    rng = np.random.default_rng(1)
    found = replace(labelled((1000, 1.0)), losses=np.where(rng.random(1000) < 0.04, 1.0, 0.001))
    assert judge(replace(ASKED, measure="log_loss"), found, Baseline(0.01)).drifting


def test_what_is_large_is_told_by_the_baseline_and_what_is_proven_by_what_it_may_be() -> None:
    found = labelled((1000, 0.85))
    certain, doubtful = (judge(ASKED, found, Baseline(0.92, at)) for at in (None, 0.86))
    assert certain.drifting
    assert not doubtful.drifting
    assert certain.limit == doubtful.limit == pytest.approx(0.874)
    assert (certain.at_worst, doubtful.at_worst) == (None, 0.86)
    assert "the baseline is 0.92 (0.86 at worst, by the rows of its reference): that is" in doubtful.says
