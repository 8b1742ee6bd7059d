"""What the candidate fails is answered by stable, and counted once against the candidate."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import Any

import httpx
import pytest

from lockgate.rollout.words import WHOLE, Counts

N = 5
MIB = 2**20


def misbehave(plane: Any, how: str) -> None:
    if how == "dead":
        plane.candidate.__exit__()
    elif how == "late":
        plane.candidate.delay = 1.0
    else:
        plane.candidate.mode = how


@pytest.mark.parametrize("how", ["fail", "reset", "dead", "hang", "late"])
def test_no_client_sees_it_and_it_counts_once(plane: Any, how: str) -> None:
    plane.router.apply(plane.routes(WHOLE))
    misbehave(plane, how)
    answers = plane.post(times=N)
    assert [(a.status_code, a.text) for a in answers] == [(200, "stable 2")] * N
    counts = plane.source.measure()
    assert (counts.candidate.requests, counts.candidate.errors) == (N, N)
    assert (counts.stable.requests, counts.stable.errors) == (0, 0)


@pytest.mark.parametrize("how", ["ok", "teapot"])
def test_what_the_candidate_answers_is_no_error(plane: Any, how: str) -> None:
    plane.router.apply(plane.routes(WHOLE))
    misbehave(plane, how)
    assert {a.text for a in plane.post(times=N)} == {"candidate 2"}
    counts = plane.source.measure()
    assert (counts.candidate.requests, counts.candidate.errors) == (N, 0)


@pytest.mark.parametrize("how", ["fail", "dead"])
def test_when_both_fail_it_counts_once(plane: Any, how: str) -> None:
    plane.router.apply(plane.routes(WHOLE))
    misbehave(plane, how)
    plane.stable.mode = "fail"
    assert {a.status_code for a in plane.post(times=N)} == {500}
    counts = plane.source.measure()
    assert (counts.candidate.requests, counts.candidate.errors) == (N, N)


@pytest.mark.parametrize(("how", "seen"), [("fail", 500), ("reset", 503)])
def test_stables_own_errors_count_once_and_reach_the_client(plane: Any, how: str, seen: int) -> None:
    plane.stable.mode = how
    assert {a.status_code for a in plane.post(times=N)} == {seen}
    counts = plane.source.measure()
    assert (counts.stable.requests, counts.stable.errors) == (N, N)
    assert counts.candidate.requests == 0


def test_the_candidates_deadline_is_not_stables(plane: Any) -> None:
    """A retry policy's per_try_timeout would end stable's attempt as well, and a slow stable could rescue nobody."""
    plane.router.apply(plane.routes(WHOLE))
    plane.candidate.mode = "hang"
    plane.stable.delay = 2 * plane.traffic.failover.deadline
    assert {(a.status_code, a.text) for a in plane.post(times=2)} == {(200, "stable 2")}
    plane.router.apply(plane.routes(0))
    hits = plane.stable.hits
    assert {a.status_code for a in plane.post(times=2)} == {200}
    assert plane.stable.hits == hits + 2


def test_a_rescue_after_the_deadline_is_slow(plane: Any) -> None:
    plane.router.apply(plane.routes(WHOLE))
    plane.candidate.mode = "hang"
    plane.post(times=N)
    counts = plane.counted(lambda c: c.candidate.latency.total == N)
    assert counts.candidate.latency.above(400) == N


def test_a_timeout_of_stable_is_an_error_and_slow(plane: Any) -> None:
    quick = plane.traffic.model_copy(update={"timeout": 0.5})
    router = type(plane.router)(plane.router.at.path, quick)
    router.apply(plane.routes())
    plane.post(times=N)
    plane.stable.mode = "hang"
    assert {a.status_code for a in plane.post(times=N)} == {504}
    counts = plane.counted(lambda c: c.stable.latency.total == 2 * N)
    assert (counts.stable.requests, counts.stable.errors) == (2 * N, N)
    assert counts.stable.latency.above(20_000) == N


def test_an_edge_means_what_it_says(plane: Any, eventually: Any) -> None:
    """Envoy's own `le` of n milliseconds holds all below n + 1."""
    n = 300
    with httpx.Client(trust_env=False) as client:
        for i in range(n):
            plane.stable.delay = i % 10 / 1000
            client.get(plane.url)
    latency = plane.counted(lambda c: c.stable.latency.total == n).stable.latency
    log = eventually(lambda: plane.router.at.access_log.read_text().splitlines(), lambda rows: len(rows) == n)
    rows = [json.loads(row) for row in log]
    # The log has a clock that starts later and ends sooner than the histogram's, and one that does the opposite.
    for edge, count in list(zip(latency.edges, latency.counts, strict=True))[:10]:
        assert count >= sum(row["duration_us"] < edge * 1000 for row in rows) - 1
        assert count <= sum(row["upstream_us"] < edge * 1000 for row in rows) + 1


def test_a_body_above_envoys_default_is_rescued_too(plane: Any) -> None:
    """Envoy keeps 1 MiB for a second attempt unless it is told otherwise."""
    plane.router.apply(plane.routes(WHOLE))
    plane.candidate.mode = "fail"
    body = b"x" * (4 * MIB)
    assert plane.post(body)[0].text == f"stable {len(body)}"
    assert plane.post(b"x" * (plane.traffic.max_body + 1))[0].status_code == 413


def test_a_client_cannot_switch_the_rescue_off(plane: Any) -> None:
    plane.router.apply(plane.routes(WHOLE))
    plane.candidate.mode = "fail"
    headers = {"x_envoy_max_retries": "0", "x_envoy_upstream_rq_timeout_ms": "1"}
    assert plane.post(**headers)[0].text == "stable 2"


def test_a_candidate_that_hangs_under_load_costs_no_request(plane: Any, eventually: Any) -> None:
    plane.router.apply(plane.routes(5000))
    clients = plane.clients()
    with clients.load(connections=32):
        eventually(lambda: clients.sent, lambda sent: sent > 200)
        plane.candidate.mode = "hang"
        eventually(plane.source.measure, lambda c: c.candidate.errors > 100)
        plane.candidate.__exit__()
        eventually(plane.source.measure, lambda c: c.candidate.errors > 500)
    assert clients.failed == 0
    counts = plane.source.measure()
    assert counts.stable.requests == clients.answers[200, "stable"]
    assert counts.candidate.requests == clients.answers[200, "candidate"]


def shadowed(counts: Counts) -> tuple[int, int]:
    return counts.shadow.requests, counts.shadow.errors


@pytest.mark.parametrize(
    ("how", "errors"), [("ok", 0), ("teapot", 0), ("fail", N), ("reset", N), ("dead", N), ("hang", N), ("late", N)]
)
def test_each_copy_counts_once(plane: Any, how: str, errors: int) -> None:
    plane.router.apply(plane.routes(mirror=WHOLE))
    misbehave(plane, how)
    answers = plane.post(times=N)
    assert [(a.status_code, a.text) for a in answers] == [(200, "stable 2")] * N
    counts = plane.counted(lambda c: shadowed(c)[0] >= N)
    assert shadowed(counts) == (N, errors)
    assert (counts.stable.requests, counts.stable.errors, counts.candidate.requests) == (N, 0, 0)


def test_a_copy_that_is_late_is_slow(plane: Any) -> None:
    plane.router.apply(plane.routes(mirror=WHOLE))
    plane.post(times=N)
    plane.counted(lambda c: c.shadow.latency.total == N)
    plane.candidate.mode = "hang"
    plane.post(times=N)
    counts = plane.counted(lambda c: c.shadow.latency.total == 2 * N)
    assert counts.shadow.latency.above(20_000) == N


def test_copies_that_envoy_sheds_are_no_errors(plane: Any, eventually: Any) -> None:
    plane.router.apply(plane.routes(mirror=WHOLE))
    plane.candidate.delay = 0.2  # within the deadline, but 32 connections of the shadow are soon busy
    overflow = "cluster.shadow.upstream_rq_pending_overflow"
    clients = plane.clients()
    with clients.load(connections=8):
        shed = lambda: int(plane.router.admin.numbers_and_texts(f"^{overflow}$")[overflow])  # noqa: E731
        eventually(shed, lambda n: n > 20)
    assert clients.failed == 0
    # A copy that waited in the queue for a connection may miss its deadline; one that was shed is not counted at all.
    counts = plane.counted(lambda c: c.shadow.requests >= 64)
    assert counts.shadow.requests + shed() <= counts.stable.requests
    assert counts.shed == shed()
    assert counts.shadow.errors == 0


def test_the_copy_is_marked_and_carries_no_credentials(plane: Any, eventually: Any) -> None:
    plane.router.apply(plane.routes(mirror=WHOLE))
    answer = plane.post(authorization="Bearer secret", x_lockgate_shadow="1")[0]
    eventually(lambda: plane.candidate.hits, lambda hits: hits == 1)
    copy, original = plane.candidate.last, plane.stable.last
    assert (copy["x-lockgate-shadow"], copy["x-lockgate-variant"]) == ("1", "candidate")
    assert copy["x-request-id"] == original["x-request-id"] == answer.headers["x-request-id"]
    assert "authorization" not in copy
    assert original["authorization"] == "Bearer secret"
    assert "x-lockgate-shadow" not in original


def test_a_testers_request_is_marked_for_whoever_captures_it(plane: Any) -> None:
    plane.router.apply(plane.routes())
    plane.post(x_lockgate_variant="candidate", x_lockgate_shadow="1")
    assert (plane.candidate.last["x-lockgate-shadow"], plane.candidate.last["x-lockgate-variant"]) == (
        "forced",
        "candidate",
    )


def test_an_echo_is_stables_second_answer_and_no_evidence(plane: Any, eventually: Any) -> None:
    plane.router.apply(replace(plane.routes(mirror=WHOLE), echo=WHOLE))
    original = plane.post()[0]
    eventually(lambda: plane.stable.hits, lambda hits: hits == 2)
    copy = plane.stable.last
    assert (copy["x-lockgate-shadow"], copy["x-lockgate-variant"]) == ("echo", "stable")
    assert copy["x-request-id"] == original.headers["x-request-id"]
    counts = plane.counted(lambda c: c.shadow.requests == 1)
    assert counts.stable.requests == 1
    assert [(r.requests, r.errors) for r in counts.replicas] == [(1, 0)]


def test_only_the_wanted_share_is_copied(plane: Any) -> None:
    plane.router.apply(plane.routes(mirror=2500))
    clients = plane.clients()
    clients.ask([""] * 2000)
    counts = plane.counted(lambda c: c.stable.requests == 2000)
    assert 400 < counts.shadow.requests < 600


def test_a_shadow_that_never_reads_blocks_nobody(plane: Any) -> None:
    """Copies are streamed beside the original: unless the whole body fits the shadow's buffer, the client waits."""
    slow = plane.traffic.model_copy(update={"failover": plane.traffic.failover.model_copy(update={"deadline": 7.0})})
    router = type(plane.router)(plane.router.at.path, slow)
    plane.candidate.__exit__()
    plane.candidate.mode = "stall"
    with plane.candidate:
        router.apply(replace(plane.routes(mirror=WHOLE), candidate=(plane.candidate.endpoint,)))
        body = b"x" * (8 * MIB)
        began = time.monotonic()
        assert [a.text for a in plane.post(body, times=4)] == [f"stable {len(body)}"] * 4
        took = time.monotonic() - began
    # Blocked, each would take the shadow's deadline: 28 s. The machine may be slow, but not by that much.
    assert took < slow.failover.deadline
