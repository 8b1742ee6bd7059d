"""With `failover: {methods: [GET]}` no other request is sent a second time, and each of its failures counts once."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import httpx
import pytest

from lockgate.rollout.envoy import process
from lockgate.rollout.spec import Traffic
from lockgate.rollout.words import WHOLE, Counts, Other, Routes

N = 2
MIB = 2**20


def only(traffic: Traffic, *methods: str) -> Traffic:
    return traffic.model_copy(update={"failover": traffic.failover.model_copy(update={"methods": methods})})


@pytest.fixture
def traffic(traffic: Traffic) -> Traffic:
    return only(traffic, "GET", "HEAD")


@pytest.fixture
def small(upstream: Any) -> Iterator[Any]:
    with upstream("small") as it:
        yield it


def send(plane: Any, method: str, times: int = N, body: bytes = b"[]", **headers: str) -> list[tuple[int, str]]:
    """Statuses, and texts of what a model answered; 0 where the answer broke off."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    found = []
    with httpx.Client(trust_env=False, timeout=30) as client:
        for _ in range(times):
            try:
                answer = client.request(method, plane.url, content=body, headers=named)
                model = "error" not in answer.text
                found.append((answer.status_code, answer.text if model else ""))
            except httpx.RemoteProtocolError:
                found.append((0, ""))
    return found


def misbehave(side: Any, how: str) -> None:
    if how == "dead":
        side.__exit__()
    elif how == "late":
        side.delay = 1.0
    else:
        side.mode = how


def counted(counts: Counts) -> tuple[tuple[int, int], tuple[int, int]]:
    return (counts.candidate.requests, counts.candidate.errors), (counts.stable.requests, counts.stable.errors)


@pytest.mark.parametrize(
    ("how", "seen", "attempts"),
    [
        ("ok", (200, "candidate 2"), (N, 0)),
        ("teapot", (418, "candidate 2"), (N, 0)),
        ("fail", (500, "candidate 2"), (N, 0)),
        ("reset", (503, ""), (N, 0)),
        ("hang", (504, ""), (N, 0)),
        ("late", (504, ""), (N, 0)),
        ("dead", (200, "stable 2"), (0, N)),  # it was never sent, and may be
    ],
)
def test_another_method_is_sent_once_and_counts_once(
    how: str, seen: tuple[int, str], attempts: tuple[int, int], plane: Any
) -> None:
    plane.router.apply(plane.routes(WHOLE))
    misbehave(plane.candidate, how)
    assert send(plane, "POST") == [seen] * N
    assert (plane.candidate.hits, plane.stable.hits) == attempts
    bad = 0 if how in ("ok", "teapot") else N
    assert counted(plane.source.measure()) == ((N, bad), (0, 0))
    if how in ("hang", "late"):
        plane.counted(lambda c: c.candidate.latency.above(20_000) == N)


@pytest.mark.parametrize("how", ["fail", "reset", "hang", "dead"])
def test_a_listed_method_is_rescued_as_ever(how: str, plane: Any) -> None:
    plane.router.apply(plane.routes(WHOLE))
    misbehave(plane.candidate, how)
    assert send(plane, "GET") == [(200, "stable 2")] * N
    assert plane.stable.hits == N
    assert counted(plane.source.measure()) == ((N, N), (0, 0))


@pytest.mark.parametrize(
    ("how", "method", "hits", "status"),
    [
        ("reset", "POST", N, 503),
        ("reset", "GET", 2 * N, 503),
        ("fail", "POST", N, 500),
        ("dead", "POST", 0, 503),
    ],
)
def test_stable_is_asked_again_only_where_that_is_safe(
    how: str, method: str, hits: int, status: int, plane: Any
) -> None:
    misbehave(plane.stable, how)
    assert {code for code, _ in send(plane, method)} == {status}
    assert plane.stable.hits == hits
    assert counted(plane.source.measure()) == ((0, 0), (N, N))


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("how", ["break", "trickle"])
def test_an_answer_that_has_begun_is_nobody_elses_any_more(how: str, method: str, plane: Any) -> None:
    """Killed in the middle of it, or late with its end: the client has its first half, and sees that it broke off."""
    plane.router.apply(plane.routes(WHOLE))
    plane.candidate.mode = how
    assert send(plane, method, 1) == [(0, "")]
    assert (plane.candidate.hits, plane.stable.hits) == (1, 0)


@pytest.mark.parametrize(("how", "seen"), [("fail", "candidate"), ("dead", "stable")])
def test_a_large_body_is_sent_once_and_whole(how: str, seen: str, plane: Any) -> None:
    plane.router.apply(plane.routes(WHOLE))
    misbehave(plane.candidate, how)
    body = b"x" * (4 * MIB)
    assert [text for _, text in send(plane, "POST", 1, body)] == [f"{seen} {len(body)}"]
    assert plane.candidate.hits + plane.stable.hits == 1


@pytest.mark.parametrize(("how", "status"), [("fail", 500), ("hang", 504)])
def test_of_several_each_has_its_own(how: str, status: int, plane: Any, small: Any) -> None:
    routes = replace(plane.routes(), others=(Other("small", (small.endpoint,), WHOLE),))
    plane.router.apply(routes)
    small.mode = how
    assert send(plane, "POST", 1)[0][0] == status
    assert send(plane, "GET", 1) == [(200, "stable 2")]
    assert (small.hits, plane.stable.hits) == (2, 1)
    counts = plane.source.measure()
    assert (counts.others["small"].requests, counts.others["small"].errors) == (2, 2)
    assert counted(counts) == ((0, 0), (0, 0))
    plane.router.apply(plane.routes())
    assert send(plane, "POST") == [(200, "stable 2")] * N


def test_testers_are_sent_once_too_and_are_no_evidence(plane: Any) -> None:
    plane.candidate.mode = "hang"
    assert send(plane, "POST", 1, x_lockgate_variant="candidate") == [(504, "")]
    assert send(plane, "GET", 1, x_lockgate_variant="candidate") == [(200, "stable 2")]
    plane.candidate.mode = "fail"
    assert send(plane, "POST", 1, x_lockgate_variant="candidate") == [(500, "candidate 2")]
    assert (plane.candidate.hits, plane.stable.hits) == (3, 1)
    assert counted(plane.source.measure()) == ((0, 0), (0, 0))


def test_a_user_has_one_variant_whatever_the_method(plane: Any) -> None:
    plane.router.apply(plane.routes(5000))
    with httpx.Client(trust_env=False) as client:
        for user in map(str, range(40)):
            headers = {"x-user-id": user}
            variants = {
                client.request(m, plane.url, headers=headers).headers["x-lockgate-variant"]
                for m in ("GET", "POST", "PUT")
            }
            assert len(variants) == 1
    (mine, _), (theirs, _) = counted(plane.source.measure())
    assert (mine, theirs) == (plane.candidate.hits, plane.stable.hits)
    assert mine + theirs == 120


def test_with_none_listed_nothing_is_sent_twice(plane: Any) -> None:
    router = type(plane.router)(plane.router.at.path, only(plane.traffic))
    router.start(plane.routes())
    router.apply(plane.routes(WHOLE))
    plane.candidate.mode = "fail"
    assert send(plane, "GET") == [(500, "candidate 2")] * N
    assert plane.stable.hits == 0


def test_other_methods_may_be_listed_while_it_runs(plane: Any) -> None:
    """And back, under load, with a body on its way."""
    every = plane.traffic.model_copy(update={"failover": plane.traffic.failover.model_copy(update={"methods": "all"})})
    clients = plane.clients()
    plane.router.apply(plane.routes(5000))
    with clients.load():
        for traffic in (every, plane.traffic, every, only(plane.traffic, "PUT")):
            router = type(plane.router)(plane.router.at.path, traffic)
            router.start(Routes((plane.stable.endpoint,)))
            assert router.applied() == plane.routes(5000)
    assert clients.failed == 0
    counts = plane.source.measure()
    assert counts.candidate.errors == counts.stable.errors == 0


@pytest.mark.parametrize("after", ["all", ("PUT",)])
def test_one_that_died_starts_with_other_methods(after: Any, plane: Any) -> None:
    plane.router.apply(plane.routes(WHOLE))
    found = process.find(plane.router.at)
    assert found is not None
    process.end(found, plane.router.at)
    failover = plane.traffic.failover.model_copy(update={"methods": after})
    router = type(plane.router)(plane.router.at.path, plane.traffic.model_copy(update={"failover": failover}))
    router.start(plane.routes())
    assert router.applied() == plane.routes(WHOLE)
    plane.candidate.mode = "fail"
    assert send(plane, "POST") == [(200, "stable 2") if after == "all" else (500, "candidate 2")] * N
    with ThreadPoolExecutor(2) as threads:
        assert [*threads.map(lambda _: send(plane, "PUT", 1), range(2))] == [[(200, "stable 2")]] * 2
