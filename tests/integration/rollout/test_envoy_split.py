"""Who gets which variant: weights, sticky users, testers."""

from __future__ import annotations

from dataclasses import replace
from math import sqrt
from typing import Any

import pytest
import xxhash

from lockgate.rollout.words import WHOLE

USERS = [f"user-{i}" for i in range(10_000)]


def predicted(user: str, weight: int, salt: str = "lockgate") -> str:
    return "candidate" if xxhash.xxh64((salt + user).encode()).intdigest() % WHOLE >= WHOLE - weight else "stable"


def within(count: int, n: int, share: float, z: float = 2.576) -> bool:
    """The 99 % binomial bounds, by the normal approximation."""
    return abs(count - n * share) <= z * sqrt(n * share * (1 - share))


def test_a_user_keeps_the_variant_and_only_ever_moves_to_the_candidate(plane: Any) -> None:
    clients = plane.clients()
    before = dict.fromkeys(USERS, "stable")
    for weight in (500, 2500, 5000):
        plane.router.apply(plane.routes(weight))
        now = clients.ask(USERS)
        assert now == {user: predicted(user, weight) for user in USERS}
        moved_back = [user for user in USERS if before[user] == "candidate" and now[user] == "stable"]
        assert not moved_back
        assert within(list(now.values()).count("candidate"), len(USERS), weight / WHOLE)
        before = now
    assert clients.failed == 0


@pytest.mark.parametrize(("weight", "variant"), [(0, "stable"), (WHOLE, "candidate")])
def test_nobody_is_left_out_at_the_ends(plane: Any, weight: int, variant: str) -> None:
    plane.router.apply(plane.routes(weight))
    assert set(plane.clients().ask(USERS[:1000]).values()) == {variant}


def test_another_salt_chooses_other_users(plane: Any) -> None:
    plane.router.apply(replace(plane.routes(5000), salt="other:1"))
    got = plane.clients().ask(USERS[:500])
    assert got == {user: predicted(user, 5000, "other:1") for user in USERS[:500]}


def test_requests_without_a_user_are_split_at_random(plane: Any) -> None:
    plane.router.apply(plane.routes(2500))
    clients = plane.clients()
    clients.ask([""] * 3000)
    # Chance is real here, unlike with users: bounds that one run in 100,000 leaves.
    assert within(clients.answers[200, "candidate"], 3000, 0.25, z=4.4)
    assert clients.failed == 0


def test_the_answer_and_the_request_name_the_variant(plane: Any) -> None:
    plane.router.apply(plane.routes(WHOLE))
    answer = plane.post()[0]
    assert answer.headers["x-lockgate-variant"] == "candidate"
    assert answer.text == "candidate 2"
    assert plane.candidate.last["x-lockgate-variant"] == "candidate"
    assert plane.candidate.last["x-request-id"] == answer.headers["x-request-id"]
    assert not [
        name for name in plane.candidate.last if name.startswith("x-envoy-") and name != "x-envoy-external-address"
    ]


@pytest.mark.parametrize(("weight", "wanted"), [(0, "candidate"), (WHOLE, "stable")])
def test_a_tester_picks_the_variant_and_is_no_evidence(plane: Any, weight: int, wanted: str, eventually: Any) -> None:
    plane.router.apply(plane.routes(weight))
    answers = plane.post(times=3, x_lockgate_variant=wanted)
    assert [(a.status_code, a.text, a.headers["x-lockgate-variant"]) for a in answers] == [
        (200, f"{wanted} 2", wanted)
    ] * 3
    assert plane.post(x_lockgate_variant="neither")[0].text == ("candidate 2" if weight else "stable 2")
    counts = eventually(plane.source.measure, lambda c: c.stable.requests + c.candidate.requests > 0)
    assert counts.stable.requests + counts.candidate.requests == 1


def test_a_tester_is_answered_by_stable_while_there_is_no_candidate(plane: Any) -> None:
    plane.router.apply(replace(plane.routes(), candidate=()))
    answer = plane.post(x_lockgate_variant="candidate")[0]
    assert (answer.status_code, answer.text, answer.headers["x-lockgate-variant"]) == (200, "stable 2", "stable")


def test_a_tester_of_a_dead_candidate_is_rescued(plane: Any) -> None:
    plane.candidate.__exit__()
    answer = plane.post(x_lockgate_variant="candidate")[0]
    assert (answer.status_code, answer.text) == (200, "stable 2")
