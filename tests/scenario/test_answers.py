"""The shadow's answers are compared with stable's: a challenger that is healthy but wrong goes no further."""

from __future__ import annotations

import json
from typing import Any

import pytest

pytestmark = [pytest.mark.scenario, pytest.mark.timeout(300)]

STEPS = [
    {"shadow": {"percent": 100, "hold": {"min_requests": 100}, "timeout": "120s"}},
    {"canary": {"weight": 50, "hold": {"min_requests": 100}, "timeout": "90s"}},
]
GATES = {
    "errors": {"metric": "error_rate", "margin": "3%"},
    "agreement": {"metric": "disagreement", "max": "1%"},
}


@pytest.fixture
def stable(workshop: Any) -> Any:
    """Version 2 serves."""
    workshop.alias("champion", 2)
    workshop.write(steps=STEPS, gates=GATES)
    assert workshop.cli("up").returncode == 0
    return workshop


def test_two_labels_in_a_hundred_that_differ_are_rolled_back_in_shadow(stable: Any) -> None:
    """Every other request is answered twice: how noisy stable is, is soon known."""
    stable.alias("challenger", 8)
    shadow = {"shadow": STEPS[0]["shadow"] | {"echo": "50%"}}
    stable.write(steps=[shadow, STEPS[1]], gates=GATES)
    with stable.traffic(rate=200) as traffic:
        done = stable.cli("run")
    assert done.returncode == 10, done.stdout + done.stderr
    assert traffic.failures == []
    assert set(traffic.seen()) == {"2"}
    last = next(e for e in reversed(stable.events()) if "verdict" in e)
    assert last["step"] == "shadow 100 %"
    agreement = next(g for g in last["verdict"]["gates"] if g["gate"] == "agreement")
    assert agreement["outcome"] == "fail"
    assert agreement["candidate"] > 0.01
    examples = stable.status()["disagreements"]
    assert {e["gate"] for e in examples} == {"agreement"}
    for example in examples:  # they are the requests that version 8 was made to answer differently
        assert example["inputs"]["x"][3] > 2.054 if "x" in example["inputs"] else True
        assert example["stable"] != example["candidate"]
    verified = json.loads(stable.cli("verify", "toy", "--json").stdout)
    assert verified["holds"], verified


def test_numerical_noise_is_no_disagreement(stable: Any) -> None:
    stable.alias("challenger", 6)
    with stable.traffic(rate=200) as traffic:
        done = stable.cli("run")
    assert done.returncode == 0, done.stdout + done.stderr
    assert traffic.failures == []
    assert stable.aliases()["champion"] == 6
    passed = next(e for e in stable.events() if "verdict" in e)
    agreement = next(g for g in passed["verdict"]["gates"] if g["gate"] == "agreement")
    assert (agreement["outcome"], agreement["candidate"]) == ("pass", 0.0)
    assert "holds" in (verified := stable.cli("verify", "toy")).stdout
    assert verified.returncode == 0
