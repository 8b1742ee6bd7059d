"""The port `MetricSource` on Envoy's own statistics.

A request counts once, when it has ended, however many attempts it took. It failed when its first attempt did: the
client got a 5xx, or got something better from the second attempt. For a challenger that second attempt is stable's
rescue, so the status that clients get says nothing about it. Nor would Envoy's counters per endpoint do: they leave
refused connections out of their total, include testers, and vanish with the endpoint. An answer that breaks off after
its headers counts as the status that it began with.

Of requests that are not sent a second time, Envoy counts what it gave up at the deadline for the candidate's endpoints
alone: see `once`.

Copies that Envoy shed, because too many were under way, are left out of the shadow's counts.

Latency runs from the end of the request to the end of the answer, so a rescue after the candidate's deadline is slow.
Requests that no one answered in time are slower than any edge. Histograms lag behind the counts by up to a second.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache

from lockgate.monitoring.measurement import Histogram, Tally
from lockgate.rollout.envoy.bootstrap import latency_buckets
from lockgate.rollout.envoy.clusters import CANDIDATE, CANDIDATE_FB, SHADOW, STABLE
from lockgate.rollout.envoy.once import ONCE, once
from lockgate.rollout.envoy.others import HOLDING, WITH_STABLE, challenger, holding, with_stable
from lockgate.rollout.envoy.router import EnvoyRouter
from lockgate.rollout.errors import RouterDown, SourceDown
from lockgate.rollout.words import Counts, Replica

_FILTER = (
    rf"^cluster\.({SHADOW}|({STABLE}|{CANDIDATE_FB}|{WITH_STABLE})({ONCE})?|({CANDIDATE}|{HOLDING}){ONCE})\.upstream_rq_"
    r"(completed|5xx|retry_success|timeout|max_duration_reached|pending_overflow|time)$"
    rf"|^cluster\.{STABLE}\.endpoint\..*\.rq_(total|error)$"
)
_REPLICA = re.compile(rf'envoy_cluster_endpoint_rq_(total|error)\{{(.*"{STABLE}".*)\}} (\d+)')
_SAMPLE = re.compile(r"envoy_cluster_upstream_rq_(\w+)\{(.*)\} (\d+)")
_LABELS = 4096
"""Of so many samples the labels are kept: they are the same in every tick."""
_LABEL = re.compile(r'(\w+)="([^"]*)"')
_EDGES = latency_buckets() | {math.inf: math.inf}


@dataclass
class _Cluster:
    """One cluster's numbers by their names in Envoy, and its histogram by upper edges in milliseconds."""

    numbers: Counter[str] = field(default_factory=Counter)
    buckets: dict[float, int] = field(default_factory=dict)

    def latency(self, unanswered: int) -> Histogram:
        """Envoy times only what was answered; `unanswered` took longer than it waited."""
        edges = tuple(sorted(self.buckets or _EDGES.values()))
        counts = [self.buckets.get(edge, 0) for edge in edges]
        return Histogram(edges, (*counts[:-1], counts[-1] + unanswered))


class EnvoySource:
    def __init__(self, router: EnvoyRouter) -> None:
        self._admin = router.admin
        self._shadow = (0, Tally())

    def measure(self) -> Counts:
        """See `MetricSource.measure`. Counts start at 0 whenever Envoy starts."""
        try:
            text = self._admin.get(f"/stats/prometheus?filter={_FILTER}")
        except RouterDown as reason:
            raise SourceDown(str(reason)) from reason
        read = _read(text)
        shadow = self._never_back(read[SHADOW])
        names = sorted({name for cluster in read if (name := challenger(cluster))})
        others = {name: _all(read, with_stable(name), holding(name)) for name in names}
        stable, candidate = _all(read, STABLE, STABLE), _all(read, CANDIDATE_FB, CANDIDATE)
        return Counts(stable, candidate, shadow, _replicas(text), others, read[SHADOW].numbers["pending_overflow"])

    def _never_back(self, cluster: _Cluster) -> Tally:
        """The shadow's counts are differences, and two of Envoy's counters may be read a moment apart.

        A count that falls by one for that would look like a restart of Envoy, where everything is counted anew.
        """
        completed, now = cluster.numbers["completed"], _shadow(cluster)
        before, then = self._shadow
        if completed >= before:
            now = replace(now, requests=max(now.requests, then.requests), errors=max(now.errors, then.errors))
        self._shadow = completed, now
        return now


def _all(read: defaultdict[str, _Cluster], routed: str, held: str) -> Tally:
    """Of a variant, with what was sent once. `routed`: the cluster of its routes; `held`: that of its endpoints."""
    answered = _answered(read[routed])
    if once(routed) not in read:
        return answered
    return answered.plus(_answered(read[once(routed)], read[once(held)].numbers["max_duration_reached"]))


def _answered(cluster: _Cluster, late: int = 0) -> Tally:
    """`late`: requests that were given up at the deadline, and counted nowhere else."""
    n = cluster.numbers
    return Tally(n["completed"] + late, n["5xx"] + n["retry_success"] + late, cluster.latency(n["timeout"] + late))


def _shadow(cluster: _Cluster) -> Tally:
    n = cluster.numbers
    late, shed = n["max_duration_reached"], n["pending_overflow"]
    return Tally(n["completed"] - shed + late, n["5xx"] - shed + late, cluster.latency(n["timeout"] + late))


def _replicas(text: str) -> tuple[Replica, ...]:
    """Enough to see how much replicas differ, and no verdict is made of them.

    These counters leave refused connections out, and begin anew with the endpoint.
    """
    found: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for name, labels, value in _REPLICA.findall(text):
        found[_labels(labels)["envoy_endpoint_address"]][name] += int(value)
    return tuple(Replica(address, of["total"], of["error"]) for address, of in sorted(found.items()))


@lru_cache(_LABELS)
def _labels(text: str) -> Mapping[str, str]:
    return dict(_LABEL.findall(text))


def _read(text: str) -> defaultdict[str, _Cluster]:
    """Envoy's Prometheus text; counters of a response class come as `xx` with the class as a label."""
    found: defaultdict[str, _Cluster] = defaultdict(_Cluster)
    for name, labels, value in _SAMPLE.findall(text):
        label = _labels(labels)
        cluster = found[label["envoy_cluster_name"]]
        if name == "time_bucket":
            le = float(label["le"])
            cluster.buckets[_EDGES.get(le, le)] = int(value)  # an Envoy of an earlier version has other edges
        elif name == "xx":
            cluster.numbers[label["envoy_response_code_class"] + "xx"] += int(value)
        else:
            cluster.numbers[name] += int(value)
    return found
