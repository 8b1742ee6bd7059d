"""Several challengers: who gets which, what becomes of one that fails, and that coming and going loses no request."""

from __future__ import annotations

import json
import socket
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import cycle, islice
from math import sqrt
from typing import Any

import pytest
import xxhash

from lockgate.rollout.envoy import others as envoy_others
from lockgate.rollout.envoy import process
from lockgate.rollout.envoy.router import EnvoyRouter
from lockgate.rollout.errors import RouterRefused
from lockgate.rollout.words import WHOLE, Endpoint, Other, Routes

USERS = [f"user-{i}" for i in range(10_000)]
CHALLENGERS = ("candidate", "small", "v14")
N = 5


@dataclass
class Arms:
    """A plane with two more challengers."""

    plane: Any
    small: Any
    v14: Any

    def routes(self, each: int = 2000, *, without: str = "", **given: Any) -> Routes:
        """`each` of them has this weight. `without`: whose endpoints are left out."""
        servers = {"small": self.small, "v14": self.v14}
        others = [Other(name, () if name == without else (of.endpoint,), each) for name, of in servers.items()]
        candidate = () if without == "candidate" else (self.plane.candidate.endpoint,)
        return replace(Routes((self.plane.stable.endpoint,), candidate, each, others=tuple(others)), **given)

    def only(self, each: int = WHOLE) -> Routes:
        """All the traffic for `small`."""
        return self.routes(0, others=(Other("small", (self.small.endpoint,), each), Other("v14")))


@pytest.fixture
def arms(plane: Any, upstream: Any) -> Iterator[Arms]:
    with upstream("small") as small, upstream("v14") as v14:
        yield Arms(plane, small, v14)


def predicted(user: str, each: int) -> str:
    place = xxhash.xxh64(f"lockgate{user}".encode()).intdigest() % WHOLE - (WHOLE - 3 * each)
    return "stable" if place < 0 else CHALLENGERS[place // each]


def texts(answers: list[Any]) -> list[tuple[int, str, str]]:
    return [(answer.status_code, answer.text, answer.headers["x-lockgate-variant"]) for answer in answers]


class TestTheSplit:
    def test_it_is_balanced_and_more_weight_gives_stable_nobody(self, arms: Arms) -> None:
        clients, before = arms.plane.clients(), dict.fromkeys(USERS, "stable")
        for each in (500, 1500, 2500):
            arms.plane.router.apply(arms.routes(each))
            now = clients.ask(USERS)
            assert now == {user: predicted(user, each) for user in USERS}
            assert not [user for user in USERS if now[user] == "stable" and before[user] != "stable"]
            counted, share = Counter(now.values()), each / WHOLE
            for name in CHALLENGERS:  # the 99 % bounds of one that falls by chance
                assert abs(counted[name] - len(USERS) * share) < 2.576 * sqrt(len(USERS) * share * (1 - share))
            before = now
        assert clients.failed == 0

    @pytest.mark.parametrize("dropped", CHALLENGERS)
    def test_one_that_is_dropped_moves_its_users_alone(self, arms: Arms, dropped: str) -> None:
        clients, users = arms.plane.clients(), USERS[:2000]
        arms.plane.router.apply(arms.routes())
        before = clients.ask(users)
        arms.plane.router.apply(arms.routes(without=dropped))
        now = clients.ask(users)
        assert now == {user: "stable" if variant == dropped else variant for user, variant in before.items()}
        assert set(now.values()) == {"stable", *CHALLENGERS} - {dropped}
        hits = {name: getattr(arms, name, None) or arms.plane.candidate for name in CHALLENGERS}
        assert hits[dropped].hits == list(before.values()).count(dropped)
        assert clients.failed == 0

    def test_requests_without_a_user_are_split_at_random(self, arms: Arms) -> None:
        arms.plane.router.apply(arms.routes(2500))
        clients = arms.plane.clients()
        clients.ask([""] * 3000)
        for name in ("stable", *CHALLENGERS):  # bounds that one run in 20,000 leaves
            assert abs(clients.answers[200, name] - 750) < 4.4 * sqrt(3000 * 0.25 * 0.75)

    def test_the_answer_and_the_request_name_the_variant(self, arms: Arms) -> None:
        arms.plane.router.apply(arms.only())
        assert texts(arms.plane.post(x_lockgate_shadow="1")) == [(200, "small 2", "small")]
        assert arms.small.last["x-lockgate-variant"] == "small"
        assert "x-lockgate-shadow" not in arms.small.last


class TestOneThatFails:
    @pytest.mark.parametrize("how", ["fail", "reset", "dead", "hang"])
    def test_no_client_sees_it_and_it_counts_once(self, arms: Arms, how: str) -> None:
        arms.plane.router.apply(arms.only())
        if how == "dead":
            arms.small.__exit__()
        else:
            arms.small.mode = how
        assert texts(arms.plane.post(times=N)) == [(200, "stable 2", "small")] * N
        counts = arms.plane.source.measure()
        assert {name: (of.requests, of.errors) for name, of in counts.others.items()} == {
            "small": (N, N),
            "v14": (0, 0),
        }
        assert (counts.stable.requests, counts.candidate.requests) == (0, 0)
        slow = arms.plane.counted(lambda c: c.others["small"].latency.total == N).others["small"].latency.above(400)
        assert slow == (N if how == "hang" else 0)

    def test_each_has_its_own_counts(self, arms: Arms) -> None:
        arms.plane.router.apply(arms.routes(2500))
        arms.v14.mode = "fail"
        clients = arms.plane.clients()
        clients.ask(USERS[:400])
        counts, answers = arms.plane.source.measure(), clients.answers
        found = {"stable": counts.stable, "candidate": counts.candidate, **counts.others}
        assert {name: of.requests for name, of in found.items()} == {name: answers[200, name] for name in found}
        assert {name: of.errors for name, of in found.items() if of.errors} == {"v14": answers[200, "v14"]}

    def test_counts_go_on_when_endpoints_change_and_go(self, arms: Arms) -> None:
        arms.plane.router.apply(arms.only())
        arms.plane.post(times=2)
        arms.plane.router.apply(arms.routes(0, others=(Other("small", (arms.v14.endpoint,), WHOLE),)))
        arms.plane.post(times=3)
        assert (arms.small.hits, arms.v14.hits) == (2, 3)
        for others in ((Other("small", (), WHOLE),), ()):
            arms.plane.router.apply(arms.routes(0, others=others))
            assert texts(arms.plane.post()) == [(200, "stable 2", "stable")]
            assert arms.plane.source.measure().others["small"].requests == 5
        assert arms.plane.source.measure().stable.requests == 2


class TestTesters:
    def test_they_pick_an_other_and_are_no_evidence(self, arms: Arms) -> None:
        arms.plane.router.apply(arms.routes(0))
        for name in ("small", "v14", "candidate", "stable"):
            assert texts(arms.plane.post(x_lockgate_variant=name)) == [(200, f"{name} 2", name)]
        assert arms.small.last["x-lockgate-shadow"] == "forced"
        counts = arms.plane.source.measure()
        tallies = (counts.stable, counts.candidate, *counts.others.values())
        assert [of.requests for of in tallies] == [0, 0, 0, 0]

    def test_one_that_fails_or_is_gone_is_answered_by_stable(self, arms: Arms) -> None:
        arms.plane.router.apply(arms.routes(0))
        arms.small.mode = "fail"
        assert texts(arms.plane.post(x_lockgate_variant="small")) == [(200, "stable 2", "small")]
        arms.plane.router.apply(arms.routes(0, without="small"))
        assert texts(arms.plane.post(x_lockgate_variant="small")) == [(200, "stable 2", "stable")]


class TestComingAndGoing:
    def test_under_load_no_request_is_lost(self, arms: Arms, eventually: Any) -> None:
        moved = arms.routes(
            others=(Other("small", (arms.v14.endpoint,), 2000), Other("v14", (arms.v14.endpoint,), 2000))
        )
        steps = [
            arms.plane.routes(2000),
            arms.routes(),
            moved,
            arms.routes(without="small"),
            arms.routes(without="v14"),
            arms.routes(without="candidate"),
            arms.routes(),
            replace(arms.plane.routes(), stable=(arms.small.endpoint,), candidate=()),
        ]
        clients = arms.plane.clients()
        with clients.load(connections=16):
            for routes in steps * 4:
                seen = clients.sent
                arms.plane.router.apply(routes)
                assert arms.plane.router.applied() == routes
                eventually(lambda: clients.sent, lambda sent, seen=seen: sent > seen + 50)
        assert clients.failed == 0
        assert all(clients.answers[200, name] > 20 for name in ("stable", *CHALLENGERS))

    @pytest.mark.parametrize("next_", ["moved", "without", "gone"])
    def test_what_is_being_answered_is_answered(self, arms: Arms, eventually: Any, next_: str) -> None:
        """By the challenger itself: it was only slow."""
        arms.plane.router.apply(arms.only())
        arms.small.delay = 0.3  # its deadline is 0.5 s
        after = {
            "moved": arms.routes(0, others=(Other("small", (arms.v14.endpoint,), WHOLE), Other("v14"))),
            "without": arms.routes(0, others=(Other("small", (), WHOLE), Other("v14"))),
            "gone": arms.plane.routes(),
        }[next_]
        with ThreadPoolExecutor(4) as threads:
            answers = [threads.submit(arms.plane.post) for _ in range(4)]
            eventually(lambda: arms.small.hits, lambda hits: hits == 4)
            arms.plane.router.apply(after)
            assert {text for of in answers for text in texts(of.result())} == {(200, "small 2", "small")}
        assert arms.plane.post()[0].text == ("v14 2" if next_ == "moved" else "stable 2")

    @pytest.mark.parametrize("next_", ["without", "gone"])
    def test_what_it_fails_after_it_went_is_rescued(self, arms: Arms, eventually: Any, next_: str) -> None:
        arms.plane.router.apply(arms.only())
        arms.small.mode = "hang"
        with ThreadPoolExecutor(4) as threads:
            answers = [threads.submit(arms.plane.post) for _ in range(4)]
            eventually(lambda: arms.small.hits, lambda hits: hits == 4)
            arms.plane.router.apply(arms.plane.routes() if next_ == "gone" else arms.routes(0, without="small"))
            assert {text for of in answers for text in texts(of.result())} == {(200, "stable 2", "small")}

    @pytest.mark.parametrize("next_", ["without", "gone"])
    @pytest.mark.parametrize("forced", ["", "x-lockgate-variant: small\r\n"])
    def test_a_body_that_comes_after_it_went_is_answered(self, arms: Arms, next_: str, forced: str) -> None:
        """Its route is that of when its headers came."""
        arms.plane.router.apply(arms.only())
        host, port = arms.plane.traffic.listen.split(":")
        with socket.create_connection((host, int(port)), timeout=10) as slow:
            slow.sendall(f"POST /p HTTP/1.1\r\nhost: h\r\n{forced}content-length: 2\r\n\r\n[".encode())
            envoy_has_read(arms.plane)
            arms.plane.router.apply(arms.plane.routes() if next_ == "gone" else arms.routes(0, without="small"))
            slow.sendall(b"]")
            head = slow.recv(4096).decode()
        assert head.startswith("HTTP/1.1 200 OK")
        assert head.endswith("stable 2")

    def test_in_the_end_nothing_is_left_of_it(self, arms: Arms, monkeypatch: pytest.MonkeyPatch) -> None:
        def left() -> list[str]:
            found = arms.plane.router.admin.json("/clusters?format=json")["cluster_statuses"]
            return sorted(one["name"] for one in found if envoy_others.challenger(one["name"]))

        arms.plane.router.apply(arms.only())
        arms.plane.router.apply(arms.plane.routes())
        assert left() == ["forced_other_small", "forced_other_v14", "other_small_fb", "other_v14_fb"]
        later = time.time() + 700
        monkeypatch.setattr("lockgate.rollout.envoy.router.time.time", lambda: later)
        arms.plane.router.apply(arms.plane.routes())
        assert left() == []
        assert arms.plane.source.measure().others == {}


def envoy_has_read(plane: Any) -> None:
    """The headers of the one request that is under way."""
    active = "http.ingress.downstream_rq_active"
    deadline = time.monotonic() + 10
    while plane.router.admin.numbers_and_texts(f"^{active}$").get(active) != "1":
        assert time.monotonic() < deadline


class TestEnvoyStarts:
    def test_one_that_runs_is_adopted_with_them(self, arms: Arms) -> None:
        arms.plane.router.apply(arms.routes())
        again = EnvoyRouter(arms.plane.router.at.path, arms.plane.traffic.model_copy(update={"max_body": 1024}))
        again.start(arms.plane.routes())
        assert again.applied() == arms.routes()
        assert arms.plane.post(x_lockgate_variant="v14")[0].text == "v14 2"

    @pytest.mark.parametrize("how", ["start", "start_again"])
    @pytest.mark.parametrize("without", ["", "small", "candidate"])
    def test_one_that_died_starts_with_them(self, arms: Arms, how: str, without: str) -> None:
        arms.plane.router.apply(arms.routes())
        arms.plane.router.apply(arms.routes(without=without))
        found = process.find(arms.plane.router.at)
        assert found is not None
        process.end(found, arms.plane.router.at)
        if how == "start":
            arms.plane.router.start(arms.plane.routes())
        else:
            arms.plane.router.start_again()
        assert arms.plane.router.applied() == arms.routes(without=without)
        assert arms.plane.post(x_lockgate_variant="v14")[0].text == "v14 2"
        arms.plane.router.apply(arms.plane.routes())
        assert arms.plane.router.applied() == arms.plane.routes()

    def test_a_deadline_that_changed_holds_for_them_too(self, arms: Arms) -> None:
        arms.plane.router.apply(arms.only())
        arms.small.delay = 0.1
        failover = arms.plane.traffic.failover.model_copy(update={"deadline": 0.01})
        quick = EnvoyRouter(arms.plane.router.at.path, arms.plane.traffic.model_copy(update={"failover": failover}))
        quick.start(arms.plane.routes())
        assert texts(arms.plane.post()) == [(200, "stable 2", "small")]


def test_what_is_served_already_is_not_written_again(arms: Arms) -> None:
    arms.plane.router.apply(arms.routes())
    arms.plane.router.apply(arms.routes(without="small"))
    arms.plane.router.apply(arms.routes(without="small", others=()))  # two are gone, and linger
    before = {path: path.read_bytes() for path in arms.plane.router.at.path.rglob("*.json")}
    arms.plane.router.apply(arms.routes(without="small", others=()))
    assert {path: path.read_bytes() for path in arms.plane.router.at.path.rglob("*.json")} == before


def test_a_hundred_changes_under_load_lose_no_request(arms: Arms) -> None:
    clients = arms.plane.clients()
    with clients.load():
        for each, without in islice(cycle([(0, ""), (2000, "small"), (3000, ""), (3000, "candidate")]), 100):
            arms.plane.router.apply(arms.routes(each, without=without))
    assert clients.failed == 0
    assert json.loads((arms.plane.router.at.xds / "cds.json").read_text())["version_info"]


@pytest.mark.parametrize(
    ("others", "sentence"),
    [
        ((Other("stable"),), "cannot be a challenger's name"),
        ((Other("Small"),), "small letters"),
        ((Other("a"), Other("a")), "two challengers are called 'a'"),
        ((Other("a", weight=6001),), "100.01 % together"),
        ((Other("a", weight=-1),), "a weight of -1 for a"),
        ((Other("a", (Endpoint("localhost", 1),)),), "localhost:1 is not an IP address"),
    ],
)
def test_what_is_wrong_with_an_other_is_said(arms: Arms, others: tuple[Other, ...], sentence: str) -> None:
    with pytest.raises(RouterRefused, match=sentence):
        arms.plane.router.apply(replace(arms.plane.routes(4000), others=others))
    assert arms.plane.router.applied() == arms.plane.routes()
