"""What happens in an approval step: people are asked, decide, or let the time pass. Pure, like `advance`."""

from __future__ import annotations

from dataclasses import replace

from lockgate.monitoring.units import seconds_text
from lockgate.rollout.errors import NotNow
from lockgate.rollout.moves import asks_nobody, back, on, still
from lockgate.rollout.spec import Approval, ApprovalStep, RolloutSpec, label
from lockgate.rollout.state import Asked, Decided, State, Voided
from lockgate.rollout.words import Phase

LATE = 60.0
"""Seconds after the time is over in which the page is read once more: what was decided there in time counts."""


def approval_at(spec: RolloutSpec, state: State) -> Approval | None:
    """What the step asks people for; None where it asks nobody."""
    step = spec.steps[state.step]
    return step.approval if state.phase.stepping and isinstance(step, ApprovalStep) else None


def outstanding(spec: RolloutSpec, state: State) -> str:
    """The first approval that is not passed yet, in a few words; empty where none is left."""
    return next((label(step) for step in spec.steps[next_one(spec, state) :]), "")


def next_one(spec: RolloutSpec, state: State) -> int:
    """The index of the first approval that is not passed yet; the number of steps where none is left."""
    left = range(state.step, len(spec.steps))
    return next((i for i in left if isinstance(spec.steps[i], ApprovalStep)), len(spec.steps))


def asked(spec: RolloutSpec, state: State, said: Asked) -> State:
    _waiting(spec, state, "ask")
    if not said.digest:
        raise NotNow("cannot ask: nobody knows what for; an approval is of evidence that has a digest")
    return replace(state, asked=said.digest, expires_at=said.expires_at, vouched=said.vouched, approvals=(), reason="")


def decided(spec: RolloutSpec, state: State, said: Decided, now: float) -> State:
    """One person's word. It counts only for what is asked now, and once for each person.

    Where several are asked, somebody without a name approves nothing: nobody knows whether it is one of the others. And
    where the registry's server knows people, only it says who approves.
    """
    word = "approve" if said.approved else "reject"
    approval = _waiting(spec, state, word)
    if not state.asked or said.digest != state.asked:
        raise NotNow(
            f"cannot {word}: the decision is on other evidence than what is asked now; look at the version's page again"
        )
    who = f"by {said.by or 'somebody'}"
    if not said.approved:
        why = f": {said.comment}" if said.comment else ""
        return back(state, f"rejected {who}{why}", "rejected", now)
    if state.vouched and not said.verified:
        raise NotNow(
            f"cannot approve {who}: the registry's server vouches for who approves here, and has not for this; approve"
            " on the version's page, or with `lockgate approve` and your own MLFLOW_TRACKING_USERNAME there"
        )
    if not said.by and approval.required > 1:
        raise NotNow(
            f"cannot approve by somebody without a name: {approval.required} people are asked, and nobody knows whether"
            " this is another one; use `lockgate approve`, or an MLflow server with lockgate-auth"
        )
    if said.by in state.approvals:
        raise NotNow(f"cannot approve: it is approved {who} already, and each approval is another person's")
    if (said.said_at if said.verified else now) >= state.expires_at:
        raise NotNow("cannot approve: what was asked is void, for its time is over")
    state = replace(state, approvals=(*state.approvals, said.by))
    return state if still(state) or not _complete(spec, state) else _passed(spec, state, now)


def voided(spec: RolloutSpec, state: State, said: Voided, now: float) -> State:
    """Nobody is asked any more, until somebody is asked anew."""
    _waiting(spec, state, f"take back what was asked ({said.reason})")
    return replace(asks_nobody(state), since=now)


def waited(spec: RolloutSpec, state: State, now: float) -> State:
    """In an approval step that nothing holds, at `now`: whether it is approved, or its time is over."""
    approval = _waiting(spec, state, "wait")
    if _complete(spec, state):
        return _passed(spec, state, now)
    if now < (state.expires_at + LATE if state.asked else state.since + approval.expires):
        return state
    of = label(spec.steps[state.step])
    had = f"it had {len(state.approvals)} of {approval.required} approvals" if state.asked else "nobody could be asked"
    reason = f"{of}: {had} when its time of {seconds_text(approval.expires)} ended"
    if approval.on_expiry == "rollback":
        return back(state, reason, "expired", now)
    if not state.asked:  # whoever asks still has to
        return state
    return replace(asks_nobody(state), since=now, reason=f"{reason}; it is asked anew")


def stood(spec: RolloutSpec, state: State, now: float) -> State:
    """After a pause or a hold: what was asked and expired meanwhile is asked anew, and nobody is to blame."""
    if state.asked and not _complete(spec, state) and now >= state.expires_at:
        return replace(asks_nobody(state), since=now)
    return state


def _complete(spec: RolloutSpec, state: State) -> bool:
    approval = approval_at(spec, state)
    return approval is not None and bool(state.asked) and len(state.approvals) >= approval.required


def _passed(spec: RolloutSpec, state: State, now: float) -> State:
    names = " and ".join(name or "somebody" for name in state.approvals)
    state = on(spec, state, now)
    return replace(state, reason=f"{state.reason}, approved by {names}" if state.phase is Phase.PROMOTING else "")


def _waiting(spec: RolloutSpec, state: State, what: str) -> Approval:
    approval = approval_at(spec, state)
    if approval is None:
        step = f", in {label(spec.steps[state.step])}" if state.phase.stepping else ""
        raise NotNow(f"cannot {what}: the rollout is {state.phase}{step}, and waits for nobody's approval")
    return approval
