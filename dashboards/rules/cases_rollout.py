"""The tests of the alerts about rollouts: drivers, drift, steps."""

from __future__ import annotations

from lockgate.dashboards.rules.words import Case

_NAME = 'name="fraud"'
_OPEN = f"lockgate_rollout_open{{{_NAME}}}"
_DRIVEN = f"lockgate_controller_driven{{{_NAME}}}"
_ENDED = f'lockgate_rollouts_total{{{_NAME}, outcome="rolled_back"}}'
_HELD = f"lockgate_rollout_held{{{_NAME}}}"
_PAUSED = f"lockgate_rollout_paused{{{_NAME}}}"
_DRIFTS = f"lockgate_drift_detected{{{_NAME}}}"
_WORSE = f'lockgate_performance_drifting{{{_NAME}, version="7", measure="accuracy"}}'
_SINCE = f"lockgate_rollout_step_since_timestamp_seconds{{{_NAME}}}"
_TIMEOUT = f"lockgate_rollout_step_timeout_seconds{{{_NAME}}}"
_WAITING = f'lockgate_rollout_phase{{{_NAME}, phase="waiting"}}'
_PENDING = f'lockgate_approval_pending{{{_NAME}, role="risk-leads"}}'
_IN_STEP = {_SINCE: "0x90", _TIMEOUT: "3600x90"}


def _of(severity: str, **labels: str) -> dict[str, str]:
    return {"name": "fraud", "severity": severity, **labels}


ROLLOUT = (
    Case(
        "LockgateRolledBack",
        "the first rollout is rolled back",
        {_ENDED: "0x5 1x20"},
        8,
        _of("info", outcome="rolled_back"),
        "A rollout of fraud ended as rolled_back",
        "Stable answers everything again.",
    ),
    Case("LockgateRolledBack", "one was, an hour ago", {_ENDED: "0x5 1x80"}, 70),
    Case(
        "LockgateControllerSilent",
        "its driver is gone",
        {_OPEN: "1x20", _DRIVEN: "1x5 0x15"},
        9,
        _of("critical"),
        "Nobody drives the open rollout of fraud",
        "Traffic stays as it is, and no gate rolls a bad candidate back.",
    ),
    Case("LockgateControllerSilent", "another driver takes it up", {_OPEN: "1x20", _DRIVEN: "1x5 0 1x20"}, 9),
    Case("LockgateControllerSilent", "no rollout is open", {_OPEN: "0x20", _DRIVEN: "0x20"}, 9),
    Case(
        "LockgateRolloutHeld",
        "drift holds it",
        {_HELD: "0x5 1x5"},
        7,
        _of("warning"),
        "The rollout of fraud is held: its inputs drift",
        "No step goes on until the drift is over; a failing gate still rolls back.",
    ),
    Case("LockgateRolloutHeld", "it goes on", {_HELD: "1x5 0x5"}, 7),
    Case(
        "LockgatePerformanceDrift",
        "accuracy fell",
        {_WORSE: "0x5 1x5"},
        7,
        _of("warning", version="7", measure="accuracy"),
        "Version 7 of fraud answers worse than it did",
        "By the labels that came, its accuracy became worse than the limit, and that is no chance. Nothing is held: a"
        " better candidate may take its place.",
    ),
    Case("LockgatePerformanceDrift", "it is as it was", {_WORSE: "1x5 0x5"}, 7),
    Case("LockgatePerformanceDrift", "too few labels came", {_WORSE: "1x2 stale"}, 7),
    Case(
        "LockgateInputsDrift",
        "the inputs drift",
        {_DRIFTS: "1x10", _OPEN: "1x10"},
        5,
        _of("warning"),
        "The inputs of fraud are no longer like the training data",
        "Stable and candidate see the same inputs, so neither is to blame; but answers of both may be worth less.",
    ),
    Case("LockgateInputsDrift", "they did when the last rollout ended", {_DRIFTS: "1x10", _OPEN: "0x10"}, 5),
    Case("LockgateInputsDrift", "they do not", {_DRIFTS: "0x10", _OPEN: "1x10"}, 5),
    Case(
        "LockgateRolloutUndecided",
        "54 of 60 minutes are over",
        {**_IN_STEP, _PAUSED: "0x90", _HELD: "0x90"},
        54,
        _of("warning"),
        "A step of fraud is still undecided after 90% of its time",
        "When its timeout ends, the step ends as its on_timeout says.",
    ),
    Case("LockgateRolloutUndecided", "30 of 60 are", {**_IN_STEP, _PAUSED: "0x90", _HELD: "0x90"}, 30),
    Case("LockgateRolloutUndecided", "a person paused it", {**_IN_STEP, _PAUSED: "1x90", _HELD: "0x90"}, 54),
    Case("LockgateRolloutUndecided", "drift holds it", {**_IN_STEP, _PAUSED: "0x90", _HELD: "1x90"}, 54),
    Case(
        "LockgateRolloutWaits",
        "on_timeout is hold",
        {_WAITING: "1x20"},
        10,
        _of("warning", phase="waiting"),
        "The rollout of fraud waits for a person",
        "A step's time ended undecided, and it has on_timeout: hold. Traffic stays as it is.",
    ),
    Case("LockgateRolloutWaits", "it waits in an approval step", {_WAITING: "1x20", _PENDING: "1x20"}, 10),
    Case("LockgateRolloutWaits", "it goes on", {_WAITING: "0x20"}, 10),
)
