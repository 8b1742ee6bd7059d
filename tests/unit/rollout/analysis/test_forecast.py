"""What each step can prove: held against the judge on rollouts that are simulated look by look."""

from __future__ import annotations

from itertools import pairwise
from math import inf
from typing import Any

import numpy as np
import pytest

from lockgate.rollout.analysis.batch import Batch
from lockgate.rollout.analysis.forecast import StepForecast, forecast, seconds_needed
from lockgate.rollout.analysis.forecast_changes import Change
from lockgate.rollout.analysis.forecast_regression import smallest
from lockgate.rollout.analysis.forecast_traffic import (
    Candidate,
    Draws,
    Traffic,
    equal,
    lognormal,
    look_times,
    slowed,
    split,
)
from lockgate.rollout.spec import RolloutSpec

EDGES = (*(float(ms) for ms in range(1, 21)), *(20 * 1.1**i for i in range(1, 30)), inf)
ERRORS = {"errors": {"metric": "error_rate", "margin": "1%"}}
LATENCY = {"latency": {"metric": "latency"}}
DAY = 86_400.0


def spec_of(*steps: dict[str, Any], gates: dict[str, Any] | None = None, profile: str = "fast") -> RolloutSpec:
    return RolloutSpec.model_validate({"steps": steps, "gates": gates or ERRORS, "profile": profile})


def canary(weight: float = 50, **options: Any) -> dict[str, Any]:
    return {"canary": {"weight": weight, **options}}


def traffic(rps: float, *, latency: bool = False) -> Traffic:
    shares = lognormal(5.0, 20.0, EDGES) if latency else ()
    return Traffic(rps, 0.001, EDGES if latency else (), shares)


def every_second(spec: RolloutSpec, it: Traffic, candidate: Candidate, seconds: int) -> dict[str, np.ndarray]:
    """The first step with the looks of a rollout: the candidate's requests when it passed and when it failed."""
    rollouts = len(candidate.error_rate)
    draws, batch = Draws(it, candidate, np.random.default_rng(99)), Batch(spec, rollouts)
    requests, going = np.zeros(rollouts), np.ones(rollouts, bool)
    first = {"pass": np.full(rollouts, inf), "fail": np.full(rollouts, inf)}
    for _ in range(seconds):
        stable, mine, pairs = draws.look(split(spec.steps[0], it.rps), 1.0, going)
        batch.look(0, stable, mine, pairs={"agreement": pairs})
        requests += mine.requests
        for word, value in (("pass", 1), ("fail", -1)):
            now = going & (batch.outcome(0) == value)
            first[word][now] = requests[now]
            going &= ~now
        if not going.any():
            break
    return first


class TestEqualCandidates:
    @pytest.mark.parametrize(("gates", "rps"), [(ERRORS, 100.0), (LATENCY, 200.0)])
    def test_they_pass_within_one_and_a_half_times_what_was_said(self, gates: dict[str, Any], rps: float) -> None:
        spec, it = spec_of(canary(), gates=gates), traffic(rps, latency=gates is LATENCY)
        said = forecast(spec, it, rollouts=80).steps[0].requests
        seen = every_second(spec, it, equal(it, 80), 300)["pass"]
        assert said.median is not None
        assert said.most is not None
        assert said.median / 1.5 <= np.median(seen) <= 1.5 * said.median
        assert said.most / 1.5 <= np.quantile(seen, 0.9) <= 1.5 * said.most

    def test_seldom_is_one_rolled_back(self) -> None:
        found = forecast(spec_of(canary(5), canary(50)), traffic(100.0), rollouts=100)
        assert found.alpha == 0.05
        assert found.rolled_back <= 0.05 * found.rollouts + 5
        assert [step.step for step in found.steps] == ["canary 5 %", "canary 50 %"]

    def test_a_hold_is_waited_for(self) -> None:
        (step,) = forecast(spec_of(canary(hold={"min_requests": 3000, "duration": "2m"})), traffic(100.0)).steps
        assert step.requests.median is not None
        assert 5500 < step.requests.median < 6800  # two minutes at 50 a second are the longer of the two
        assert (step.gates[0].requests or step.requests).median < 3000  # type: ignore[operator]

    def test_where_only_failing_matters_the_hold_is_all(self) -> None:
        (step,) = forecast(spec_of(canary(until="held", hold={"min_requests": 60})), traffic(10.0)).steps
        assert step.requests.median is not None
        assert 60 <= step.requests.median < 75

    def test_the_same_seed_says_the_same(self) -> None:
        one, other = (forecast(spec_of(canary()), traffic(100.0), rollouts=20) for _ in range(2))
        assert one == other

    def test_all_steps_together(self) -> None:
        spec, it = spec_of(canary(20), canary(50)), traffic(100.0)
        seconds = [step.seconds.most or 0 for step in forecast(spec, it).steps]
        assert seconds_needed(spec, it) == pytest.approx(sum(seconds), rel=0.2)

    def test_a_step_that_cannot_decide_takes_its_timeout(self) -> None:
        assert seconds_needed(spec_of(canary(1, timeout="1m")), traffic(1.0)) == 60


def applied(spec: RolloutSpec, change: Change) -> RolloutSpec:
    document = spec.model_dump(mode="json")
    for path, value in change.settings:
        if path.startswith("gates."):
            _, name, field = path.split(".")
            document["gates"][name][field] = value
        else:
            document["steps"][0]["canary"][path] = value
    return RolloutSpec.model_validate(document)


class TestTooShort:
    SPEC = spec_of(canary(2, timeout="5m"), canary(50))

    @pytest.fixture(scope="class")
    @classmethod
    def step(cls) -> StepForecast:
        return forecast(cls.SPEC, traffic(50.0), rollouts=60).steps[0]

    def test_it_is_refused_in_a_sentence(self, step: StepForecast) -> None:
        assert not step.decides
        assert step.advice.startswith("canary 2 %: 0% of equal candidates would pass within its timeout of 5m; any of")
        assert [change.settings[0][0] for change in step.changes] == [
            "timeout",
            "weight",
            "gates.errors.margin",
            "until",
        ]
        assert min(change.passing for change in step.changes) >= 0.95

    @pytest.mark.parametrize("which", range(4))
    def test_each_number_that_is_named_works(self, step: StepForecast, which: int) -> None:
        spec = applied(self.SPEC, step.changes[which])
        again = forecast(spec, traffic(50.0), rollouts=60, seed=7).steps[0]
        assert again.decides, step.changes[which]
        assert again.advice == ""

    def test_a_weight_stays_below_the_next_steps(self) -> None:
        (step, _) = forecast(spec_of(canary(2, timeout="5m"), canary(3)), traffic(50.0), rollouts=30).steps
        assert "weight" not in {change.settings[0][0] for change in step.changes}

    def test_nothing_helps_where_nothing_comes(self) -> None:
        spec = spec_of(canary(1, timeout="2s", hold={"min_requests": 10**9}))
        (step,) = forecast(spec, traffic(0.01), rollouts=20).steps
        assert step.requests.median is None
        assert step.advice.endswith("no single number helps; it needs more traffic, or other gates")


class TestRegressions:
    @pytest.mark.parametrize("gates", [ERRORS, LATENCY])
    def test_the_smallest_is_found_four_times_in_five_and_half_of_it_seldom(self, gates: dict[str, Any]) -> None:
        latency = gates is LATENCY
        spec, it = spec_of(canary(timeout="2m"), gates=gates), traffic(100.0, latency=latency)
        found = smallest(spec, 0, it, np.random.default_rng(3))["latency" if latency else "errors"]
        assert found is not None

        def share(part: float) -> float:
            """How often a part of the regression is found."""
            rates, factor = np.full(60, it.error_rate), np.ones(60)
            if latency:
                factor += part * (found - 1)
            else:
                rates += part * (found - it.error_rate)
            shares = slowed(it, factor) if latency else np.zeros((60, 0))
            seen = every_second(spec, it, Candidate(rates, shares, np.zeros(60)), 120)
            return float(np.isfinite(seen["fail"]).mean())

        assert share(1.0) >= 0.65
        assert share(0.4) <= 0.4

    def test_gates_of_one_kind_each_have_their_own(self) -> None:
        gates = {"wide": {"metric": "error_rate", "margin": "10%"}, "narrow": {"metric": "error_rate", "margin": "1%"}}
        found = smallest(spec_of(canary(), gates=gates), 0, traffic(100.0), np.random.default_rng(3))
        assert (found["narrow"] or 0) * 3 < (found["wide"] or 0)

    def test_nothing_is_found_without_requests(self) -> None:
        assert smallest(spec_of(canary(timeout="2s")), 0, traffic(0.5), np.random.default_rng(3)) == {"errors": None}

    def test_other_answers_are_found_in_a_shadow(self) -> None:
        spec = spec_of({"shadow": {"percent": 100}}, gates={"agreement": {"metric": "disagreement", "max": "1%"}})
        found = smallest(spec, 0, Traffic(100.0, differing=0.001), np.random.default_rng(3))["agreement"]
        assert found is not None
        assert 0.01 < found < 0.05


def test_what_cannot_be_foreseen_says_so() -> None:
    gates = {
        **ERRORS,
        "agreement": {"metric": "disagreement"},
        "drift": {"metric": "prediction_drift"},
        "slo": {"query": "up", "max": 1, "every": "30s", "count": 4},
    }
    spec = spec_of({"shadow": {"percent": 100}}, canary(), gates=gates)
    shadow, live = forecast(spec, traffic(100.0), rollouts=20).steps
    assert [bool(gate.unforeseen) for gate in shadow.gates] == [False, False, True, True]
    assert [bool(gate.unforeseen) for gate in live.gates] == [False, True, True, True]
    assert "passes after 4 values" in live.gates[3].unforeseen
    assert live.seconds.median is not None
    assert live.seconds.median >= 120, "four values, half a minute apart"


@pytest.mark.parametrize(("rate", "seconds"), [(0.01, 60.0), (5.0, 3600.0), (1000.0, 7 * DAY), (0.0, 10.0)])
def test_looks_follow_one_another_to_the_end_of_the_step(rate: float, seconds: float) -> None:
    looks = list(look_times(rate, seconds))
    assert looks[0][0] == 0
    assert looks[-1][1] == seconds
    assert all(before[1] == after[0] for before, after in pairwise(looks))
    assert len(looks) < 400


def test_latencies_have_the_quantiles_that_were_given() -> None:
    it = traffic(1.0, latency=True)
    histogram = it.histogram()
    assert histogram.quantile(0.5) == pytest.approx(5, rel=0.03)
    assert histogram.quantile(0.99) == pytest.approx(20, rel=0.03)
    slow = Traffic(1.0, 0.0, EDGES, tuple(slowed(it, np.array([2.0]))[0])).histogram()
    assert slow.quantile(0.99) == pytest.approx(40, rel=0.05)
    assert sum(it.shares) == pytest.approx(1)


def test_approvals_take_no_traffic_and_no_alpha() -> None:
    asked = {"approval": {"required": 2}}
    with_people, without = spec_of(asked, canary(5), asked, canary(50), asked), spec_of(canary(5), canary(50))
    assert forecast(with_people, traffic(100), rollouts=20) == forecast(without, traffic(100), rollouts=20)
    assert seconds_needed(with_people, traffic(100), rollouts=20) == seconds_needed(without, traffic(100), rollouts=20)
