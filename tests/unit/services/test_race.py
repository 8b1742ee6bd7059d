"""Simulated machines with noise: who is chosen, after how many calls, and what becomes of those that fall behind."""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from lockgate.services.compile.race import Race, Rounds, predicted
from lockgate.services.compile.words import Candidate, Objective

SEARCHES = 300
PLAN = Rounds()
EXHAUSTIVE = Rounds(drop=False, all=PLAN.most)


@dataclass
class Machine:
    """Calls take their true time, times noise (`sigma`, log-normal), now and then a hiccup, and phases and drift.

    Phases in which everything is slower come and go; time passes only by calls.
    """

    truth: Mapping[Candidate, float]
    seed: int = 0
    sigma: float = 0.05
    slow: tuple[float, float] = (1.0, 2.5)
    phases: tuple[float, float] = (3.0, 1.0)
    """Mean seconds of a quiet and of a slow phase."""
    drift: float = 0.0
    """Slower by this share at the end, reached evenly over `over` seconds."""
    over: float = 10.0
    hiccups: float = 0.02
    calls: int = 0
    now: float = 0.0
    log: list[Candidate] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._is_slow, self._until, self._factor = False, 0.0, 1.0

    def time(self, candidate: Candidate, batch: int, seconds: float, least: int) -> list[float]:
        found: list[float] = []
        while len(found) < least or sum(found) < seconds:
            found.append(self._call(candidate) * batch)
            self.now += found[-1]
        self.calls += len(found)
        self.log.append(candidate)
        return found

    def _call(self, candidate: Candidate) -> float:
        while self.now >= self._until:
            self._is_slow = not self._is_slow
            self._until += self._random.expovariate(1 / self.phases[self._is_slow])
            self._factor = self._random.uniform(*self.slow) if self._is_slow else 1.0
        hiccup = self._random.uniform(1.5, 6.0) if self._random.random() < self.hiccups else 1.0
        drift = 1 + self.drift * min(1.0, self.now / self.over)
        return self.truth[candidate] * self._factor * drift * hiccup * math.exp(self._random.gauss(0, self.sigma))


def candidates(*seconds: float) -> dict[Candidate, float]:
    return {Candidate(f"t{i}"): second for i, second in enumerate(seconds)}


def drawn(seed: int, fastest: float, count: int = 8) -> dict[Candidate, float]:
    rng = random.Random(1000 + seed)
    return candidates(*(fastest * math.exp(abs(rng.gauss(0, 0.5))) for _ in range(count)))


def raced(machine: Machine, objective: Objective | None = None, plan: Rounds = PLAN) -> Race:
    race = Race(machine.time, objective or Objective(), plan, lambda *_a: None)
    for candidate in machine.truth:
        race.enter(candidate)
    race.run(final=True)
    return race


def off(machine: Machine, race: Race) -> float:
    """How much slower what was chosen really is than the best."""
    leader = race.leader()
    assert leader is not None
    return machine.truth[leader] / min(machine.truth.values())


@pytest.mark.parametrize(
    ("fastest", "noise"),
    [
        (0.002, {}),
        (0.02, {}),
        (0.5, {}),
        (0.02, {"sigma": 0.1, "slow": (1.2, 3.0), "phases": (2.0, 1.0)}),
        (0.5, {"sigma": 0.08, "slow": (1.2, 2.0), "phases": (20.0, 5.0)}),
        (0.02, {"drift": 1.0, "slow": (1.0, 1.0)}),
    ],
    ids=["small", "middle", "large", "noisy", "large and noisy", "heating up"],
)
def test_a_noisy_machine_does_not_choose(fastest: float, noise: dict[str, Any]) -> None:
    """Within 5 % of the best in nearly all searches; with clearly fewer calls than measuring everybody to the end."""
    machines = [Machine(drawn(seed, fastest), seed, **noise) for seed in range(SEARCHES)]
    found = [off(machine, raced(machine)) for machine in machines]
    assert sum(share <= 1.05 for share in found) >= 0.96 * SEARCHES
    assert max(found) < 1.3
    whole = [Machine(drawn(seed, fastest), seed, **noise) for seed in range(10)]
    for machine in whole:
        raced(machine, plan=EXHAUSTIVE)
    assert statistics.fmean(m.calls for m in machines) < 0.5 * statistics.fmean(m.calls for m in whole)


def test_p99_is_noisier_and_still_mostly_right() -> None:
    machines = [Machine(drawn(seed, 0.005), seed) for seed in range(100)]
    found = [off(machine, raced(machine, Objective("latency_p99"))) for machine in machines]
    assert sum(share <= 1.1 for share in found) >= 95


def test_a_steady_slowdown_favours_nobody() -> None:
    """Whoever is called first in every round would look faster: the order turns round."""
    machine = Machine(candidates(0.02, 0.02), sigma=0.0, slow=(1.0, 1.0), hiccups=0.0, drift=1.0, over=4.0)
    race = raced(machine, plan=Rounds(drop=False, all=12))
    scores = [race.score(c) for c in machine.truth]
    assert max(scores) / min(scores) < 1.01
    first, second = machine.truth
    assert machine.log[:4] == [first, second, second, first]


def test_it_ends_early_when_nobody_can_be_much_faster() -> None:
    quiet = Machine(candidates(0.01, 0.0101, 0.0102), sigma=0.01, slow=(1.0, 1.0))
    race = raced(quiet)
    assert race.timings(Candidate("t0"))[0].rounds < PLAN.most / 2


def test_calls_of_minutes_are_not_repeated_for_ever() -> None:
    machine = Machine(candidates(20.0, 20.9), sigma=0.3)
    race = raced(machine)
    assert race.timings(Candidate("t0"))[0].rounds == PLAN.least


def test_who_is_far_behind_is_out_after_one_round_and_says_so() -> None:
    machine = Machine(candidates(0.01, 1.0, 0.011), sigma=0.0, slow=(1.0, 1.0))
    race = raced(machine)
    assert Candidate("t1") not in race.running
    assert machine.log.count(Candidate("t1")) == 1
    assert race.dropped[Candidate("t1")].endswith("times as long as t0 fp32")


def test_who_dies_while_timed_is_out_with_the_reason() -> None:
    machine = Machine(candidates(0.01, 0.01, 0.01))
    noted: list[tuple[str, str]] = []

    def time(candidate: Candidate, batch: int, seconds: float, least: int) -> list[float]:
        if candidate.target == "t1" and machine.log.count(candidate) == 2:
            raise RuntimeError("its process was killed by SIGSEGV")
        return machine.time(candidate, batch, seconds, least)

    race = Race(time, Objective(batch_sizes=(1, 4)), PLAN, lambda c, why: noted.append((c.target, why)))
    for candidate in machine.truth:
        race.enter(candidate)
    race.run(final=True)
    race.measure([Candidate("t0"), Candidate("t1")], (8,), 3)
    assert noted == [("t1", "its process was killed by SIGSEGV")]
    assert Candidate("t1") not in race.running
    assert Candidate("t1") not in race.dropped
    assert {c.target for c in race.running} == {"t0", "t2"}


def test_nobody_is_left_when_all_die() -> None:
    def time(*_args: Any) -> list[float]:
        raise RuntimeError

    race = Race(time, Objective(), PLAN, lambda *_a: None)
    race.enter(Candidate("a"))
    race.enter(Candidate("b"))
    race.run(final=True)
    assert (race.running, race.leader()) == ([], None)


def test_newcomers_meet_the_survivors_on_equal_terms() -> None:
    """The first ran while the machine was quick; the newcomer is faster, though all its calls take longer."""
    machine = Machine(candidates(0.010, 0.012, 0.008), sigma=0.01, slow=(1.0, 1.0))
    race = Race(machine.time, Objective(), PLAN, lambda *_a: None)
    old, other, new = machine.truth
    race.enter(old)
    race.enter(other)
    race.run(final=False)
    machine.truth = {c: seconds * 3 for c, seconds in machine.truth.items()}
    race.enter(new)
    race.run(final=True)
    assert race.leader() == new
    assert race.score(new) / race.score(old) == pytest.approx(0.8, rel=0.05)


def test_who_was_dropped_in_a_quick_phase_still_counts_as_slower() -> None:
    machine = Machine(candidates(0.010, 0.070, 0.010), sigma=0.01, slow=(1.0, 1.0))
    race = Race(machine.time, Objective(), PLAN, lambda *_a: None)
    old, slow, _other = machine.truth
    for candidate in machine.truth:
        race.enter(candidate)
    race.run(final=False)
    assert slow in race.dropped
    machine.truth = {c: seconds * 100 for c, seconds in machine.truth.items()}
    race.run(final=True)
    assert race.timings(slow)[0].p50 < race.timings(old)[0].p50
    assert race.score(slow) / race.score(old) == pytest.approx(7, rel=0.1)


def test_a_newcomer_is_compared_in_its_own_rounds_only() -> None:
    """The leader was slow before the newcomer came; the newcomer is the slower one."""
    machine = Machine(candidates(0.030, 0.012), sigma=0.01, slow=(1.0, 1.0))
    race = Race(machine.time, Objective(), Rounds(most=5, least=8), lambda *_a: None)
    old, new = machine.truth
    race.enter(old)
    race.run(final=False)
    machine.truth = {old: 0.010, new: 0.012}
    race.enter(new)
    race.run(final=True)
    assert race.leader() == old


def test_one_alone_has_a_score_before_others_come() -> None:
    machine = Machine(candidates(0.01))
    race = Race(machine.time, Objective(), PLAN, lambda *_a: None)
    race.enter(Candidate("t0"))
    race.run(final=False)
    assert race.score(Candidate("t0")) > 0
    assert race.leader() == Candidate("t0")
    assert race.timings(Candidate("t0"))[0].rounds == PLAN.least


def test_batch_sizes_weigh_alike() -> None:
    """Twice as slow for one row and a quarter of the time for 64: better on the whole."""

    def time(candidate: Candidate, batch: int, _seconds: float, _least: int) -> list[float]:
        return [{("a", 1): 0.01, ("a", 64): 0.4, ("b", 1): 0.02, ("b", 64): 0.1}[candidate.target, batch]]

    race = Race(time, Objective(batch_sizes=(1, 64)), Rounds(drop=False, all=3), lambda *_a: None)
    race.enter(Candidate("a"))
    race.enter(Candidate("b"))
    race.run(final=True)
    assert race.leader() == Candidate("b")
    assert race.score(Candidate("a")) == pytest.approx(math.sqrt(0.01 * 0.4))
    assert [t.batch for t in race.timings(Candidate("a"))] == [1, 64]


@pytest.mark.parametrize(
    ("minimize", "figure"), [("latency_p50", 0.010), ("latency_p99", 0.5), ("seconds_per_row", 0.0025)]
)
def test_what_counts_is_what_the_objective_says(minimize: Any, figure: float) -> None:
    calls = [0.010] * 98 + [0.5, 0.5]
    race = Race(lambda *_a: calls, Objective(minimize, (4,)), Rounds(drop=False, all=3), lambda *_a: None)
    race.enter(Candidate("a"))
    race.run(final=True)
    assert race.score(Candidate("a")) == pytest.approx(figure)
    (timing,) = race.timings(Candidate("a"))
    assert (timing.p50, timing.p99, timing.calls) == (0.010, 0.5, 300)
    assert timing.rows_per_second == pytest.approx(400)


def test_a_prediction_needs_both_factors_and_takes_the_most_hopeful() -> None:
    known = {Candidate("quick"): 1.0, Candidate("quick", "int8"): 0.5, Candidate("heavy"): 4.0}
    assert predicted(known, Candidate("heavy", "int8")) == 2.0
    assert predicted(known, Candidate("heavy", "fp16")) is None
    assert predicted(known, Candidate("unknown", "int8")) is None
    more = {**known, Candidate("other"): 1.0, Candidate("other", "int8"): 0.1}
    assert predicted(more, Candidate("heavy", "int8")) == pytest.approx(0.4)
