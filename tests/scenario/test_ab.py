"""An A/B test on live traffic: users are split, do something or not, and tell it to the rollout's own address."""

from __future__ import annotations

import json
from typing import Any

import pytest

pytestmark = [pytest.mark.scenario, pytest.mark.timeout(300)]

STEPS = [{"ab": {"weight": 50, "metric": "bought", "minimum_effect": "5%", "timeout": "120s"}}]
METRICS = {"bought": {"kind": "binary", "window": "3s"}}
CHANCES = {"2": 0.2, "6": 0.4}
"""That a user buys, by the version that answered."""


def test_a_version_that_users_buy_more_with_is_promoted_and_the_result_is_said(workshop: Any, buyers: Any) -> None:
    workshop.alias("champion", 2)
    workshop.alias("challenger", 6)
    gates = {"errors": {"metric": "error_rate", "margin": "3%"}, "bought": {"metric": "mean", "of": "bought"}}
    workshop.write(steps=STEPS, metrics=METRICS, gates=gates)
    assert workshop.cli("up").returncode == 0
    with workshop.traffic(rate=150, users=10**9) as traffic, buyers(workshop, traffic, CHANCES) as told:
        done = workshop.cli("run")
    assert done.returncode == 0, done.stdout + done.stderr
    assert traffic.failures == []
    assert workshop.aliases()["champion"] == 6
    last = next(e for e in reversed(workshop.events()) if "verdict" in e)
    gates = {g["gate"]: g for g in last["verdict"]["gates"]}
    test, guard = gates["ab"], gates["bought"]
    assert (test["outcome"], guard["outcome"]) == ("pass", "pass")
    assert test["interval"][0] > 0
    assert test["interval"][0] < 1.0 < test["interval"][1]  # twice as many, and the interval knows it
    assert "bought is better with the candidate" in test["sentence"]
    assert 0.05 < test["stable"] < test["candidate"] < 0.8  # 0.2 and 0.4; what ends early saw more
    status = workshop.status()
    assert 0 < status["feedback"]["matched"] <= told.told
    assert status["feedback"].get("unmatched", 0) == 0
    verified = workshop.cli("verify", "toy", "--json")
    assert json.loads(verified.stdout)["holds"], verified.stdout
    kept = sorted(path.name for path in (workshop.root / "home" / "toy" / "feedback").iterdir())
    assert not [name for name in kept if name.startswith("toy-")]  # the ledgers went with the rollout
