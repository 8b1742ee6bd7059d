"""Two challengers in one A/B test on live traffic: the better one wins, whichever it is."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import httpx
import pytest

pytestmark = [pytest.mark.scenario, pytest.mark.timeout(300)]

STEPS = [{"ab": {"weight": 60, "metric": "bought", "timeout": "150s", "others": ["small"]}}]
METRICS = {"bought": {"kind": "binary", "window": "3s"}}
CHANCES = {"2": 0.2, "6": 0.05, "1": 0.6}
"""That a user buys, by the version that answered: the candidate is worse than stable, and the other one better."""


def test_the_better_one_is_promoted_and_the_worse_one_dropped(workshop: Any, buyers: Any) -> None:
    workshop.alias("champion", 2)
    workshop.alias("challenger", 6)
    workshop.spec["model"] = {"name": "toy", "others": {"small": 1}}
    workshop.write(steps=STEPS, metrics=METRICS, gates={"errors": {"metric": "error_rate", "margin": "5%"}})
    assert workshop.cli("up").returncode == 0
    with workshop.traffic(rate=150, users=10**9) as traffic, buyers(workshop, traffic, CHANCES):
        run = workshop.start("run")
        workshop.until("small answers", lambda: any(a.variant == "small" for a in traffic.answers), 120)
        forced = httpx.post(
            workshop.url, json={"inputs": [[0, 0, 0, 0]]}, headers={"x-lockgate-variant": "small"}, trust_env=False
        )
        assert (forced.headers["x-lockgate-variant"], forced.headers["x-lockgate-version"]) == ("small", "1")
        assert run.wait(200) == 0
    assert traffic.failures == []
    assert workshop.aliases()["champion"] == 1
    answered = Counter(a.variant for a in traffic.answers)
    assert answered["small"] > 0
    assert answered["candidate"] > 0
    last = next(e for e in reversed(workshop.events()) if "verdict" in e)
    assert last["verdict"]["winner"] == "small"
    assert last["verdict"]["dropped"] == ["candidate"]
    status = workshop.status()
    assert status["winner"] == "small"
    assert {info["version"] for info in workshop.replicas()} == {"1"}  # the others are gone
    verified = workshop.cli("verify", "toy", "--json")
    assert json.loads(verified.stdout)["holds"], verified.stdout
