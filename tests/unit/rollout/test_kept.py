"""What is kept beside the log is read back as it was, whatever was counted: no number becomes null on its way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import reduce
from math import inf
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lockgate.monitoring.measurement import Arm, Arrivals, Group, Histogram, Pairs, Reading, Spread, Tally
from lockgate.rollout.analysis.analysis import Analysis
from lockgate.rollout.analysis.words import Beside, Look, Run
from lockgate.rollout.progress import Progress
from lockgate.rollout.spec import RolloutSpec
from lockgate.rollout.store import Rollout, Store
from lockgate.rollout.words import Counts

SPEC = RolloutSpec.model_validate(
    {
        "steps": [
            {"shadow": {}},
            {"canary": {"weight": 5, "timeout": "8d"}},
            {"ab": {"weight": 40, "metric": "sold", "timeout": "7d", "others": ["small"]}},
        ],
        "gates": {
            "errors": {"metric": "error_rate"},
            "most": {"metric": "error_rate", "max": "1%"},
            "latency": {"metric": "latency"},
            "slowest": {"metric": "latency", "max": "80ms"},
            "agreement": {"metric": "disagreement"},
            "scores": {"metric": "prediction_drift"},
            "slo": {"query": "up", "min": 1.0},
        },
        "metrics": {"sold": {"kind": "binary"}},
    }
)
MANY = st.one_of(st.integers(0, 50), st.integers(0, 10**12))
EDGES = (1.0, 2.5, 10.0, 100.0, inf)


@st.composite
def tallies(draw: Any) -> Tally:
    counts = tuple(sorted(draw(st.lists(MANY, min_size=len(EDGES), max_size=len(EDGES)))))
    return Tally(counts[-1], draw(st.integers(0, counts[-1])), Histogram(EDGES, counts))


@st.composite
def groups(draw: Any) -> Group:
    n, m = draw(MANY), draw(MANY)
    k, j = draw(st.integers(0, n)), draw(st.integers(0, m))
    return Group(draw(SHARES), Arm(n, float(k), float(k)), Arm(m, float(j), float(j)))


SHARES = st.sampled_from([0.0, 1e-4, 0.05, 0.5, 1.0])
ARRIVALS = st.builds(Arrivals, SHARES, MANY, MANY).map(lambda one: (one,))
REWARDS = groups().map(lambda one: {"sold": (one,)})
ANY = st.floats(allow_nan=False, allow_infinity=False)  # as Prometheus's are read
TICKS = st.lists(st.tuples(st.integers(1, 50), st.just(20), st.integers(0, 20)), max_size=3).map(tuple)
RUNS = st.builds(Run, number=st.integers(0, 9), opening=st.integers(0, 9), since=st.floats(0, 1e9), ticks=TICKS)
LOOKS = st.builds(
    Look,
    step=st.integers(0, 2),
    at=st.floats(0, 1e10),
    stable=tallies(),
    candidate=tallies(),
    warm=st.booleans(),
    replicas=st.lists(st.tuples(MANY, st.integers(0, 5)), max_size=3).map(tuple),
    pairs=st.builds(Pairs, MANY, st.integers(0, 20), MANY, st.integers(0, 20)).map(lambda p: {"agreement": p}),
    spreads=st.tuples(MANY, MANY, MANY, MANY).map(lambda n: {"scores": Spread(("0.5", "inf"), n[:2], n[2:])}),
    readings=st.builds(Reading, st.none() | ANY).map(lambda r: {"slo": r}),
    rewards=REWARDS,
    arrivals=ARRIVALS,
    run=RUNS,
    others=st.builds(Beside, tallies(), REWARDS, ARRIVALS, RUNS).map(lambda one: {"small": one}),
)


@pytest.fixture
def memory() -> Iterator[Store]:
    store = Store("sqlite://")
    yield store
    store.close()


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(LOOKS, min_size=1, max_size=5))
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # such numbers never come; what becomes of them is kept anyway
def test_progress_is_read_back_as_it_was(memory: Store, rollout_of: Callable[..., Rollout], looks: list[Look]) -> None:
    rollout = rollout_of(SPEC)
    memory.open(rollout, 1.0)
    memory.close_rollout(rollout.id, 2.0)
    analysis = Analysis(SPEC)
    evidence = analysis.begin()
    for look in sorted(looks, key=lambda one: one.step):
        evidence = analysis.look(evidence, look)
        verdict = analysis.verdict(evidence, look.step, ())
        counts = Counts(look.stable, look.candidate, others={"small": look.others["small"].tally})
        progress = Progress(look.step, look.at, evidence, counts, counts, verdict, shares=((look.at, 0.05),))
        memory.save_progress(rollout.id, progress, look)
        assert memory.progress(rollout.id) == progress
    assert reduce(analysis.look, memory.looks(rollout.id), analysis.begin()) == evidence  # also when it is lost
