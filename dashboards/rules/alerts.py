"""What alerts, in plain words. Everything that an expression names is in the catalog."""

from __future__ import annotations

from lockgate.dashboards.rules import burn
from lockgate.dashboards.rules.words import Alert
from lockgate.monitoring.catalog import JOBS

_NAME = "{{ $labels.name }}"
_VARIANT = "{{ $labels.variant }}"
_SHARE = "{{ $value | humanizePercentage }}"
_FOR = "{{ $value | humanizeDuration }}"

_ROLLOUT = (
    Alert(
        "LockgateCandidateFails",
        "warning",
        'lockgate:error_ratio:rate5m{variant!="stable", traffic=~"live|shadow"} > 0.05',
        "1m",
        f"{_VARIANT} of {_NAME} fails {_SHARE} of its {{{{ $labels.traffic }}}} requests",
        "Clients are answered by stable where it fails, so they may see nothing of it. The gates decide whether it is"
        " rolled back: they compare it with stable, this alert does not.",
        "`lockgate status NAME` shows what the gates say. Where the reason is clear, `lockgate abort NAME` ends the"
        " rollout at once; the replicas' logs have the errors themselves.",
    ),
    Alert(
        "LockgateRolledBack",
        "info",
        'increase(lockgate_rollouts_total{outcome=~"rolled_back|failed"}[15m]) > 0',
        "0m",
        f"A rollout of {_NAME} ended as {{{{ $labels.outcome }}}}",
        "Stable answers everything again.",
        "`lockgate history NAME` says which gate, person or error ended it, with the numbers. Nothing has to be done"
        " about traffic.",
    ),
    Alert(
        "LockgateControllerSilent",
        "critical",
        "lockgate_rollout_open == 1 and on (name) lockgate_controller_driven == 0",
        "2m",
        f"Nobody drives the open rollout of {_NAME}",
        "Traffic stays as it is, and no gate rolls a bad candidate back.",
        "Go on with `lockgate run`, or let `lockgate sweep` or `lockgate serve` take it up. If it is to end,"
        " `lockgate abort NAME` and then `lockgate run` return all traffic to stable.",
    ),
    Alert(
        "LockgateRolloutHeld",
        "warning",
        "lockgate_rollout_held == 1",
        "0m",
        f"The rollout of {_NAME} is held: its inputs drift",
        "No step goes on until the drift is over; a failing gate still rolls back.",
        "`lockgate drift` shows which inputs, and by how much. Where the drift is expected, `lockgate resume NAME` lets"
        " the rollout go on; else mend what feeds the inputs.",
    ),
    Alert(
        "LockgateInputsDrift",
        "warning",
        "lockgate_drift_detected == 1 and on (name) lockgate_rollout_open == 1",
        "0m",
        f"The inputs of {_NAME} are no longer like the training data",
        "Stable and candidate see the same inputs, so neither is to blame; but answers of both may be worth less.",
        "`lockgate drift --html drift.html` draws each input beside its reference. See docs/drift.md for what to ignore"
        " and how to set the threshold.",
    ),
    Alert(
        "LockgatePerformanceDrift",
        "warning",
        "lockgate_performance_drifting == 1",
        "0m",
        f"Version {{{{ $labels.version }}}} of {_NAME} answers worse than it did",
        "By the labels that came, its {{ $labels.measure }} became worse than the limit, and that is no chance. Nothing"
        " is held: a better candidate may take its place.",
        "`lockgate drift` shows since when, and on how many labels it rests. Where the world has changed, train anew;"
        " where the labels are of some kinds of requests only (see the coverage), mend that first.",
    ),
    Alert(
        "LockgateRolloutUndecided",
        "warning",
        "(time() - lockgate_rollout_step_since_timestamp_seconds) / lockgate_rollout_step_timeout_seconds > 0.8"
        " and on (name) lockgate_rollout_paused == 0 and on (name) lockgate_rollout_held == 0",
        "1m",
        f"A step of {_NAME} is still undecided after {_SHARE} of its time",
        "When its timeout ends, the step ends as its on_timeout says.",
        "Too little traffic is the usual reason: compare `lockgate_rollout_step_requests` with what `lockgate plan`"
        " foresees. `lockgate promote` and `lockgate abort` decide by hand.",
    ),
    Alert(
        "LockgateRolloutWaits",
        "warning",
        'lockgate_rollout_phase{phase="waiting"} == 1 unless on (name) lockgate_approval_pending',
        "5m",
        f"The rollout of {_NAME} waits for a person",
        "A step's time ended undecided, and it has on_timeout: hold. Traffic stays as it is.",
        "`lockgate status NAME` shows how far the gates are. `lockgate promote NAME` or `lockgate abort NAME` ends it.",
    ),
)

_APPROVAL = (
    Alert(
        "LockgateApprovalWaits",
        "warning",
        "time() - lockgate_approval_asked_timestamp_seconds > 4 * 3600",
        "0m",
        f"{_NAME} waits for approval since {_FOR}",
        "Asked: {{ if $labels.role }}{{ $labels.role }}{{ else }}whoever may edit the version{{ end }}.",
        "Open the version's page in MLflow, read the evidence, and approve or reject; or `lockgate approve NAME`.",
    ),
    Alert(
        "LockgateApprovalExpires",
        "warning",
        "lockgate_approval_expires_timestamp_seconds - time() < 3600",
        "0m",
        f"What {_NAME} asks approval for is void in {_FOR}",
        "Then it is rolled back, or asked anew, as the step's on_expiry says.",
        "Approve or reject on the version's page in MLflow. With on_expiry: renew nothing is lost.",
    ),
)

_PARTS = (
    Alert(
        "LockgateStoreDown",
        "critical",
        "lockgate_store_up == 0",
        "1m",
        "The store of rollouts does not answer",
        "Drivers wait, and traffic stays as it is until the store answers again.",
        "The log of `lockgate metrics` names the database and its error. Is PostgreSQL up, is the disk full, is"
        " LOCKGATE_STATE_URL right?",
    ),
    Alert(
        "LockgateMetricsMissing",
        "warning",
        f'up{{job="{JOBS["exporter"]}"}} == 0',
        "2m",
        "Lockgate's exporter does not answer",
        "Alerts about rollouts, approvals and drift cannot fire.",
        "Start `lockgate metrics` or `lockgate observe` again; its terminal says why it ended.",
    ),
    Alert(
        "LockgateRouterDown",
        "critical",
        f'min by (name, instance) (up{{job="{JOBS["envoy"]}"}}) == 0',
        "30s",
        f"The router of {_NAME} does not answer",
        "Clients cannot be answered while it is down.",
        "Whoever drives a rollout, `lockgate serve` and `lockgate supervise` start it again by themselves; without them"
        " `lockgate up` does. Its log is $LOCKGATE_HOME/NAME/router/log/envoy.log.",
    ),
    Alert(
        "LockgateNoReplica",
        "critical",
        'envoy_cluster_membership_total{traffic="live"} == 0'
        " and on (name, variant) lockgate_rollout_weight_ratio > 0 and on (name) lockgate_rollout_open == 1"
        ' or envoy_cluster_membership_total{traffic="live", variant="stable"} == 0',
        "1m",
        f"{_VARIANT} of {_NAME} has no replica",
        "It is given traffic, and nobody is there to answer. For a challenger, stable answers.",
        "Whoever drives a rollout, `lockgate serve` and `lockgate supervise` start replicas again by themselves;"
        " without them `lockgate up` does. Where they do not stay up, their logs are in"
        " $LOCKGATE_HOME/NAME/replicas/logs.",
    ),
    Alert(
        "LockgateReplicaDown",
        "warning",
        f'up{{job="{JOBS["replica"]}"}} == 0',
        "1m",
        f"A replica of {_VARIANT} of {_NAME} does not answer",
        "Replica {{ $labels.replica }} on {{ $labels.instance }} runs, and answers no scrape. The router still sends it"
        " requests.",
        "Look at $LOCKGATE_HOME/NAME/replicas/logs. Ending its process is safe: whoever drives a rollout,"
        " `lockgate serve`, `lockgate supervise` or `lockgate up` starts another one.",
    ),
    Alert(
        "LockgateCaptureDrops",
        "warning",
        "sum by (name, variant) (rate(lockgate_service_capture_dropped_total[5m]))"
        " + sum by (name, variant) (rate(lockgate_service_capture_failures_total[5m])) > 0",
        "5m",
        f"Captured traffic of {_VARIANT} of {_NAME} has gaps",
        "Answers are not slowed by it. Gates that compare answers, drift and A/B tests see less than there was.",
        "Is the disk full or slow? Else lower monitoring.capture.sample, or add replicas.",
    ),
)


def alerts(objective: float = burn.OBJECTIVE) -> tuple[Alert, ...]:
    """`objective`: percent of the clients' requests that are to be answered without error. Raises `ValueError`."""
    return (*burn.alerts(objective), *_ROLLOUT, *_APPROVAL, *_PARTS)
