"""Whatever does not come, or comes wrongly, passes nothing and breaks nothing."""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate
from math import inf, isfinite, nan
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from lockgate.monitoring.measurement import Histogram, Pairs, Reading, Spread, Tally
from lockgate.rollout.analysis.analysis import Analysis, Evidence, blind
from lockgate.rollout.analysis.words import Look
from lockgate.rollout.spec import RolloutSpec
from lockgate.rollout.verdict import Verdict
from lockgate.rollout.words import Outcome

SpecOf = Callable[..., RolloutSpec]
GATES: dict[str, dict[str, Any]] = {
    "errors": {"metric": "error_rate"},
    "errors_limit": {"metric": "error_rate", "max": "2%"},
    "p50": {"metric": "latency", "quantile": 0.5},
    "p99": {"metric": "latency"},
    "latency_limit": {"metric": "latency", "max": "1s"},
    "agreement": {"metric": "disagreement"},
    "scores": {"metric": "prediction_drift"},
    "slo": {"query": "x", "max": 0.2},
}
STEPS = ({"shadow": {"percent": 100}}, {"canary": {"weight": 5}})
EDGES = (1.0, 9.0, 10.0, 12.0, 100.0, inf)
JSON: TypeAdapter[Evidence] = TypeAdapter(Evidence)


def tally(n: int, errors: int = 0) -> Tally:
    return Tally(n, errors, Histogram(EDGES, (0, 0, n, n, n, n)))


def good(step: int = 0) -> Look:
    """Twenty of these pass everything."""
    return Look(
        step,
        0.0,
        tally(10_000),
        tally(2000),
        replicas=((5000, 0), (5000, 0)),
        pairs={"agreement": Pairs(2000)},
        spreads={"scores": Spread(("a", "b"), (1000, 1000), (1000, 1000))},
        readings={"slo": Reading(0.1)},
    )


def judged(spec: RolloutSpec, *looks: Look) -> Verdict:
    analysis = Analysis(spec)
    evidence = analysis.begin()
    for look in looks:
        evidence = JSON.validate_json(JSON.dump_json(analysis.look(evidence, look)))
    return analysis.verdict(evidence, looks[-1].step if looks else 0)


@pytest.fixture(params=["fast", "default", "strict"])
def spec(spec_of: SpecOf, request: pytest.FixtureRequest) -> RolloutSpec:
    return spec_of(*STEPS, gates=GATES, profile=request.param)


def test_what_is_good_passes(spec: RolloutSpec) -> None:
    verdict = judged(spec, *[good()] * 20)
    assert {gate.gate: str(gate.outcome) for gate in verdict.gates} == dict.fromkeys(GATES, "pass")
    assert verdict.outcome is Outcome.PASS
    assert verdict.requests == 40_000


@pytest.mark.parametrize(
    "look",
    [
        Look(0, 0.0),
        Look(0, 0.0, stable=tally(10**6)),
        Look(0, 0.0, candidate=tally(10**4)),
        Look(0, 0.0, tally(10**6), tally(1)),
        Look(0, 0.0, tally(1), tally(10**4)),
        Look(0, 0.0, tally(10**4), tally(1, 1)),
        Look(0, 0.0, Tally(40, 0, Histogram(EDGES, (0,) * 6)), Tally(40, 0, Histogram(EDGES))),
        Look(0, 0.0, readings={"slo": Reading(nan)}),
        Look(0, 0.0, readings={"slo": Reading()}),
        Look(0, 0.0, pairs={"agreement": Pairs(0, 0, 50, 0)}, spreads={"scores": Spread(("a",), (0,), (100,))}),
    ],
)
@pytest.mark.parametrize("name", list(GATES))
def test_without_data_a_gate_is_undecided(spec_of: SpecOf, name: str, look: Look) -> None:
    """Three looks of it: less than a gate needs of either side."""
    verdict = judged(spec_of(*STEPS, gates={name: GATES[name]}), look, look, look)
    # an absolute limit needs no stable, and what is compared with it may lie in one side's data alone
    if name.endswith("_limit") and look.candidate.requests > 100:
        return
    assert verdict.outcome is Outcome.UNDECIDED


@pytest.mark.parametrize("few", [tally(1), tally(49)])
@pytest.mark.parametrize("side", ["stable", "candidate"])
def test_few_requests_pass_nothing(spec_of: SpecOf, side: str, few: Tally) -> None:
    """Margins so wide that one request would do."""
    gates = {
        "errors": {"metric": "error_rate", "margin": "90%"},
        "latency": {"metric": "latency", "quantile": 0.1, "margin": "1000%"},
    }
    spec = spec_of(*STEPS, gates=gates)
    look = Look(0, 0.0, **{"stable": tally(1000), "candidate": tally(1000), side: few})
    assert {gate.outcome for gate in judged(spec, Look(0, 0.0, stable=tally(1000)), look).gates} <= (
        {Outcome.UNDECIDED} if side == "candidate" else {Outcome.UNDECIDED, Outcome.PASS}
    )
    assert judged(spec, look).outcome is Outcome.UNDECIDED


def test_one_failed_request_against_ten_thousand_good_ones_fails_nobody(spec_of: SpecOf) -> None:
    spec = spec_of(*STEPS, gates={"errors": {"metric": "error_rate", "margin": 0}})
    verdict = judged(spec, Look(0, 0.0, tally(10**5), tally(1, 1)))
    assert verdict.gates[0].harm >= verdict.gates[0].fails_from
    assert verdict.outcome is Outcome.UNDECIDED


def test_more_failures_than_requests_are_clipped(spec: RolloutSpec) -> None:
    verdict = judged(spec, Look(0, 0.0, tally(60, 70), tally(60, 70), replicas=((60, 70),)))
    assert (verdict.gates[0].candidate, verdict.gates[0].stable) == (1.0, 1.0)


def test_replicas_come_and_go(spec: RolloutSpec) -> None:
    rosters = [(), ((100, 1),), ((100, 1), (0, 0)), ((50, 0), (60, 2), (70, 0)), ((0, 0), (0, 0)), ((9, 9), (9, 0))]
    looks = [Look(0, 0.0, tally(200, 2), tally(20), replicas=roster) for roster in rosters * 10]
    effect = judged(spec, *looks).gates[0].design_effect
    assert 1 <= effect < 10


def test_the_clock_may_jump(spec: RolloutSpec) -> None:
    def verdict(*times: float) -> Verdict:
        return judged(spec, *(Look(0, at, tally(500, 1), tally(50)) for at in times))

    assert verdict(1.0, 2.0, 3.0) == verdict(5e9, -7.0, 0.0)


def test_before_the_first_look_and_in_a_step_nobody_has_seen(spec: RolloutSpec) -> None:
    assert judged(spec).outcome is Outcome.UNDECIDED
    analysis = Analysis(spec)
    evidence = analysis.begin()
    for _ in range(20):
        evidence = analysis.look(evidence, good())
    assert analysis.verdict(evidence, 1).outcome is Outcome.UNDECIDED
    assert analysis.verdict(evidence, 1).requests == 0


def test_blind_is_an_error_with_its_reason(spec: RolloutSpec) -> None:
    verdict = blind(spec, "no statistics")
    assert (verdict.outcome, verdict.reason, verdict.requests) == (Outcome.ERROR, "no statistics", 0)


COUNT = st.integers(0, 10**7)
COUNTS = st.lists(COUNT, min_size=6, max_size=6)


@given(st.lists(st.tuples(COUNTS, COUNTS, COUNT, COUNT, st.booleans(), st.integers(0, 1)), min_size=1, max_size=4))
def test_any_counts_have_a_verdict(spec_of: SpecOf, looks: list[tuple[Any, ...]]) -> None:
    spec = spec_of(*STEPS, gates=GATES, profile="strict")
    made = [
        Look(
            step,
            0.0,
            Tally(sum(one), errors, Histogram(EDGES, tuple(accumulate(one)))),
            Tally(sum(other), more, Histogram(EDGES, tuple(accumulate(other)))),
            warm=warm,
            replicas=((one[0], errors), (one[1], more)),
            pairs={"agreement": Pairs(one[2], errors, other[2], more)},
            spreads={"scores": Spread(("a", "b"), (one[0], one[1]), (other[0], other[1]))},
            readings={"slo": Reading(float(errors))},
        )
        for one, other, errors, more, warm, step in looks
    ]
    for gate in judged(spec, *made).gates:
        numbers = (gate.harm, gate.safety, gate.candidate, gate.stable, gate.limit, gate.design_effect)
        assert all(isfinite(x) for x in numbers if x is not None)
        assert min(gate.harm, gate.safety) >= 0
