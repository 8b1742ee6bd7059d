from __future__ import annotations

from collections import Counter
from math import inf
from types import SimpleNamespace
from typing import Any

import pytest

from lockgate.monitoring.measurement import Histogram
from lockgate.rollout.envoy.source import EnvoySource, _Cluster
from lockgate.rollout.errors import RouterDown, SourceDown
from lockgate.rollout.words import Replica

TEXT = """\
# TYPE envoy_cluster_upstream_rq_completed counter
envoy_cluster_upstream_rq_completed{envoy_cluster_name="stable"} 100
envoy_cluster_upstream_rq_completed{envoy_cluster_name="candidate_fb"} 50
envoy_cluster_upstream_rq_completed{envoy_cluster_name="shadow"} 40
envoy_cluster_upstream_rq_xx{envoy_response_code_class="5",envoy_cluster_name="stable"} 3
envoy_cluster_upstream_rq_xx{envoy_response_code_class="5",envoy_cluster_name="candidate_fb"} 1
envoy_cluster_upstream_rq_xx{envoy_response_code_class="5",envoy_cluster_name="shadow"} 9
envoy_cluster_upstream_rq_retry{envoy_cluster_name="stable"} 2
envoy_cluster_upstream_rq_retry_success{envoy_cluster_name="stable"} 2
envoy_cluster_upstream_rq_retry{envoy_cluster_name="candidate_fb"} 7
envoy_cluster_upstream_rq_retry_success{envoy_cluster_name="candidate_fb"} 6
envoy_cluster_upstream_rq_pending_overflow{envoy_cluster_name="shadow"} 5
envoy_cluster_upstream_rq_max_duration_reached{envoy_cluster_name="shadow"} 2
envoy_cluster_upstream_rq_timeout{envoy_cluster_name="stable"} 1
# TYPE envoy_cluster_upstream_rq_time histogram
envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name="stable",le="0.5"} 60
envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name="stable",le="19"} 90
envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name="stable",le="29000"} 98
envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name="stable",le="+Inf"} 99
envoy_cluster_upstream_rq_time_sum{envoy_cluster_name="stable"} 1234.5
envoy_cluster_upstream_rq_time_count{envoy_cluster_name="stable"} 99
envoy_cluster_endpoint_rq_total{envoy_cluster_name="stable",envoy_endpoint_address="127.0.0.1:9"} 60
envoy_cluster_endpoint_rq_total{envoy_cluster_name="stable",envoy_endpoint_address="127.0.0.1:10"} 40
envoy_cluster_endpoint_rq_error{envoy_cluster_name="stable",envoy_endpoint_address="127.0.0.1:9"} 3
envoy_cluster_endpoint_rq_total{envoy_cluster_name="candidate",envoy_endpoint_address="127.0.0.1:8"} 50
"""


class _Router:
    def __init__(self, text: str | RouterDown) -> None:
        self.admin = self
        self._text = text

    def get(self, _: str) -> str:
        if isinstance(self._text, RouterDown):
            raise self._text
        return self._text


def source(text: str | RouterDown) -> EnvoySource:
    router: Any = _Router(text)
    return EnvoySource(router)


def test_each_request_counts_once() -> None:
    counts = source(TEXT).measure()
    assert (counts.stable.requests, counts.stable.errors) == (100, 5)
    assert (counts.candidate.requests, counts.candidate.errors) == (50, 7)
    assert (counts.shadow.requests, counts.shadow.errors) == (37, 6)


def test_every_other_that_envoy_knows() -> None:
    more = """\
envoy_cluster_upstream_rq_completed{envoy_cluster_name="other_small_fb"} 30
envoy_cluster_upstream_rq_retry_success{envoy_cluster_name="other_small_fb"} 4
envoy_cluster_upstream_rq_completed{envoy_cluster_name="other_v-14_fb"} 0
"""
    others = source(TEXT + more).measure().others
    assert {name: (of.requests, of.errors) for name, of in others.items()} == {"small": (30, 4), "v-14": (0, 0)}
    assert source(TEXT).measure().others == {}


def test_what_was_never_answered_is_slower_than_any_edge() -> None:
    assert source(TEXT).measure().stable.latency == Histogram((1.0, 20.0, 30_000.0, inf), (60, 90, 98, 100))


def test_a_side_that_never_answered_is_slow_too() -> None:
    latency = source('envoy_cluster_upstream_rq_timeout{envoy_cluster_name="stable"} 3').measure().stable.latency
    assert latency.above(20_000) == latency.total == 3


def test_stables_replicas_count_by_address() -> None:
    assert source(TEXT).measure().replicas == (Replica("127.0.0.1:10", 40, 0), Replica("127.0.0.1:9", 60, 3))


def test_nothing_counted_yet_is_nothing() -> None:
    counts = source("").measure()
    assert (counts.candidate.requests, counts.candidate.latency.total) == (0, 0)


def test_no_router_is_no_source() -> None:
    with pytest.raises(SourceDown, match="gone"):
        source(RouterDown("gone")).measure()


def test_the_shadows_counts_never_go_back_while_envoy_runs() -> None:
    source = EnvoySource(SimpleNamespace(admin=None))  # type: ignore[arg-type]
    first = source._never_back(_Cluster(Counter({"completed": 100, "5xx": 20, "pending_overflow": 10})))
    assert (first.requests, first.errors) == (90, 10)
    torn = source._never_back(_Cluster(Counter({"completed": 101, "5xx": 20, "pending_overflow": 12})))
    assert (torn.requests, torn.errors) == (90, 10)
    restarted = source._never_back(_Cluster(Counter({"completed": 3, "5xx": 1})))
    assert (restarted.requests, restarted.errors) == (3, 1)
