"""What Prometheus makes of Envoy's names; tests/integration/dashboards has a real Prometheus and a real Envoy."""

from __future__ import annotations

import re
from typing import Any

import pytest

from lockgate.flows.observing.scraping import configuration, duration, relabelled
from lockgate.rollout.envoy.bootstrap import latency_buckets


def relabel(name: str, **labels: str) -> dict[str, str] | None:
    """A sample's labels as Prometheus would keep them; None for one that it drops."""
    found = {"__name__": name, "version_of_stable": "1", "version_of_candidate": "2", **labels}
    for rule in relabelled():
        if rule.get("action") == "labeldrop":
            found = {key: value for key, value in found.items() if not re.fullmatch(rule["regex"], key)}
            continue
        joined = ";".join(found.get(key, "") for key in rule["source_labels"])
        match = re.fullmatch(rule["regex"], joined)
        if rule.get("action") == "keep":
            if not match:
                return None
        elif match:
            found[rule["target_label"]] = match.expand(rule["replacement"].replace("$", "\\"))
    return found


def routed(cluster: str, name: str = "envoy_cluster_upstream_rq_completed") -> Any:
    found = relabel(name, envoy_cluster_name=cluster)
    return found and (found["variant"], found["traffic"], found.get("version", ""))


@pytest.mark.parametrize(
    ("cluster", "meant"),
    [
        ("stable", ("stable", "live", "1")),
        ("candidate_fb", ("candidate", "live", "2")),
        ("shadow", ("candidate", "shadow", "2")),
        ("echo", ("stable", "echo", "1")),
        ("forced_stable", ("stable", "forced", "1")),
        ("forced_candidate", ("candidate", "forced", "2")),
        ("other_blue-2_fb", ("blue-2", "live", "")),
        ("forced_other_blue-2", ("blue-2", "forced", "")),
        ("stable_once", ("stable", "live", "1")),
        ("candidate_fb_once", ("candidate", "live", "2")),
        ("other_blue-2_fb_once", ("blue-2", "live", "")),
        ("forced_other_blue-2_once", ("blue-2", "forced", "")),
        ("candidate_once", None),
        ("candidate", None),  # its attempts are counted by what is routed to
        ("other_blue-2", None),
        ("admin", None),
        ("feedback", None),
    ],
)
def test_a_cluster_is_a_variant_and_a_kind_of_traffic(cluster: str, meant: Any) -> None:
    assert routed(cluster) == meant


def test_requests_that_are_sent_once_have_series_of_their_own() -> None:
    name = "envoy_cluster_upstream_rq_completed"
    told = relabel(name, envoy_cluster_name="candidate_fb_once"), relabel(name, envoy_cluster_name="candidate_fb")
    assert [one and one.get("sent") for one in told] == ["once", None]


@pytest.mark.parametrize(
    ("cluster", "variant"),
    [
        ("stable", "stable"),
        ("candidate", "candidate"),
        ("other_blue", "blue"),
        ("candidate_fb", None),
        ("shadow", None),
    ],
)
def test_replicas_are_counted_where_they_are_held(cluster: str, variant: str | None) -> None:
    found = routed(cluster, "envoy_cluster_membership_total")
    assert (found and found[0]) == variant


def test_only_clients_are_counted_as_clients() -> None:
    name = "envoy_http_downstream_rq_xx"
    assert relabel(name, envoy_http_conn_manager_prefix="ingress", envoy_response_code_class="5") == {
        "__name__": name,
        "envoy_response_code_class": "5",
    }
    assert relabel(name, envoy_http_conn_manager_prefix="metrics") is None


def test_what_nobody_looks_at_is_not_kept() -> None:
    assert relabel("envoy_cluster_upstream_cx_total", envoy_cluster_name="stable") is None
    assert relabel("envoy_server_memory_allocated") is None


@pytest.mark.parametrize("end", ["", ".0"])
def test_a_bucket_has_the_edge_that_envoy_means(end: str) -> None:
    """Prometheus 3 writes whole numbers with `.0`."""
    for name, edge in latency_buckets().items():
        written = f"{name:g}" + (end if name == round(name) else "")
        found = relabel("envoy_cluster_upstream_rq_time_bucket", envoy_cluster_name="stable", le=written)
        assert found is not None
        assert float(found["le"]) == edge


def test_alertmanagers_are_named_where_there_are_some() -> None:
    assert "alerting" not in configuration("127.0.0.1:9464", 5.0)
    (found,) = configuration("127.0.0.1:9464", 5.0, ["10.0.0.7:9093"])["alerting"]["alertmanagers"]
    assert found == {"static_configs": [{"targets": ["10.0.0.7:9093"]}]}


def test_every_path_is_within_the_folder() -> None:
    """It may be mounted elsewhere."""
    document = configuration("127.0.0.1:9464", 5.0)
    lists = [of for job in document["scrape_configs"] for sd in job.get("file_sd_configs", ()) for of in sd["files"]]
    assert lists == ["targets/envoy.json", "targets/replica.json"]
    assert document["rule_files"] == ["rules/*.yml"]


def test_durations_have_no_fractions() -> None:
    assert (duration(5.0), duration(0.5), duration(90.5)) == ("5s", "500ms", "90500ms")
