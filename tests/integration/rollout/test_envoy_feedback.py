"""`/feedback` on the rollout's address: where it goes, what it is not, and that adding or removing it loses nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import httpx
import pytest

from lockgate.rollout.envoy import process
from lockgate.rollout.envoy.router import EnvoyRouter


@pytest.fixture
def socket(tmp_path: Path) -> Path:
    return tmp_path / "feedback.sock"


@pytest.fixture
def keeper(socket: Path, upstream: Any) -> Iterator[Any]:
    """A server in the place of the one that keeps feedback, which shows what it was sent."""
    with upstream("feedback", path=socket) as server:
        yield server


@pytest.fixture
def fed(plane: Any, keeper: Any, socket: Path) -> Any:  # noqa: ARG001 - the server runs
    """The plane with feedback, taken up while it runs."""
    plane.router = EnvoyRouter(plane.router.at.path, plane.traffic, socket)
    plane.router.start(plane.routes())
    return plane


def ask(plane: Any, method: str = "POST", path: str = "/feedback", **more: Any) -> httpx.Response:
    return httpx.request(method, f"http://{plane.traffic.listen}{path}", trust_env=False, timeout=30, **more)


def numbers(plane: Any, cluster: str) -> dict[str, str]:
    found = plane.router.admin.numbers_and_texts(rf"^cluster\.{cluster}\.upstream_rq_(total|completed)$")
    return {name.rpartition("_")[2]: value for name, value in found.items()}


def test_it_reaches_the_server_and_no_model(fed: Any, keeper: Any) -> None:
    fed.router.apply(fed.routes(5000, mirror=10_000))
    answer = ask(fed, content=b"{}", headers={"x-user-id": "u1"})
    assert (answer.status_code, answer.text) == (200, "feedback 2")
    assert ask(fed, path="/feedback?source=web", content=b"{}").text == "feedback 2"
    assert "x-lockgate-variant" not in answer.headers
    assert (keeper.hits, fed.stable.hits, fed.candidate.hits) == (2, 0, 0)
    counts = fed.source.measure()
    assert (counts.stable.requests, counts.candidate.requests, counts.shadow.requests) == (0, 0, 0)
    assert numbers(fed, "feedback")["total"] == "2"


def test_the_user_passes_and_nobody_speaks_for_the_router(fed: Any, keeper: Any) -> None:
    ask(
        fed,
        headers={"x-user-id": "u1", "x-lockgate-variant": "candidate", "x-lockgate-shadow": "1", "X-Lockgate-X": "1"},
    )
    assert keeper.last["x-user-id"] == "u1"
    assert not [name for name in keeper.last if name.lower().startswith("x-lockgate")]
    assert keeper.hits == 1


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "OPTIONS"])
def test_other_methods_are_refused_with_a_sentence(fed: Any, keeper: Any, method: str) -> None:
    answer = ask(fed, method)
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert answer.headers["content-type"] == "application/json"
    assert "with POST" in answer.json()["errors"][0]
    assert (keeper.hits, fed.stable.hits) == (0, 0)


@pytest.mark.parametrize("path", ["/feedback/", "/feedback/x", "/feedbacks", "/Feedback", "/v1/feedback"])
def test_what_lies_beside_it_is_the_models(fed: Any, keeper: Any, path: str) -> None:
    assert ask(fed, path=path).text == "stable 0"
    assert keeper.hits == 0


@pytest.mark.parametrize("mode", ["fail", "teapot", "reset"])
def test_what_the_server_may_have_read_is_not_sent_again(fed: Any, keeper: Any, mode: str) -> None:
    keeper.mode = mode
    assert ask(fed, content=b"{}").status_code == {"fail": 500, "teapot": 418, "reset": 503}[mode]
    assert keeper.hits == 1


def test_a_large_body_never_reaches_the_server(fed: Any, keeper: Any) -> None:
    assert ask(fed, content=b"x" * (2**20 + 1)).status_code == 413
    assert keeper.hits == 0
    assert ask(fed, path="/predict", content=b"x" * (2**20 + 1)).status_code == 200


def test_a_dead_server_is_told_at_once_and_nothing_else_suffers(plane: Any, socket: Path) -> None:
    """The socket is not even there."""
    router = EnvoyRouter(plane.router.at.path, plane.traffic, socket)
    router.start(plane.routes())
    began = time.monotonic()
    assert ask(plane).status_code == 503
    assert time.monotonic() - began < 5  # and not the 10 s that a server that hangs may take
    assert plane.post()[0].status_code == 200
    assert router.applied() == plane.routes()


def test_a_server_that_comes_back_gets_what_follows(fed: Any, keeper: Any, socket: Path, upstream: Any) -> None:
    assert ask(fed).status_code == 200
    keeper.__exit__()
    assert ask(fed).status_code == 503
    with upstream("again", path=socket):
        assert ask(fed).text == "again 0"


def test_without_feedback_the_path_is_the_models(plane: Any) -> None:
    assert ask(plane).text == "stable 0"
    assert ask(plane, "GET").text == "stable 0"
    plane.router.apply(plane.routes(10_000))
    assert ask(plane).text == "candidate 0"


def test_it_comes_and_goes_under_load_and_no_request_is_lost(plane: Any, keeper: Any, socket: Path) -> None:
    with_it = EnvoyRouter(plane.router.at.path, plane.traffic, socket)
    clients = plane.clients()
    feedback = plane.clients()
    feedback.path = "/feedback"
    with clients.load(), feedback.load():
        for router in islice(cycle([with_it, plane.router]), 20):
            router.start(plane.routes())
            assert router.applied() == plane.routes()
    assert clients.failed == feedback.failed == 0
    assert keeper.hits > 0
    assert "feedback" not in str(plane.router._files.resources("cds"))


def test_an_apply_takes_it_up_too(plane: Any, keeper: Any, socket: Path) -> None:
    """A controller whose rollout asks for it finds an Envoy that another one has started."""
    EnvoyRouter(plane.router.at.path, plane.traffic, socket).apply(plane.routes(2500))
    assert ask(plane).text == "feedback 0"
    plane.router.apply(plane.routes(2500))
    assert ask(plane).text in ("stable 0", "candidate 0")
    assert keeper.hits == 1


@pytest.mark.parametrize("begin", [lambda r, p: r.start(p.routes()), lambda r, _: r.start_again()])
@pytest.mark.parametrize("answers", ["feedback 0", "stable 0"])
def test_an_envoy_that_died_starts_though_feedback_came_or_went(
    fed: Any, socket: Path, answers: str, begin: Callable[[Any, Any], None]
) -> None:
    """What it served last names a cluster, or lacks one, that the spec now lacks, or names."""
    with_it = answers == "feedback 0"
    EnvoyRouter(fed.router.at.path, fed.traffic, None if with_it else socket).apply(fed.routes())
    found = process.find(fed.router.at)
    assert found is not None
    process.end(found, fed.router.at)
    router = EnvoyRouter(fed.router.at.path, fed.traffic, socket if with_it else None)
    begin(router, fed)
    assert router.applied() == fed.routes()
    router.apply(fed.routes())
    assert ask(fed).text == answers
