"""Clients' keys and limits: who is answered, what models and files learn of it, and that changes lose nothing."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import httpx
import pytest

from lockgate.rollout.envoy import process
from lockgate.rollout.envoy.router import EnvoyRouter
from lockgate.rollout.spec import Traffic
from lockgate.rollout.words import Other

SHOP, BATCH, TESTER, NEW = ("key-of-" + name * 4 for name in ("shop", "batch", "tester", "new"))
KEYS = {"shop": SHOP, "batch": BATCH}
CLIENTS = {"clients": {"keys": KEYS}}


def changed(plane: Any, **more: Any) -> EnvoyRouter:
    """The router of the same Envoy with other `traffic`."""
    traffic = Traffic.model_validate(plane.traffic.model_dump(mode="json") | more)
    return EnvoyRouter(plane.router.at.path, traffic)


def turned_on(plane: Any, **more: Any) -> EnvoyRouter:
    router = changed(plane, **more)
    router.start(plane.routes())
    return router


def ask(plane: Any, path: str = "/predict", body: bytes = b"[]", **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    url = f"http://{plane.traffic.listen}{path}"
    return httpx.post(url, content=body, headers=named, trust_env=False, timeout=30)


def kill(router: EnvoyRouter) -> None:
    found = process.find(router.at)
    assert found is not None
    process.end(found, router.at)


def sentence(answer: httpx.Response) -> str:
    assert answer.headers["content-type"] == "application/json"
    assert list(answer.json()) == ["error"]
    return str(answer.json()["error"])


def stats(router: EnvoyRouter, names: str) -> dict[str, str]:
    found = router.admin.numbers_and_texts(names)
    return {name.rpartition(".")[2]: value for name, value in found.items()}


def test_only_who_sends_a_key_is_answered(plane: Any, eventually: Any) -> None:
    router = turned_on(plane, **CLIENTS)
    for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": SHOP[:-1]}, {"x_api_key": SHOP}):
        answer = ask(plane, **headers)
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
        assert "Authorization: Bearer KEY" in sentence(answer)
    assert plane.stable.hits == 0
    assert ask(plane, authorization=f"Bearer {SHOP}", x_lockgate_client="batch").status_code == 200
    assert plane.stable.last["x-lockgate-client"] == "shop"
    for before in ("", "bearer ", "BEARER "):
        assert ask(plane, authorization=before + BATCH).status_code == 200
        assert plane.stable.last["x-lockgate-client"] == "batch"
    assert stats(router, r"^http\.ingress\.api_key_auth") == {"allowed": "4", "unauthorized": "4", "forbidden": "0"}
    rows = eventually(lambda: router.at.access_log.read_text().splitlines(), lambda found: len(found) == 8)
    assert Counter(json.loads(row)["client"] for row in rows) == {None: 4, "shop": 1, "batch": 3}
    for clusters in (plane.source.measure(), EnvoyRouter(router.at.path, plane.traffic).applied()):
        assert "key-of" not in str(clusters)


def test_a_client_names_itself_to_nobody(plane: Any) -> None:
    """Also where there are no keys: models may trust the header."""
    assert ask(plane, x_lockgate_client="shop").status_code == 200
    assert "x-lockgate-client" not in plane.stable.last


def test_models_and_copies_never_see_a_key(plane: Any, eventually: Any) -> None:
    router = turned_on(plane, clients={"header": "x-api-key", "keys": KEYS})
    router.apply(plane.routes(0, mirror=10_000))
    assert ask(plane, x_api_key=SHOP, authorization="theirs").status_code == 200
    eventually(lambda: plane.candidate.hits, lambda hits: hits == 1)
    assert "key-of" not in str(plane.stable.last) + str(plane.candidate.last)
    assert (plane.stable.last["authorization"], plane.stable.last["x-lockgate-client"]) == ("theirs", "shop")
    assert plane.candidate.last["x-lockgate-client"] == "shop"
    assert "authorization" not in plane.candidate.last
    twice = [("x-api-key", SHOP), ("x-api-key", BATCH)]
    assert httpx.post(plane.url, headers=twice, trust_env=False).status_code == 200  # the first one counts
    assert plane.stable.last["x-lockgate-client"] == "shop"
    assert "key-of" not in str(plane.stable.last)


def test_keys_are_in_private_files_and_nowhere_else(plane: Any, eventually: Any) -> None:
    router = turned_on(plane, **CLIENTS)
    for headers in ({"authorization": SHOP}, {"authorization": "Bearer no-key-that-anybody-has"}):
        ask(plane, **headers)
    eventually(lambda: router.at.access_log.read_text().count("\n"), lambda rows: rows == 2)
    for path in ("/config_dump", "/stats", "/clusters", "/listeners", "/server_info"):
        assert SHOP not in router.admin.get(path)
    holding = {path for path in router.at.path.rglob("*") if path.is_file() and SHOP in path.read_text()}
    assert holding == {router.at.xds / "rds.json", router.at.good / "rds.json"}
    assert {path.stat().st_mode & 0o777 for path in holding} == {0o600}
    assert {path.parent.stat().st_mode & 0o777 for path in holding} == {0o700}
    assert "no-key-that" not in "".join(path.read_text() for path in router.at.access_log.parent.iterdir())


def test_feedback_needs_a_key_too(plane: Any, tmp_path: Path, upstream: Any) -> None:
    with upstream("feedback", path=tmp_path / "feedback.sock") as keeper:
        traffic = changed(plane, **CLIENTS)._traffic
        EnvoyRouter(plane.router.at.path, traffic, keeper.path).start(plane.routes())
        assert ask(plane, "/feedback").status_code == 401
        assert keeper.hits == 0
        assert ask(plane, "/feedback", authorization=SHOP).text == "feedback 2"
        assert "key-of" not in str(keeper.last)
        refused = httpx.get(
            f"http://{traffic.listen}/feedback", headers={"authorization": SHOP}, trust_env=False, timeout=30
        )
        assert (refused.status_code, list(refused.json())) == (405, ["errors"])  # as the feedback server says it


def test_only_testers_choose_their_variant(plane: Any) -> None:
    clients = {"keys": KEYS | {"tester": TESTER}}
    turned_on(plane, clients=clients, force={"header": "x-lockgate-variant", "clients": ["tester"]})
    for variant in ("candidate", "stable"):
        assert ask(plane, authorization=TESTER, x_lockgate_variant=variant).text == f"{variant} 2"
        refused = ask(plane, authorization=SHOP, x_lockgate_variant=variant)
        assert refused.status_code == 403
        assert "choose their variant" in sentence(refused)
        assert ask(plane, x_lockgate_variant=variant).status_code == 401
    assert ask(plane, authorization=SHOP).text == "stable 2"
    assert plane.candidate.hits == 1


def test_a_new_key_is_taken_up_and_a_driver_does_not_bring_the_old_one_back(plane: Any) -> None:
    """A driver keeps applying routes, and its environment holds the key of when it was started."""
    driver = turned_on(plane, **CLIENTS)
    turned_on(plane, clients={"keys": KEYS | {"shop": [NEW, SHOP]}})
    driver.apply(plane.routes(5000))
    assert {ask(plane, authorization=key).status_code for key in (NEW, SHOP)} == {200}
    turned_on(plane, clients={"keys": KEYS | {"shop": NEW}})
    driver.apply(plane.routes(0))
    assert [ask(plane, authorization=key).status_code for key in (NEW, SHOP, BATCH)] == [200, 401, 200]
    EnvoyRouter(driver.at.path, driver._traffic).apply(plane.routes(0))  # nor does one that comes to help
    assert [ask(plane, authorization=key).status_code for key in (NEW, SHOP)] == [200, 401]
    kill(driver)
    driver.renew()  # nothing runs
    driver.start_again()
    assert [ask(plane, authorization=key).status_code for key in (NEW, SHOP)] == [200, 401]
    driver.renew()
    assert [ask(plane, authorization=key).status_code for key in (NEW, SHOP)] == [401, 200]


def test_a_driver_keeps_keys_and_limits_that_came_after_it(plane: Any) -> None:
    """Its rollout was opened before there were any; Envoy may also die on the way."""
    driver, keys = plane.router, KEYS | {"tester": TESTER}
    protection = {"clients": {"keys": keys}, "force": {"header": "x-pick", "clients": ["tester"]}}
    turned_on(plane, **protection, limits={"requests": 1, "per": "1h", "each": "client"})
    other = Other("v14", (plane.candidate.endpoint,), 1000)
    routes = replace(plane.routes(9000), others=(other,))
    for again in (False, True):
        if again:
            kill(driver)
            driver.start_again()
        else:
            driver.apply(routes)
        assert ask(plane).status_code == 401
        assert [ask(plane, authorization=SHOP).status_code for _ in range(2)] == [200, 429]
        assert [ask(plane, authorization=BATCH, x_pick=name).status_code for name in ("v14", "stable")] == [403, 403]
        assert ask(plane, authorization=TESTER, x_pick="v14").text == "candidate 2"
        assert driver.applied() == routes
    turned_on(plane)  # turned off again, which a driver that began with keys leaves, too
    changed(plane, **protection).apply(plane.routes(5000))
    assert {ask(plane).status_code for _ in range(3)} == {200}


def test_a_driver_does_not_let_a_client_in_again_that_was_left_out(plane: Any) -> None:
    driver = turned_on(plane, **CLIENTS)
    turned_on(plane, clients={"keys": {"shop": SHOP}})
    driver.apply(plane.routes(5000))
    assert [ask(plane, authorization=key).status_code for key in (SHOP, BATCH)] == [200, 401]
    kill(driver)
    driver.start_again()
    assert [ask(plane, authorization=key).status_code for key in (SHOP, BATCH)] == [200, 401]


def test_each_client_has_its_own_limit(plane: Any, eventually: Any) -> None:
    router = turned_on(plane, **CLIENTS, limits={"requests": 3, "per": "1h", "each": "client", "burst": 5})
    router.apply(plane.routes(0, mirror=10_000))  # a copy is no request of the client
    answers = [ask(plane, authorization=SHOP) for _ in range(8)]
    assert [answer.status_code for answer in answers] == [200] * 5 + [429] * 3
    assert answers[-1].headers["retry-after"] == "1200"
    assert "Retry-After" in sentence(answers[-1])
    assert "connection" not in answers[-1].headers  # it stays open for the next attempt
    assert {ask(plane).status_code for _ in range(3)} == {401}  # nobody's requests count for nobody
    assert [ask(plane, authorization=BATCH).status_code for _ in range(5)] == [200] * 5
    assert stats(router, "http_local_rate_limit")["rate_limited"] == "3"
    eventually(lambda: plane.candidate.hits, lambda hits: hits == 10)
    assert plane.stable.hits == 10
    counts = plane.counted(lambda counts: counts.stable.requests == 10)
    assert counts.stable.errors == 0  # what was refused is nobody's failure
    metrics = httpx.get(f"http://{plane.traffic.metrics}/metrics", trust_env=False).text
    assert 'envoy_http_local_rate_limit_rate_limited{envoy_local_http_ratelimit_prefix="ingress"} 3' in metrics


@pytest.mark.parametrize(("each", "second"), [("address", 200), ("all", 429)])
def test_addresses_are_told_apart_by_who_is_connected(plane: Any, each: str, second: int) -> None:
    turned_on(plane, limits={"requests": 2, "per": "1h", "each": each})
    found = [ask(plane, x_forwarded_for=f"198.51.100.{i}").status_code for i in range(4)]
    assert found == [200, 200, 429, 429]  # whatever they say about themselves
    transport = httpx.HTTPTransport(local_address="127.0.0.2")
    with httpx.Client(transport=transport, trust_env=False) as elsewhere:
        assert elsewhere.post(plane.url).status_code == second


def test_a_limit_is_over_when_its_time_is(plane: Any, eventually: Any) -> None:
    turned_on(plane, limits={"requests": 1, "per": "1s"})
    for status in (200, 429, 200):
        eventually(lambda: ask(plane).status_code, lambda got, status=status: got == status)


def test_keys_and_limits_come_and_go_under_load_and_no_request_is_lost(plane: Any) -> None:
    """Nobody even has to connect anew."""
    wide = {"requests": 1_000_000, "per": "100ms", "each": "client"}
    ways = [
        changed(plane, **CLIENTS),
        changed(plane, clients={"keys": KEYS | {"other": NEW}}),
        changed(plane, **CLIENTS, limits=wide),
        changed(plane, clients={"keys": KEYS | {"shop": [SHOP, NEW]}}, limits=wide | {"burst": 2_000_000}),
        plane.router,
    ]
    clients = plane.clients()
    clients.header = f"authorization: {SHOP}\r\n"
    before = stats(plane.router, r"^http\.ingress\.downstream_cx_(total|drain_close)$")
    with clients.load():
        for router in islice(cycle(ways), 20):
            router.start(plane.routes())
    after = stats(plane.router, r"^http\.ingress\.downstream_cx_(total|drain_close)$")
    assert clients.failed == 0, clients.answers
    assert clients.sent > 20
    assert {name: int(after[name]) - int(before[name]) for name in after} == {
        "downstream_cx_total": 4,
        "downstream_cx_drain_close": 0,
    }
