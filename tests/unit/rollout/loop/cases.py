"""The specs of the rollouts, and what may lead past one of their steps."""

from __future__ import annotations

from typing import Any

from lockgate.rollout.spec import ApprovalStep
from lockgate.rollout.state import Commanded, Decided, Judged, State
from lockgate.rollout.words import Outcome

_ERRORS = {"errors": {"metric": "error_rate", "margin": "1%"}}
_SOLD = {"window": "1s", "sql": {"url": "sqlite://", "query": "select :since", "every": "1s", "late": "1s"}}
SPECS: tuple[dict[str, Any], ...] = (
    {
        "steps": [
            {"shadow": {"timeout": "10m"}},
            {"canary": {"weight": 5, "timeout": "10m", "on_timeout": "hold"}},
            {"approval": {"expires": "1h"}},
            {"canary": {"weight": 50, "timeout": "10m"}},
        ],
    },
    {
        "steps": [
            {"canary": {"weight": 10, "until": "held", "hold": {"duration": "3s"}, "timeout": "10m"}},
            {"approval": {"expires": "1h", "on_expiry": "renew"}},
        ],
    },
    {
        "steps": [
            {"canary": {"weight": 20, "timeout": "10m"}},
            {"ab": {"weight": 40, "metric": "conversion", "timeout": "10m", "others": ["small"]}},
        ],
        "metrics": {"conversion": _SOLD},
    },
)


def document(number: int) -> dict[str, Any]:
    rollout = {"profile": "fast", "warm_up": {"requests": 0, "duration": "1s"}, "gates": _ERRORS, **SPECS[number]}
    others = {"others": {"small": "@small"}} if "metrics" in rollout else {}
    return {"name": "fraud", "model": {"name": "fraud", **others}, "rollout": rollout}


def fails(happening: object) -> bool:
    return isinstance(happening, Judged) and happening.verdict.outcome is Outcome.FAIL


def may_go_on(spec: Any, state: State, happening: object) -> bool:
    """Past a step: by its pass, by those who were asked, or by a person's word."""
    if isinstance(happening, Commanded):
        return happening.command == "promote"
    step = spec.steps[state.step]
    if isinstance(step, ApprovalStep):
        names = {*state.approvals, *([happening.by] if isinstance(happening, Decided) and happening.approved else [])}
        return bool(state.asked) and len(names) >= step.approval.required
    if not isinstance(happening, Judged) or state.held or state.paused_at is not None:
        return False
    verdict = happening.verdict
    held = "canary" in step.model_fields_set and step.canary.until == "held"
    return verdict.outcome is Outcome.PASS or bool(verdict.ahead) or (held and verdict.outcome is Outcome.UNDECIDED)
