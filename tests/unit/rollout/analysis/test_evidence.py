"""Evidence is a value: nothing is lost on the way through JSON, and looking changes nothing that was."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter

from lockgate.monitoring.measurement import Pairs, Reading, Spread
from lockgate.rollout.analysis.analysis import Analysis, Evidence
from lockgate.rollout.analysis.words import Look
from lockgate.rollout.spec import RolloutSpec

JSON: TypeAdapter[Evidence] = TypeAdapter(Evidence)
GATES: dict[str, dict[str, Any]] = {
    "errors": {"metric": "error_rate"},
    "p50": {"metric": "latency", "quantile": 0.5},
    "p99": {"metric": "latency"},
    "limit": {"metric": "latency", "max": "1s"},
    "agreement": {"metric": "disagreement"},
    "scores": {"metric": "prediction_drift"},
    "slo": {"query": "x", "max": 0.2},
}


def looks(traffic: Any) -> Iterator[Look]:
    for i in range(25):
        yield Look(
            i // 15,
            float(i),
            traffic.side(900, 0.01),
            traffic.side(100, 0.01),
            warm=i % 15 > 1,
            replicas=((450, i % 3), (450, 1)),
            pairs={"agreement": Pairs(100, i % 2, 10)},
            spreads={"scores": Spread(("a", "ü"), (40, 60), (30 + i, 70 - i))},
            readings={"slo": Reading(error="gone") if i == 24 else Reading(0.1 * (i % 2))} if i % 3 == 0 else {},
            blind={"slo": "no Prometheus"} if i == 7 else {},
        )


@pytest.fixture(params=["fast", "default", "strict"])
def analysis(spec_of: Callable[..., RolloutSpec], request: pytest.FixtureRequest) -> Analysis:
    steps = ({"shadow": {"percent": 100}}, {"canary": {"weight": 5}})
    return Analysis(spec_of(*steps, gates=GATES, profile=request.param))


def test_every_bit_survives_json(analysis: Analysis, traffic: Any) -> None:
    """Looks that go on from what was stored say what looks that never stopped say."""
    kept = through = analysis.begin()
    for look in looks(traffic):
        kept = analysis.look(kept, look)
        text = JSON.dump_json(analysis.look(through, look))
        through = JSON.validate_json(text)
        assert through == kept
        assert JSON.validate_python(json.loads(text)) == kept
        assert not {"Infinity", "NaN", "-Infinity"} & set(json.dumps(json.loads(text)).replace('"', " ").split())
        assert analysis.verdict(through, look.step) == analysis.verdict(kept, look.step)
    assert kept.looks == 25


def test_it_is_small(analysis: Analysis, traffic: Any) -> None:
    evidence = analysis.begin()
    for look in looks(traffic):
        evidence = analysis.look(evidence, look)
    assert len(JSON.dump_json(evidence)) < 16_000


def test_looking_changes_nothing_that_was(analysis: Analysis, traffic: Any) -> None:
    before = analysis.begin()
    empty = JSON.dump_json(before)
    for look in looks(traffic):
        analysis.look(before, look)
        analysis.verdict(before, 1)
        assert JSON.dump_json(before) == empty


def test_numbers_are_numbers(analysis: Analysis, traffic: Any) -> None:
    evidence = analysis.begin()
    for look in looks(traffic):
        evidence = analysis.look(evidence, look)
    for kept in evidence.kept.values():
        for numbers in kept.numbers.values():
            assert all(type(x) is float for x in numbers)
            assert np.isfinite(numbers).all()
