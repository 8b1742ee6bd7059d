"""Live inputs that are no longer those of the training data hold a rollout, and never roll it back."""

from __future__ import annotations

import json
from typing import Any

import pytest

pytestmark = [pytest.mark.scenario, pytest.mark.timeout(300)]

STEPS = [
    {"shadow": {"percent": 100, "hold": {"min_requests": 50}, "timeout": "30s"}},
    {"canary": {"weight": 50, "hold": {"min_requests": 50, "duration": "15s"}, "timeout": "60s"}},
]


def test_drift_holds_the_rollout_until_it_is_over(workshop: Any) -> None:
    """For longer than the step's timeout: the time that it was held is not the candidate's."""
    workshop.alias("challenger", 9)
    workshop.spec["monitoring"] = {"drift": {"every": "10s", "window": 1000}}
    workshop.write(steps=STEPS)
    assert workshop.cli("up").returncode == 0
    with workshop.traffic(rate=150) as traffic:
        traffic.unit = 1.609
        workshop.until("a window of drifted inputs", lambda: len(traffic.answers) > 600 or traffic.failures)
        run = workshop.start("run")
        workshop.until("the rollout is held", lambda: workshop.status().get("held"), 120, every=1)
        seen = workshop.cli("drift", "--json")
        assert seen.returncode == 15, seen.stderr
        assert json.loads(seen.stdout)["drifting"]
        traffic.unit = 1.0
        assert run.wait(150) == 0
    assert traffic.failures == []
    assert workshop.aliases()["champion"] == 9
    drifted = [e for e in workshop.events() if e["what"].startswith("drift")]
    assert len(drifted) == 2
    assert drifted[0]["reason"].startswith("4 of 4 inputs drift")
    assert all(e["phase"] != "rolling_back" for e in workshop.events())
