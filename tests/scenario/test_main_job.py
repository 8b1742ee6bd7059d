"""The main job under live traffic: promoted, or rolled back; nobody's request fails."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from itertools import pairwise
from statistics import NormalDist
from typing import Any

import pytest

pytestmark = [pytest.mark.scenario, pytest.mark.timeout(300)]

STEPS = [
    {"shadow": {"percent": 100, "hold": {"min_requests": 100}, "timeout": "90s"}},
    {"canary": {"weight": 20, "hold": {"min_requests": 100}, "timeout": "90s"}},
    {"canary": {"weight": 60, "hold": {"min_requests": 100}, "timeout": "90s"}},
]
GATES = {
    "errors": {"metric": "error_rate", "margin": "3%"},
    "latency": {"metric": "latency", "quantile": 0.9, "margin": "100%", "slack": "50ms"},
}


@pytest.fixture
def workshop(workshop: Any) -> Any:
    """With steps and gates as people write them."""
    workshop.write(steps=STEPS, gates=GATES)
    return workshop


def binomial_bounds(n: int, p: float, confidence: float = 0.9999) -> tuple[float, float]:
    """A right split leaves its 99 % bounds in one step of a hundred, as often as the salt is drawn; a test must not."""
    half = NormalDist().inv_cdf((1 + confidence) / 2) * (n * p * (1 - p)) ** 0.5 + 1
    return n * p - half, n * p + half


def step_windows(events: list[dict[str, Any]]) -> list[tuple[float, float, float]]:
    """(weight, from, to) of every step that had one; the first second belongs to the change."""
    windows = []
    for before, after in pairwise(events):
        if before["phase"] == "progressing" and before["weight_percent"]:
            windows.append((before["weight_percent"] / 100, before["at"] + 1.0, after["at"]))
    return windows


def test_a_good_challenger_gets_all_traffic_and_no_request_fails(workshop: Any) -> None:
    assert workshop.cli("up").returncode == 0
    with workshop.traffic(rate=200) as traffic:
        done = workshop.cli("run")
        promoted_at = time.time()
        workshop.until_answers(traffic, promoted_at, 200)
    assert done.returncode == 0, done.stdout + done.stderr
    assert traffic.failures == []
    assert len(traffic.answers) == traffic.asked
    assert Counter(a.request_id for a in traffic.answers).most_common(1)[0][1] == 1
    assert workshop.aliases()["champion"] == 2
    assert workshop.aliases()["previous"] == 1
    assert set(traffic.seen(promoted_at)) == {"2"}
    splits(workshop, traffic)
    users_stay(workshop, traffic)
    assert logged_once(workshop) == len(traffic.answers)


def splits(workshop: Any, traffic: Any) -> None:
    """The split of every canary step is within its bounds, per user: that is what the hash splits."""
    windows = step_windows(workshop.events())
    assert len(windows) == 2
    for weight, start, end in windows:
        users = {a.user: a.variant for a in traffic.answers if start <= a.at <= end}
        low, high = binomial_bounds(len(users), weight)
        assert low <= sum(v == "candidate" for v in users.values()) <= high


def users_stay(workshop: Any, traffic: Any) -> None:
    """Within a step a user has one variant; from step to step nobody goes back to stable."""
    before: dict[str, set[str]] = {}
    for _, start, end in step_windows(workshop.events()):
        now: dict[str, set[str]] = defaultdict(set)
        for a in traffic.answers:
            if start <= a.at <= end:
                now[a.user].add(a.variant)
        assert all(len(variants) == 1 for variants in now.values())
        moved_back = [u for u, v in before.items() if v == {"candidate"} and now.get(u) == {"stable"}]
        assert moved_back == []
        before |= now


def logged_once(workshop: Any) -> int:
    """Requests in the router's access log, each with an id of its own."""
    import json

    log = next((workshop.root / "home" / "toy" / "router").rglob("access*.json*"))
    ids = [json.loads(line)["request_id"] for line in log.read_text().splitlines()]
    assert len(set(ids)) == len(ids)
    return len(ids)


def test_a_broken_challenger_is_rolled_back_before_a_client_meets_it(workshop: Any) -> None:
    workshop.alias("challenger", 3)
    assert workshop.cli("up").returncode == 0
    with workshop.traffic() as traffic:
        done = workshop.cli("run")
        workshop.until_answers(traffic, time.time(), 50)
    assert done.returncode == 10, done.stdout + done.stderr
    assert "errors: fail" in done.stdout
    assert traffic.failures == []
    assert set(traffic.seen()) == {"1"}
    assert workshop.aliases()["champion"] == 1
    assert {r["version"] for r in workshop.replicas()} == {"1"}


def test_in_a_canary_stable_answers_what_the_candidate_fails(workshop: Any) -> None:
    workshop.alias("challenger", 3)
    workshop.write(steps=[{"canary": {"weight": 50, "hold": {"min_requests": 100}, "timeout": "90s"}}])
    assert workshop.cli("up").returncode == 0
    with workshop.traffic() as traffic:
        done = workshop.cli("run")
    assert done.returncode == 10, done.stdout + done.stderr
    assert traffic.failures == []
    assert traffic.seen()["3"] > 0


def test_without_traffic_a_step_is_undecided_and_goes_back(workshop: Any) -> None:
    workshop.write(steps=[{"canary": {"weight": 50, "timeout": "5s"}}])
    done = workshop.cli("run")
    assert done.returncode == 11, done.stdout + done.stderr
    assert "timeout" in done.stdout
    assert workshop.aliases()["champion"] == 1


def test_the_candidate_is_already_the_champion(workshop: Any) -> None:
    workshop.alias("challenger", 1)
    done = workshop.cli("run")
    assert done.returncode == 0
    assert "nothing to roll out" in done.stdout
    assert workshop.processes() == []
