"""Simulations whose looks are so small that they cost nothing: what the statistic alone needs, in requests."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from benchmarks.detection.bounds import conditional, sprt
from benchmarks.detection.cases import FAULTS, Size
from benchmarks.detection.ours import Judge, spec
from benchmarks.detection.rows import Row, seeded, summarised
from benchmarks.detection.traffic import Cell, Law, Traffic
from lockgate.rollout.analysis.forecast import forecast
from lockgate.rollout.analysis.forecast_traffic import Traffic as Expected
from lockgate.rollout.profile import PROFILES
from lockgate.rollout.spec import RolloutSpec

MARGIN = 0.005


def bound(size: Size, weight: float, name: str) -> list[Row]:
    """Requests until a rollback, beside what no test can beat at the profile's alpha."""
    sides = FAULTS[name]
    judges = {profile: Judge(spec("errors", (weight,), profile), size.faults) for profile in size.profiles}
    traffic = _traffic(weight, sides, size.faults)
    traffic.begin(seeded("bound", weight, name), size.requests)
    for requests in _looks(size.requests):
        waiting = [judge for judge in judges.values() if not judge.done]
        if not waiting:
            break
        split = traffic.take(requests)
        for judge in waiting:
            judge.look(split)
    row = Row("bound", name, "", 0, weight, 0, 0)
    rates = (sides[0].errors, sides[1].errors)
    rows = []
    for alpha in sorted({PROFILES[profile].alpha for profile in size.profiles}, reverse=True):
        for rule, least in (
            ("an SPRT that knows both rates", sprt(*rates, alpha)),
            ("a test that learns stable's", conditional(*rates, weight, alpha)),
        ):
            rows.append(replace(row, rule=f"bound at {alpha:.0%}: {rule}", share=1.0, median=least, bound=least))
    for profile, judge in judges.items():
        least = sprt(*rates, PROFILES[profile].alpha)
        rows.append(summarised(replace(row, rule=f"Lockgate {profile}", bound=least), judge.failed))
    return rows


def passing(size: Size, weight: float, share: float) -> list[Row]:
    """Requests until a candidate with stable's `share` of errors passes, and how often one at the margin does.

    The bound of the former is what `lockgate plan` expects.
    """
    rows = []
    of = spec("errors", (weight,), "default")
    row = Row("passing", "", "Lockgate default", 0, weight, 0, 0)
    for case, more in (("equal", 0.0), ("at the margin", MARGIN)):
        rollouts = size.aa if more else size.faults
        judge = Judge(of, rollouts)
        traffic = _traffic(weight, (Law(share), Law(share + more)), rollouts)
        traffic.begin(seeded("passing", weight, share, case), size.requests)
        for requests in _looks(size.requests / 3 if more else size.requests):
            judge.look(traffic.take(requests))
            if judge.all_passed:
                break
        planned = None if more else _planned(of, weight, share)
        rows.append(summarised(replace(row, case=f"{case}, stable {share:.1%}", bound=planned), judge.passed))
    return rows


def _planned(of: RolloutSpec, weight: float, share: float) -> float | None:
    """The median of candidate requests until a pass, at ten of them a second."""
    expected = forecast(of, Expected(10 / weight, share)).steps[0].gates[0].requests
    return expected.median if expected else None


def _traffic(weight: float, sides: tuple[Law, Law], rollouts: int) -> Traffic:
    """One candidate request a second."""
    return Traffic(Cell(1 / weight, weight), sides, rollouts, latency=False)


def _looks(most: float) -> Iterator[float]:
    """About two candidate requests, later a hundredth of those so far."""
    so_far = 0.0
    while so_far < most:
        requests = max(2.0, so_far // 100)
        so_far += requests
        yield requests
