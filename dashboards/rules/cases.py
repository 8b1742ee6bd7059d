"""Two tests of each alert at least: samples with which it fires, and samples with which it must not.

`promtool test rules` computes the recorded series from the samples too.
"""

from __future__ import annotations

from lockgate.dashboards.rules.cases_rollout import ROLLOUT
from lockgate.dashboards.rules.words import Case

_NAME = 'name="fraud"'
_STABLE = f'{_NAME}, variant="stable", traffic="live"'
_CANDIDATE = f'{_NAME}, variant="candidate", traffic="live"'
_SHADOW = f'{_NAME}, variant="candidate", traffic="shadow"'
_BAD = 'envoy_response_code_class="5"'
_GOOD = 'envoy_response_code_class="2"'
_HOUR = 60


def _clients(good: str, bad: str) -> dict[str, str]:
    of = "envoy_http_downstream_rq_xx"
    return {f"{of}{{{_NAME}, {_GOOD}}}": good, f"{of}{{{_NAME}, {_BAD}}}": bad}


def _routed(labels: str, completed: str, failed: str, rescued: str) -> dict[str, str]:
    of = "envoy_cluster_upstream_rq"
    return {
        f"{of}_completed{{{labels}}}": completed,
        f"{of}_xx{{{labels}, {_BAD}}}": failed,
        f"{of}_retry_success{{{labels}}}": rescued,
    }


def _copied(completed: str, failed: str, shed: str, late: str) -> dict[str, str]:
    of = "envoy_cluster_upstream_rq"
    return {
        f"{of}_completed{{{_SHADOW}}}": completed,
        f"{of}_xx{{{_SHADOW}, {_BAD}}}": failed,
        f"{of}_retry_success{{{_SHADOW}}}": "0x40",
        f"{of}_pending_overflow{{{_SHADOW}}}": shed,
        f"{of}_max_duration_reached{{{_SHADOW}}}": late,
    }


_FAST, _SLOW = "LockgateErrorBudgetBurnsFast", "LockgateErrorBudgetBurnsSlowly"
_BURNS = (
    Case(
        _FAST,
        "5 % of the answers are errors",
        _clients("0+95x80", "0+5x80"),
        70,
        {"name": "fraud", "severity": "critical"},
        "Clients of fraud get errors more than 14.4 times as fast as the budget allows",
        "5% of the answers of the last 5m were errors (5xx), and more than 1.44 % of those of the last 1h: 2 % of the"
        " month's budget goes in an hour. The objective is 99.9 %.",
    ),
    Case(_FAST, "one in a thousand is an error", _clients("0+999x80", "0+1x80"), 70),
    Case(_FAST, "the errors are over", _clients("0+95x60 5800+100x20", "0+5x60 300+0x20"), 70),
    Case(_FAST, "nobody asks", _clients("0x80", "0x80"), 70),
    Case(
        _SLOW,
        "1 % of the answers are errors",
        _clients("0+99x400", "0+1x400"),
        390,
        {"name": "fraud", "severity": "warning"},
        "Clients of fraud get errors more than 6 times as fast as the budget allows",
        "1% of the answers of the last 30m were errors (5xx), and more than 0.6 % of those of the last 6h: 5 % of the"
        " month's budget goes in six hours. The objective is 99.9 %.",
    ),
    Case(_SLOW, "one in five hundred is an error", _clients("0+499x400", "0+1x400"), 390),
)

_FAILS = "LockgateCandidateFails"
_HIDDEN = (
    "Clients are answered by stable where it fails, so they may see nothing of it. The gates decide whether it is"
    " rolled back: they compare it with stable, this alert does not."
)
_FAILING = (
    Case(
        _FAILS,
        "stable rescues a tenth of the candidate's requests",
        _routed(_CANDIDATE, "0+100x20", "0x20", "0+10x20"),
        10,
        {"name": "fraud", "variant": "candidate", "traffic": "live", "severity": "warning"},
        "candidate of fraud fails 10% of its live requests",
        _HIDDEN,
    ),
    Case(
        _FAILS,
        "a tenth of the copies is not answered in time",
        _copied("0+90x20", "0x20", "0x20", "0+10x20"),
        10,
        {"name": "fraud", "variant": "candidate", "traffic": "shadow", "severity": "warning"},
        "candidate of fraud fails 10% of its shadow requests",
        _HIDDEN,
    ),
    Case(_FAILS, "the router sheds copies", _copied("0+100x20", "0+50x20", "0+50x20", "0x20"), 10),
    Case(_FAILS, "stable fails, the candidate does not", _routed(_STABLE, "0+100x20", "0+50x20", "0x20"), 10),
    Case(_FAILS, "it fails one in a hundred", _routed(_CANDIDATE, "0+100x20", "0+1x20", "0x20"), 10),
)


def _of(severity: str, **labels: str) -> dict[str, str]:
    return {"name": "fraud", "severity": severity, **labels}


_ASKED = f'lockgate_approval_asked_timestamp_seconds{{{_NAME}, role="risk-leads"}}'
_VOID = f'lockgate_approval_expires_timestamp_seconds{{{_NAME}, role="risk-leads"}}'
_APPROVAL = (
    Case(
        "LockgateApprovalWaits",
        "nobody answers for five hours",
        {_ASKED: "0x400"},
        5 * _HOUR,
        _of("warning", role="risk-leads"),
        "fraud waits for approval since 5h 0m 0s",
        "Asked: risk-leads.",
    ),
    Case(
        "LockgateApprovalWaits",
        "nobody answers, and no role is asked for",
        {f"lockgate_approval_asked_timestamp_seconds{{{_NAME}}}": "0x400"},
        5 * _HOUR,
        _of("warning"),
        "fraud waits for approval since 5h 0m 0s",
        "Asked: whoever may edit the version.",
    ),
    Case("LockgateApprovalWaits", "they were asked three hours ago", {_ASKED: "0x400"}, 3 * _HOUR),
    Case("LockgateApprovalWaits", "they approved", {_ASKED: "0x60 _x400"}, 5 * _HOUR),
    Case(
        "LockgateApprovalExpires",
        "half an hour is left",
        {_VOID: "7200x120"},
        90,
        _of("warning", role="risk-leads"),
        "What fraud asks approval for is void in 30m 0s",
        "Then it is rolled back, or asked anew, as the step's on_expiry says.",
    ),
    Case("LockgateApprovalExpires", "two hours are left", {_VOID: "7200x120"}, 0),
)

_OPEN = f"lockgate_rollout_open{{{_NAME}}}"
_EXPORTER = 'up{job="lockgate-exporter", instance="127.0.0.1:9464"}'
_ROUTER = f'up{{job="lockgate-envoy", instance="127.0.0.1:9901", {_NAME}}}'
_REPLICA = (
    f'up{{job="lockgate-replica", instance="127.0.0.1:3000", {_NAME}, variant="stable", version="1", replica="a1"}}'
)
_LEFT = f"envoy_cluster_membership_total{{{_STABLE}}}"
_TRIED = f"envoy_cluster_membership_total{{{_CANDIDATE}}}"
_WEIGHT = f'lockgate_rollout_weight_ratio{{{_NAME}, variant="candidate"}}'
_DROPPED = f'lockgate_service_capture_dropped_total{{{_NAME}, variant="stable", replica="a1"}}'
_FAILURES = f'lockgate_service_capture_failures_total{{{_NAME}, variant="stable", replica="a1"}}'
_GONE = "It is given traffic, and nobody is there to answer. For a challenger, stable answers."
_PARTS = (
    Case(
        "LockgateStoreDown",
        "it does not answer",
        {"lockgate_store_up": "1x5 0x10"},
        9,
        {"severity": "critical"},
        "The store of rollouts does not answer",
        "Drivers wait, and traffic stays as it is until the store answers again.",
    ),
    Case("LockgateStoreDown", "one scrape found it down", {"lockgate_store_up": "1x5 0 1x10"}, 7),
    Case(
        "LockgateMetricsMissing",
        "the exporter is gone",
        {_EXPORTER: "1x5 0x10"},
        9,
        {"severity": "warning", "job": "lockgate-exporter", "instance": "127.0.0.1:9464"},
        "Lockgate's exporter does not answer",
        "Alerts about rollouts, approvals and drift cannot fire.",
    ),
    Case("LockgateMetricsMissing", "it answers", {_EXPORTER: "1x15"}, 9),
    Case(
        "LockgateRouterDown",
        "the router is gone",
        {_ROUTER: "1x5 0x10"},
        8,
        _of("critical", instance="127.0.0.1:9901"),
        "The router of fraud does not answer",
        "Clients cannot be answered while it is down.",
    ),
    Case("LockgateRouterDown", "it answers", {_ROUTER: "1x15"}, 8),
    Case(
        "LockgateNoReplica",
        "stable's replicas are gone",
        {_LEFT: "1x5 0x10"},
        8,
        _of("critical", variant="stable", traffic="live"),
        "stable of fraud has no replica",
        _GONE,
    ),
    Case(
        "LockgateNoReplica",
        "the candidate's are, and it has users",
        {_TRIED: "1x5 0x10", _WEIGHT: "0.05x15", _OPEN: "1x15"},
        8,
        _of("critical", variant="candidate", traffic="live"),
        "candidate of fraud has no replica",
        _GONE,
    ),
    Case("LockgateNoReplica", "it has none yet", {_TRIED: "0x15", _WEIGHT: "0x15", _OPEN: "1x15"}, 8),
    Case("LockgateNoReplica", "its rollout is over", {_TRIED: "0x15", _WEIGHT: "1x15", _OPEN: "0x15"}, 8),
    Case("LockgateNoReplica", "a replica comes back at once", {_LEFT: "1x5 0 1x10"}, 8),
    Case(
        "LockgateReplicaDown",
        "it answers no scrape",
        {_REPLICA: "1x5 0x10"},
        8,
        _of("warning", job="lockgate-replica", instance="127.0.0.1:3000", variant="stable", version="1", replica="a1"),
        "A replica of stable of fraud does not answer",
        "Replica a1 on 127.0.0.1:3000 runs, and answers no scrape. The router still sends it requests.",
    ),
    Case("LockgateReplicaDown", "one scrape is lost", {_REPLICA: "1x5 0 1x10"}, 7),
    Case(
        "LockgateCaptureDrops",
        "requests are not kept",
        {_DROPPED: "0+60x20", _FAILURES: "0x20"},
        15,
        _of("warning", variant="stable"),
        "Captured traffic of stable of fraud has gaps",
        "Answers are not slowed by it. Gates that compare answers, drift and A/B tests see less than there was.",
    ),
    Case("LockgateCaptureDrops", "every one is kept", {_DROPPED: "7x20", _FAILURES: "1x20"}, 15),
)

CASES = (*_BURNS, *_FAILING, *ROLLOUT, *_APPROVAL, *_PARTS)
