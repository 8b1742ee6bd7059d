"""What becomes of `lockgate.approval` when a person writes into it. Pure."""

from __future__ import annotations

from datetime import UTC, datetime

from lockgate.registry.approvals import APPROVAL, PENDING, REQUEST, WRITING, Decision, Request, said
from lockgate.registry.auth.words import AUTHOR, PIPELINE, Person, Ruling, SetTag, Standing

LONGEST = 2000
"""Characters of a comment."""
UNKNOWN_AUTHOR = "author unknown: the version was registered before lockgate-auth"


def decide(operation: SetTag, person: Person, standing: Standing, now: float) -> Ruling:
    """Approved, rejected, or refused with the reason."""
    where = f"{operation.model} version {standing.version}"
    if standing.tags.get(APPROVAL) == WRITING:
        return Ruling("refused", f"what is asked of {where} is being written; wait a moment, and read it then")
    if standing.tags.get(APPROVAL) != PENDING:
        return Ruling("refused", f"nothing is asked of {where} now: {_says(standing)}")
    request = Request.of(standing.tags.get(REQUEST, ""))
    if request is None:
        return Ruling("refused", f"what is asked of {where} cannot be read; the pipeline asks again by itself")
    if operation.seen and operation.seen != request.digest:
        return Ruling("refused", f"what is asked of {where} changed while you looked at it; read it again")
    heard = said(operation.value)
    if heard is None:
        return Ruling("refused", _write(operation.value))
    approves, comment = heard
    if reason := _may_not(request, person, comment, now):
        return Ruling("refused", reason)
    kept = tuple(d for d in standing.decisions if d.digest == request.digest)
    if approves and (reason := _may_not_approve(request, person, standing, kept)):
        return Ruling("refused", f"{reason} ({where})")
    unjudged = UNKNOWN_AUTHOR if approves and request.not_author and not standing.tags.get(AUTHOR) else ""
    decision = Decision(approves, person.name, round(now, 3), comment, request.digest, note=unjudged)
    missing = request.required - len({d.by for d in (*kept, decision) if d.approved})
    return Ruling(
        "allowed",
        unjudged,
        decision=decision,
        kept=kept,
        instead=PENDING if approves and missing > 0 else None,
    )


def _may_not(request: Request, person: Person, comment: str, now: float) -> str:
    """Why this person may decide nothing here; empty when they may."""
    if now >= request.expires_at:
        at = datetime.fromtimestamp(request.expires_at, UTC)
        return (
            f"the request of the rollout {request.rollout} expired at {at:%Y-%m-%d %H:%M} UTC; wait until the pipeline "
            "asks again, or start the rollout anew"
        )
    if PIPELINE in person.roles and request.role not in person.roles:
        return (
            f"{person.name} is the pipeline's own user, and people decide; approve as a person: set "
            "MLFLOW_TRACKING_USERNAME to your own name, and MLFLOW_TRACKING_PASSWORD to your own password"
        )
    if request.role and request.role not in person.roles:
        return f"{person.name} has not the role {request.role}, which this request is for"
    if len(comment) > LONGEST:
        return f"the comment has {len(comment)} characters; at most {LONGEST} are kept"
    return ""


def _may_not_approve(request: Request, person: Person, standing: Standing, kept: tuple[Decision, ...]) -> str:
    """Rejecting is open to the author too, and to who approved before: it only stops."""
    if request.not_author and standing.tags.get(AUTHOR) == person.name:
        return f"{person.name} registered this version, and somebody else must approve it"
    if any(d.approved and d.by == person.name for d in kept):
        return f"{person.name} has approved this already; {request.required} different people must"
    return ""


def _says(standing: Standing) -> str:
    value = standing.tags.get(APPROVAL)
    return f"{APPROVAL} says {value!r}" if value else f"it has no {APPROVAL}"


def _write(value: str) -> str:
    shown = value if len(value) <= 40 else value[:39] + "…"
    example = "approved: the p99 is fine"
    return f"{shown!r} is no decision; write approved or rejected, and a comment behind a colon ({example})"
