"""Looks: what came since the last one, how far apart they are, and which latencies prove nothing yet."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from lockgate.monitoring.measurement import Histogram, Pairs, Tally
from lockgate.rollout.analysis.analysis import Analysis
from lockgate.rollout.ports import Observed
from lockgate.rollout.progress import LONGEST, Progress, begun
from lockgate.rollout.spec import RolloutSpec, WarmUp
from lockgate.rollout.words import Counts, Replica

INF = float("inf")


def tally(requests: int, errors: int = 0) -> Tally:
    return Tally(requests, errors, Histogram((10.0, INF), (requests, requests)))


def counts(stable: int, candidate: int = 0, shadow: int = 0, *replicas: Replica) -> Counts:
    return Counts(tally(stable), tally(candidate), tally(shadow), replicas)


@pytest.fixture
def spec(spec_of: Callable[..., RolloutSpec]) -> RolloutSpec:
    return spec_of()


@pytest.fixture
def fresh(spec: RolloutSpec) -> Progress:
    return begun(0, 100.0, counts(1000, 0, 50), Analysis(spec).begin(), ("a", "b"))


def test_copies_that_were_shed_are_counted_over_a_restart_of_the_data_plane(fresh: Progress, spec: RolloutSpec) -> None:
    for seen, total in ((5, 5), (9, 9), (2, 11), (2, 11)):  # it was started anew after the second look
        fresh, _ = fresh.look(101.0, replace(counts(1010, 0, 60), shed=seen), Observed(), spec.steps[0])
        assert fresh.step.shed == total


def test_a_look_is_what_came_since_the_last_one(fresh: Progress, spec: RolloutSpec) -> None:
    progress, first = fresh.look(101.0, counts(1010, 0, 60), Observed(), spec.steps[0])
    _, second = progress.look(102.0, counts(1030, 0, 65), Observed(), spec.steps[0])
    assert [(look.stable.requests, look.candidate.requests) for look in (first, second)] == [(10, 10), (20, 5)]
    assert (first.step, first.at, second.at) == (0, 101.0, 102.0)


def test_in_a_canary_the_candidate_answers_live_requests(fresh: Progress, spec: RolloutSpec) -> None:
    _, look = replace(fresh, index=1).look(101.0, counts(1010, 7, 60), Observed(), spec.steps[1])
    assert look.candidate.requests == 7


def test_counters_that_were_reset_lose_nothing(fresh: Progress, spec: RolloutSpec) -> None:
    progress, look = fresh.look(101.0, counts(30, 0, 2), Observed(), spec.steps[0])
    assert (look.stable.requests, look.candidate.requests) == (30, 2)
    assert progress.step.stable.requests == 30


def test_what_was_observed_goes_into_the_look(fresh: Progress, spec: RolloutSpec) -> None:
    observed = Observed(pairs={"same": Pairs(10, 1)}, blind={"drift": "no files"})
    _, look = fresh.look(101.0, counts(1010), observed, spec.steps[0])
    assert (look.pairs, look.blind) == ({"same": Pairs(10, 1)}, {"drift": "no files"})


def test_replicas_that_come_or_restart_count_from_nothing(fresh: Progress, spec: RolloutSpec) -> None:
    before = counts(1000, 0, 50, Replica("a", 500, 5), Replica("b", 500, 2))
    progress, _ = fresh.look(101.0, before, Observed(), spec.steps[0])
    after = counts(1100, 0, 50, Replica("a", 540, 6), Replica("b", 30, 1), Replica("c", 20, 0))
    _, look = progress.look(102.0, after, Observed(), spec.steps[0])
    assert look.replicas == ((40, 1), (30, 1), (20, 0))


@pytest.mark.parametrize(
    ("age", "pause", "due"),
    [
        (0.0, 1.0, True),
        (0.0, 0.5, False),
        (100.0, 1.0, True),
        (2000.0, 5.0, False),
        (2000.0, 10.0, True),
        (1e6, 20.0, False),
        (1e6, LONGEST, True),
        (2000.0, -1.0, True),  # the clock was set back
    ],
)
def test_looks_are_ever_farther_apart(fresh: Progress, age: float, pause: float, due: bool) -> None:  # noqa: FBT001
    assert replace(fresh, at=100.0 + age).due(100.0 + age + pause) is due


class TestWarmUp:
    RULE = WarmUp.model_validate({"requests": 100, "duration": "30s"})

    def after(self, progress: Progress, answered: int, now: float, servers: tuple[str, ...] = ("a", "b")) -> Any:
        it = replace(progress, step=counts(0, 0, answered))
        return it.warmed(now, servers, self.RULE, self.shadow)

    @pytest.fixture(autouse=True)
    def _shadow(self, spec: RolloutSpec) -> None:
        self.shadow = spec.steps[0]

    @pytest.mark.parametrize(
        ("answered", "now", "warm"),
        [(0, 101.0, False), (99, 129.9, False), (100, 101.0, True), (5, 130.0, True), (5, 99.0, True)],
    )
    def test_ends_with_enough_requests_or_time(self, fresh: Progress, answered: int, now: float, warm: bool) -> None:  # noqa: FBT001
        assert self.after(fresh, answered, now)[1] is warm

    def test_begins_anew_when_a_replica_comes(self, fresh: Progress) -> None:
        progress, warm = self.after(fresh, 500, 140.0, ("a", "c"))
        assert not warm
        assert not self.after(progress, 599, 169.0, ("a", "c"))[1]
        assert self.after(progress, 600, 169.0, ("a", "c"))[1]

    def test_a_replica_that_goes_changes_nothing(self, fresh: Progress) -> None:
        assert self.after(fresh, 500, 140.0, ("a",))[1]

    def test_can_be_left_out(self, fresh: Progress) -> None:
        none = WarmUp.model_validate({"requests": 0, "duration": "30s"})
        assert fresh.warmed(100.0, ("a", "b"), none, self.shadow)[1]
