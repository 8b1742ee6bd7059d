"""What the test of an `ab` step can prove: held against the estimators with a look after every few users."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from lockgate.rollout.analysis.bets import Array
from lockgate.rollout.analysis.effects import estimator_of
from lockgate.rollout.analysis.effects_binary import BinaryEstimator
from lockgate.rollout.analysis.forecast import StepForecast, forecast
from lockgate.rollout.analysis.forecast_ab import DECIDES, AbForecast, ab_test, foresee
from lockgate.rollout.analysis.forecast_ab_changes import AbSearch, ab_changes
from lockgate.rollout.analysis.forecast_ab_users import coming, likelihood, looks
from lockgate.rollout.analysis.forecast_changes import Change, passing
from lockgate.rollout.analysis.forecast_traffic import Traffic, Users
from lockgate.rollout.analysis.seen import BatchArm, BatchGroup
from lockgate.rollout.spec import RolloutSpec

ERRORS = {"errors": {"metric": "error_rate", "margin": "1%"}}
DAY = 86_400.0
Z95, Z80 = 1.959964, 0.841621


def spec_of(metric: dict[str, Any] | None = None, gates: dict[str, Any] | None = None, **ab: Any) -> RolloutSpec:
    step = {"weight": 50, "metric": "conversion", "timeout": "7d", **ab}
    metrics = {"conversion": {"window": "1m", **(metric or {})}}
    return RolloutSpec.model_validate({"steps": [{"ab": step}], "gates": gates or ERRORS, "metrics": metrics})


def users(per_day: float, typical: float) -> Users:
    return Users(per_day, {"conversion": typical})


def foreseen(spec: RolloutSpec, expected: Users, tests: int = 200) -> AbForecast:
    test = ab_test(spec, 0, expected, 100.0)
    assert test is not None
    return foresee(test, tests)


def horizon(rate: float, effect: float, weight: float) -> float:
    """Users of both sides of a two-sided z-test at alpha 5 % with 80 % power."""
    mine, theirs = rate * (1 + effect), rate
    variance = mine * (1 - mine) / weight + theirs * (1 - theirs) / (1 - weight)
    return (Z95 + Z80) ** 2 * variance / (mine - theirs) ** 2


def every_few(kind: str, typical: float, gain: float, least: float, most: int) -> Array:
    """(40,): users of both sides at the decision of a fixed split, with looks after every 100, drawn one by one."""
    metric = spec_of({"kind": kind}).metric("conversion")
    rng, estimator, tests = np.random.default_rng(5), estimator_of(metric), 40
    state, decided = estimator.begin(tests), np.full(tests, np.inf)

    def arm(n: Array, times: float) -> BatchArm:
        drawn = (
            rng.random((tests, 100)) < typical * times
            if kind == "binary"
            else rng.gamma(typical**-2, typical**2, (tests, 100)) * times
        )
        values = drawn * (np.arange(100) < n[:, None])
        return BatchArm(n, values.sum(axis=1), (values**2.0).sum(axis=1))

    for came in range(100, most, 100):
        mine = rng.binomial(100, 0.5, tests).astype(float)
        state = estimator.look(state, (BatchGroup(0.5, arm(100 - mine, 1.0), arm(mine, 1 + gain)),))
        _, worthless = estimator.evidence(state, least)
        better, _ = estimator.evidence(state, 0.0)
        now = (np.maximum(worthless, better) >= np.log(20)) & np.isinf(decided)
        decided[now] = came
        if np.isfinite(decided).all():
            break
    return decided


class TestAgainstTheJudge:
    @pytest.mark.parametrize(
        ("kind", "typical", "least", "most"), [("binary", 0.3, 0.2, 15_000), ("continuous", 1.0, 0.1, 25_000)]
    )
    @pytest.mark.parametrize("equal", [False, True])
    def test_it_takes_as_many_users_as_said(
        self, kind: str, typical: float, least: float, most: int, *, equal: bool
    ) -> None:
        said = foreseen(spec_of({"kind": kind}, minimum_effect=least), users(10_000, typical)).supposed[equal]
        seen = every_few(kind, typical, 0.0 if equal else least, least, most)
        assert said.users.median is not None
        assert np.median(seen) == pytest.approx(said.users.median, rel=0.3), "of 40 tests"

    @pytest.mark.parametrize(("rate", "least", "weight"), [(0.05, 0.1, 0.5), (0.3, 0.05, 0.5), (0.05, 0.2, 0.1)])
    def test_and_about_those_of_a_test_with_a_fixed_end(self, rate: float, least: float, weight: float) -> None:
        """Looking at any moment costs users in the worst case, and spares them in the median one (Wald)."""
        it = foreseen(spec_of(minimum_effect=least, weight=100 * weight), users(50_000, rate)).supposed[0]
        fixed = horizon(rate, least, weight)
        assert it.users.median is not None
        assert it.users.most is not None
        assert 0.6 * fixed < it.users.median < 1.5 * fixed
        assert fixed < it.users.most < 4 * fixed

    def test_a_large_block_is_as_likely_as_the_estimator_says(self) -> None:
        rng, n, others = np.random.default_rng(1), 900.0, 2100.0
        did = rng.binomial([int(n), int(others)], 0.1, (5, 2)).astype(float)
        group = BatchGroup(
            0.3, BatchArm(np.full(5, others), did[:, 1], did[:, 1]), BatchArm(np.full(5, n), did[:, 0], did[:, 0])
        )
        exact = BinaryEstimator().look(BinaryEstimator().begin(5), (group,)).log
        near = exact > exact.max(axis=1, keepdims=True) - 10
        assert np.abs(likelihood(np.array([n, others]), did) - exact)[near].max() < 0.05


class TestOneTest:
    @pytest.fixture(scope="class")
    @classmethod
    def it(cls) -> AbForecast:
        return foreseen(spec_of(minimum_effect="10%"), users(20_000, 0.05))

    def test_who_is_good_enough_is_promoted_and_nobody_else(self, it: AbForecast) -> None:
        better, equal, worse = it.supposed
        assert (better.gain, equal.gain, worse.gain) == (0.1, 0, -0.1)
        assert better.promoted > 0.8
        assert better.sent_back <= it.alpha + 0.04
        assert equal.promoted <= it.alpha + 0.04
        assert equal.sent_back > 0.75
        assert (worse.promoted, worse.sent_back) == (0, 1)
        assert (worse.users.median or 0) < (equal.users.median or 0)

    def test_time_follows_from_users_and_the_window(self, it: AbForecast) -> None:
        for each in it.supposed:
            assert each.users.median is not None
            assert each.seconds.median == pytest.approx(each.users.median / 20_000 * DAY + 60)

    def test_four_in_five_find_the_smallest_effect(self, it: AbForecast) -> None:
        assert it.smallest is not None
        test = ab_test(spec_of(minimum_effect="10%"), 0, users(20_000, 0.05), 100.0)
        assert test is not None
        promoted = (test.run(it.smallest, 300, 0.0).passed <= 7 * DAY).mean()
        assert 0.7 < promoted < 0.9

    def test_lower_may_be_better(self) -> None:
        better, equal, worse = foreseen(
            spec_of({"better": "lower"}, minimum_effect="20%"), users(20_000, 0.05), 60
        ).supposed
        assert better.promoted > 0.9
        assert (worse.promoted, equal.promoted <= 0.1) == (0, True)

    def test_without_a_minimum_nothing_decides_between_equals(self) -> None:
        it = foreseen(spec_of(), users(20_000, 0.05), 60)
        better, equal, _ = it.supposed
        assert better.gain == it.smallest
        assert 0.65 < better.promoted < 0.95
        assert equal.users.median is None
        assert it.decides, "nothing is asked of it"

    def test_what_nobody_can_do(self) -> None:
        it = foreseen(spec_of(minimum_effect="10%"), users(20_000, 0.95))
        assert not it.decides
        assert it.impossible == (
            "conversion cannot get higher by 0.1 of stable's: 0.95 of stable's users do it already"
        )

    def test_where_nearly_all_do_it_little_can_be_found(self) -> None:
        it = foreseen(spec_of(), users(10**7, 0.9995), 20)
        assert it.smallest is not None
        assert 0 < it.smallest <= 1 / 0.9995 - 1

    def test_where_too_few_come_nothing_is_found(self) -> None:
        it = foreseen(spec_of(), users(5, 0.05), 20)
        assert (it.smallest, [each.gain for each in it.supposed]) == (None, [0.0])

    def test_a_hold_is_waited_for(self) -> None:
        better = foreseen(spec_of(minimum_effect="50%", hold={"duration": "6d"}), users(20_000, 0.3), 20).supposed[0]
        assert better.seconds.median is not None
        assert better.seconds.median >= 6 * DAY

    def test_only_ab_steps_with_known_users_have_one(self) -> None:
        assert ab_test(spec_of(), 0, None, 1.0) is None
        assert ab_test(spec_of(), 0, Users(5, {"revenue": 2.0}), 1.0) is None


def applied(spec: RolloutSpec, change: Change) -> RolloutSpec:
    document = spec.model_dump(mode="json")
    document["steps"][0]["ab"].update(dict(change.settings))
    return RolloutSpec.model_validate(document)


def decided_in_time(spec: RolloutSpec, expected: Users) -> float:
    test = ab_test(spec, 0, expected, 100.0)
    assert test is not None
    both = (test.run(gain, 150, 0.0).seconds <= test.ab.timeout for gain in (test.ab.minimum_effect, 0.0))
    return min(float(decided.mean()) for decided in both)


def step_of(spec: RolloutSpec, expected: Users, rps: float = 100.0, rollouts: int = 60) -> StepForecast:
    return forecast(spec, Traffic(rps, users=expected), rollouts=rollouts).steps[0]


class TestTooShort:
    SPEC = spec_of(minimum_effect="5%", weight=20, timeout="4d")
    USERS = users(20_000, 0.3)

    @pytest.fixture(scope="class")
    @classmethod
    def step(cls) -> StepForecast:
        return step_of(cls.SPEC, cls.USERS)

    def test_it_is_refused_in_a_sentence(self, step: StepForecast) -> None:
        assert not step.decides
        assert step.passing == 1, "its gates are not to blame"
        assert "of its tests would be decided within its timeout of 4d; any of these would do: " in step.advice
        assert [change.settings[0][0] for change in step.changes] == ["timeout", "weight", "minimum_effect"]

    @pytest.mark.parametrize("which", range(3))
    def test_each_number_that_is_named_decides(self, step: StepForecast, which: int) -> None:
        spec = applied(self.SPEC, step.changes[which])
        assert decided_in_time(spec, self.USERS) >= DECIDES, step.changes[which]

    def test_where_gates_take_too_long_as_well_one_timeout_does_for_both(self) -> None:
        step = step_of(self.SPEC, self.USERS, rps=0.02, rollouts=20)
        assert "of equal candidates would pass and" in step.advice
        assert "timeout" in {change.settings[0][0] for change in step.changes}
        (longest,) = [change for change in step.changes if change.paths == ("timeout",)]
        spec = applied(self.SPEC, longest)
        assert passing(spec, 0, Traffic(0.02, users=self.USERS), np.random.default_rng(3)) >= 0.9
        assert decided_in_time(spec, self.USERS) >= DECIDES

    def test_a_weight_that_leaves_stable_too_few_users_is_not_named(self) -> None:
        spec, traffic = spec_of(minimum_effect="10%"), Traffic(100.0, users=users(15_000, 0.05))
        search = AbSearch(spec, 0, traffic, lambda _: 1.0, 0.95)
        more, other = Change((("weight", "90%"),), 1.0), Change((("gates.errors.margin", "2%"),), 1.0)
        assert ab_changes(search, [more, other], decides=True) == [other]
        assert ab_changes(search, None, decides=True) == []

    def test_a_minimum_of_nothing_is_not_refused(self) -> None:
        assert step_of(spec_of(timeout="1h"), users(100, 0.05), rollouts=20).decides

    def test_an_impossible_one_is(self) -> None:
        step = step_of(spec_of(minimum_effect="10%"), users(20_000, 0.95), rollouts=20)
        assert not step.decides
        assert step.advice.endswith("do it already; choose a smaller minimum_effect")


def test_looks_come_to_the_timeout_and_go_on_to_the_end() -> None:
    spec = spec_of({"window": "1d"})
    came = coming(spec, 0, "conversion", users(1000, 0.05))
    assert came is not None
    times = list(looks(came, 7 * DAY, 366 * DAY))
    assert times == sorted(set(times))
    assert times[0] > DAY, "nobody counts before the window is over"
    assert 7 * DAY in times
    assert times[-1] == 366 * DAY
    assert len(times) < 200
    assert list(looks(replace(came, lag=8 * DAY), 7 * DAY, 7 * DAY)) == []
    assert next(looks(replace(came, lag=8 * DAY), 7 * DAY, 9 * DAY)) > 8 * DAY
