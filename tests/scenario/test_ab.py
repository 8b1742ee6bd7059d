"""An A/B test on live traffic: users are split, do something or not, and tell it to the rollout's own address."""

from __future__ import annotations

import json
import random
import threading
from typing import Any, Self

import pytest

from lockgate.monitoring.feedback.client import Feedback

pytestmark = [pytest.mark.scenario, pytest.mark.timeout(300)]

STEPS = [{"ab": {"weight": 50, "metric": "bought", "minimum_effect": "5%", "timeout": "120s"}}]
METRICS = {"bought": {"kind": "binary", "window": "3s"}}
CHANCES = {"2": 0.2, "6": 0.4}
"""That a user buys, by the version that answered."""


class Buyers:
    """Users who buy after they were answered, and whoever tells it: by user, or by the request's id."""

    def __init__(self, url: str, traffic: Any) -> None:
        self.told = 0
        self._url, self._traffic = url, traffic
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="buyers")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        seen, dice = 0, random.Random(5)
        with Feedback(self._url) as feedback:
            while not self._stop.wait(0.2):
                answers = self._traffic.answers[seen:]
                seen += len(answers)
                rows = [
                    {"metric": "bought", "value": 1, **({"user": a.user} if i % 2 else {"request_id": a.request_id})}
                    for i, a in enumerate(answers)
                    if dice.random() < CHANCES[a.version]
                ]
                if rows:
                    feedback.send_many(rows)
                    self.told += len(rows)


def test_a_version_that_users_buy_more_with_is_promoted_and_the_result_is_said(workshop: Any) -> None:
    workshop.alias("champion", 2)
    workshop.alias("challenger", 6)
    gates = {"errors": {"metric": "error_rate", "margin": "3%"}, "bought": {"metric": "mean", "of": "bought"}}
    workshop.write(steps=STEPS, metrics=METRICS, gates=gates)
    assert workshop.cli("up").returncode == 0
    url = f"http://127.0.0.1:{workshop.port}/feedback"
    with workshop.traffic(rate=150, users=10**9) as traffic, Buyers(url, traffic) as buyers:
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
    assert 0.1 < test["stable"] < 0.3 < test["candidate"] < 0.5
    status = workshop.status()
    assert 0 < status["feedback"]["matched"] <= buyers.told
    assert status["feedback"].get("unmatched", 0) == 0
    verified = workshop.cli("verify", "toy", "--json")
    assert json.loads(verified.stdout)["holds"], verified.stdout
    kept = sorted(path.name for path in (workshop.root / "home" / "toy" / "feedback").iterdir())
    assert not [name for name in kept if name.startswith("toy-")]  # the ledgers went with the rollout
