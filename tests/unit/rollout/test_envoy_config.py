from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import xxhash

from lockgate.rollout.envoy.bootstrap import bootstrap, latency_buckets
from lockgate.rollout.envoy.clusters import clusters
from lockgate.rollout.envoy.folder import Folder, admin_socket, folder
from lockgate.rollout.envoy.listeners import listeners
from lockgate.rollout.envoy.others import challenger, keep_others, let_go, taken_over
from lockgate.rollout.envoy.protected import protected
from lockgate.rollout.envoy.resources import duration
from lockgate.rollout.envoy.routes import route_configuration, routes_of
from lockgate.rollout.errors import RouterDown
from lockgate.rollout.spec import Traffic
from lockgate.rollout.traffic import Failover
from lockgate.rollout.words import WHOLE, Endpoint, Other, Routes

TRAFFIC = Traffic()
ROUTES = Routes((Endpoint("127.0.0.1", 1),), (Endpoint("127.0.0.1", 2),), 500, 250, 20, "a:1")
THREE = Endpoint("127.0.0.1", 3)
OTHERS = (Other("a", (THREE,), 1000), Other("b", (), 500))
AT = Folder(Path("/run/lockgate"))


def weighted(routes: Routes) -> list[list[tuple[str, int]]]:
    found = route_configuration(TRAFFIC, routes)[0]["virtual_hosts"][0]["routes"]
    splits = [
        route["route"]["weighted_clusters"]["clusters"] for route in found if "weighted_clusters" in route["route"]
    ]
    return [[(side["name"], side["weight"]) for side in split] for split in splits]


@pytest.mark.parametrize("weight", [0, 1, 500, 5000, WHOLE])
def test_the_sum_and_the_order_of_weights_never_change(weight: int) -> None:
    assert weighted(replace(ROUTES, weight=weight)) == [[("stable", WHOLE - weight), ("candidate_fb", weight)]] * 2


@pytest.mark.parametrize(
    "routes",
    [
        ROUTES,
        replace(ROUTES, weight=0, mirror=0),
        replace(ROUTES, weight=WHOLE),
        replace(ROUTES, others=OTHERS),
        replace(ROUTES, others=OTHERS[::-1]),
        replace(ROUTES, candidate=(), mirror=0, others=OTHERS),
    ],
)
def test_routes_are_read_back(routes: Routes) -> None:
    hosts = {"stable": routes.stable, "candidate": ROUTES.candidate, "other_a": (THREE,), "other_b": (THREE,)}
    assert routes_of(route_configuration(TRAFFIC, routes)[0], hosts) == routes


def test_one_without_endpoints_keeps_its_place_and_stable_answers() -> None:
    [by_user, by_request] = weighted(replace(ROUTES, candidate=(), mirror=0, others=(*OTHERS, Other("c", (THREE,), 7))))
    assert by_user == by_request
    assert by_user == [("stable", 7993), ("stable", 500), ("other_a_fb", 1000), ("stable", 500), ("other_c_fb", 7)]


class TestOthersComeAndGo:
    """`present` is what Envoy serves."""

    present = clusters(TRAFFIC, AT, None, [Other("a", (THREE,))])

    @pytest.mark.parametrize("others", [(), (Other("a"),)])
    def test_before_the_routes_nothing_goes(self, others: tuple[Other, ...]) -> None:
        kept = keep_others(clusters(TRAFFIC, AT, None, others), self.present)
        assert sorted(kept, key=str) == sorted(self.present, key=str)

    def test_endpoints_that_change_are_not_kept(self) -> None:
        wanted = clusters(TRAFFIC, AT, None, [Other("a", (Endpoint("127.0.0.1", 4),))])
        assert keep_others(wanted, self.present) == wanted

    def test_after_them_what_late_requests_need_is_left(self) -> None:
        left = let_go(clusters(TRAFFIC, AT), self.present, 100.0)
        assert [one["name"] for one in left if "other" in one["name"]] == ["other_a_fb", "forced_other_a"]
        assert let_go(clusters(TRAFFIC, AT, None, [Other("a")]), self.present, 100.0) == [
            one for one in self.present if one["name"] != "other_a"
        ]

    def test_and_for_ten_minutes_only(self) -> None:
        wanted = clusters(TRAFFIC, AT)
        left = let_go(wanted, self.present, 100.0)
        assert left != wanted
        assert let_go(wanted, left, 699.0) == keep_others(wanted, left) == left
        assert let_go(wanted, left, 700.0) == wanted

    def test_one_that_comes_again_is_as_new(self) -> None:
        left = let_go(clusters(TRAFFIC, AT), self.present, 100.0)
        assert keep_others(self.present, left) == let_go(self.present, left, 101.0) == self.present

    def test_a_start_goes_on_with_what_was_served(self) -> None:
        for others in ((), (Other("b"),), (Other("a"),)):
            assert taken_over(clusters(TRAFFIC, AT, None, others), self.present) == self.present


def test_no_two_clusters_have_a_name_in_common() -> None:
    names = ["shadow", "echo", "feedback", "a", "a-fb", "fb", "forced", "other", "forced-other-a", "candidate-fb"]
    found = [one["name"] for one in clusters(TRAFFIC, AT, Path("s"), [Other(name, (THREE,)) for name in names])]
    assert len(set(found)) == len(found)
    assert {challenger(name) for name in found} == {*names, None}


def test_raising_the_weight_moves_users_one_way() -> None:
    """The rule that Envoy follows, for 10,000 users; that it follows it is tested with Envoy itself."""
    buckets = [xxhash.xxh64(f"lockgateuser-{i}".encode()).intdigest() % WHOLE for i in range(10_000)]
    candidates = [{i for i, bucket in enumerate(buckets) if bucket >= WHOLE - w} for w in (0, 500, 2500, 5000, WHOLE)]
    assert not candidates[0]
    assert len(candidates[-1]) == len(buckets)
    assert all(before < after for before, after in pairwise(candidates))


def cluster(name: str) -> Any:
    return next(one for one in clusters(TRAFFIC, AT) if one["name"] == name)


def test_whoever_keeps_a_body_can_keep_the_largest() -> None:
    [ingress, _] = listeners(TRAFFIC, AT)
    filters = ingress["filter_chains"][0]["filters"][0]["typed_config"]["http_filters"]
    [buffer] = [one for one in filters if one["name"] == "envoy.filters.http.buffer"]
    assert buffer["typed_config"]["max_request_bytes"] == TRAFFIC.max_body
    [host] = route_configuration(TRAFFIC, ROUTES)[0]["virtual_hosts"]
    assert host["request_body_buffer_limit"] == TRAFFIC.max_body
    assert cluster("shadow")["per_connection_buffer_limit_bytes"] > TRAFFIC.max_body


def test_shadow_and_candidate_read_the_same_endpoints() -> None:
    assert cluster("shadow")["eds_cluster_config"] == cluster("candidate")["eds_cluster_config"]


def test_the_bootstrap_depends_on_the_run_directory_alone() -> None:
    """So `rollout.traffic` can change while Envoy runs."""
    text = json.dumps(bootstrap(AT, AT.path / "admin.sock"))
    assert TRAFFIC.listen.rpartition(":")[2] not in text
    assert TRAFFIC.metrics.rpartition(":")[2] not in text


KEYED = Traffic.model_validate(
    {
        "clients": {"keys": {"shop": "k" * 16, "tester": ["t" * 16, "u" * 16]}},
        "force": {"header": "x-variant", "clients": ["tester"]},
        "limits": {"requests": 10, "each": "client"},
    }
)
OTHER_KEYS = Traffic.model_validate(
    {"clients": {"header": "x-api-key", "keys": {"shop": "n" * 16}}, "force": {"header": "x-pick"}, "max_body": "1MiB"}
)
AUTH = "envoy.filters.http.api_key_auth"


def test_a_route_that_has_rules_of_its_own_asks_for_the_same_keys() -> None:
    """Envoy takes the nearest rules whole: those of the route replace those of the host."""
    [host] = route_configuration(KEYED, replace(ROUTES, others=OTHERS), feedback=True)[0]["virtual_hosts"]
    rules = [(of["name"], of.get("typed_per_filter_config", {}).get(AUTH)) for of in (host, *host["routes"])]
    [(name, every), *forced] = [(name, rule) for name, rule in rules if rule]
    assert (name, "allowed_clients" in every) == ("all", False)
    assert [route for route, _ in forced] == ["force-candidate", "force-stable", "force-a", "force-b"]
    for _, of in forced:
        assert of == every | {"allowed_clients": ["tester"]}


@pytest.mark.parametrize("methods", ["all", ["GET"]])
@pytest.mark.parametrize(("mine", "present"), [(TRAFFIC, KEYED), (KEYED, TRAFFIC), (KEYED, OTHER_KEYS)])
def test_other_routes_are_protected_as_those_before(mine: Traffic, present: Traffic, methods: Any) -> None:
    """Also those of a challenger that was not there, and the twins."""
    failover = {"failover": Failover(methods=methods)}
    mine, after = mine.model_copy(update=failover), replace(ROUTES, weight=7, others=OTHERS)
    found = protected(route_configuration(mine, after), route_configuration(present, ROUTES))
    assert found == route_configuration(present.model_copy(update=failover), after)


def test_what_the_rollout_was_opened_with_stays_the_drivers() -> None:
    mine = Traffic.model_validate({"timeout": "3s", "sticky": {"header": "x-cart"}})
    assert protected(route_configuration(mine, ROUTES), route_configuration(TRAFFIC, ROUTES)) == route_configuration(
        mine, ROUTES
    )


def test_without_them_no_key_is_asked_for_and_nothing_is_limited() -> None:
    assert "typed_per_filter_config" not in str(route_configuration(TRAFFIC, ROUTES))
    [ingress, _] = listeners(TRAFFIC, AT)
    assert "transport_socket" not in str(ingress)
    assert listeners(KEYED, AT) == listeners(TRAFFIC, AT)  # so nobody has to connect anew


def test_latency_edges_have_two_digits_and_rise_by_a_tenth() -> None:
    names, edges = list(latency_buckets()), list(latency_buckets().values())
    assert edges[:20] == list(range(1, 21))
    assert edges[-1] == 30_000
    assert names[:3] == [0.5, 1, 2]
    assert names == sorted(set(names))
    for edge, after in pairwise(edges[19:-1]):
        assert 1.04 < after / edge < 1.16
        assert float(f"{after:.1e}") == after
    for name, edge in zip(names[10:], edges[10:], strict=True):  # the number before it with two digits
        assert edge == name + 10 ** (len(str(int(name))) - 2)


@pytest.mark.parametrize(("seconds", "text"), [(0.25, "0.25s"), (10.0, "10s"), (1e-6, "0.000001s"), (100.0, "100s")])
def test_durations_have_no_exponent(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_short_run_directory_holds_its_socket(tmp_path: Path) -> None:
    assert admin_socket(folder(tmp_path)) == tmp_path / "admin.sock"


def test_a_long_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    long = folder(tmp_path / ("x" * 100))
    socket = admin_socket(long)
    assert len(str(socket)) <= 107
    assert socket.parent.stat().st_mode & 0o777 == 0o700
    assert socket == admin_socket(long)
    assert socket != admin_socket(folder(tmp_path / ("y" * 100)))
    socket.parent.chmod(0o755)
    with pytest.raises(RouterDown, match="only this user can open"):
        admin_socket(long)
    socket.parent.rmdir()
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    socket.parent.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RouterDown, match="only this user can open"):
        admin_socket(long)


def test_a_socket_that_is_too_long_anywhere_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = tmp_path / ("t" * 100)
    deep.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(deep))
    with pytest.raises(RouterDown, match="set TMPDIR"):
        admin_socket(folder(deep / "run"))
