"""What the store knows of rollouts, as JSON values: one source for `--json`, the terminal and the Prefect artifacts."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from itertools import pairwise
from typing import Any

from lockgate.rollout.advance import mirror, weight
from lockgate.rollout.approving import approval_at
from lockgate.rollout.progress import Progress
from lockgate.rollout.spec import ApprovalStep, RolloutSpec, ShadowStep, kind_of, label
from lockgate.rollout.state import Allocated, Asked, Commanded, Decided, Drifted, Dropped, Judged, State, Voided
from lockgate.rollout.store import Event, Rollout, Store
from lockgate.rollout.verdict import GateVerdict, Verdict
from lockgate.rollout.words import WHOLE, Phase

DISAGREEMENTS = "disagreements"
"""The name under which the worst of them are kept."""
FEEDBACK = "feedback"
"""And that of how many rows of feedback became what."""


def status(store: Store, rollout: Rollout, now: float | None = None) -> dict[str, Any]:
    """One rollout at this moment: its phase, its steps, the gates' numbers, and who drives it."""
    now = time.time() if now is None else now
    events = store.events(rollout.id)
    state, skipped = events[-1].state, _skipped(events)
    progress = store.progress(rollout.id)
    return {
        "rollout": rollout.id,
        "name": rollout.model,
        "model": rollout.subject["model"],
        "stable_version": rollout.subject["stable"],
        "candidate_version": rollout.subject[state.winner],
        "phase": str(state.phase),
        "paused": state.paused_at is not None,
        "held": state.held,
        "approval": _approval(rollout.spec, state),
        "reason": state.reason,
        "ending": state.ending,
        "opened_at": rollout.opened_at,
        "closed_at": rollout.closed_at,
        "driven_by": store.holder(rollout.id, now),
        "weight_percent": share_of_candidate(rollout.spec, state),
        "step_seconds": max(0.0, now - state.since),
        "steps": [_step(rollout.spec, state, i, skipped) for i in range(len(rollout.spec.steps))],
        "gates": _gates(rollout.spec, progress, state),
        "others": _others(rollout, progress, state),
        "winner": _winner(rollout.spec, state),
        "requests": progress.verdict.requests if progress and progress.verdict else 0,
        "copies": _copies(rollout.spec, progress, state),
        "facts": dict(state.facts),
        "disagreements": store.noted(rollout.id, DISAGREEMENTS) or [],
        "feedback": store.noted(rollout.id, FEEDBACK) or {},
    }


def share_of_candidate(spec: RolloutSpec, state: State) -> float:
    """Percent of live requests that the candidate answers in this state, or all challengers together."""
    if state.phase in (Phase.PROMOTING, Phase.SUCCEEDED):
        return 100.0
    judged = spec.judged(state.step)
    if state.phase.stepping and judged is not None:
        arms = len(spec.challengers_at(judged))
        return weight(spec.steps[judged], state) * 100 / WHOLE * (arms - len(state.dropped)) / arms
    return 0.0


def _winner(spec: RolloutSpec, state: State) -> str:
    """Which challenger is promoted, or would be if people approve."""
    chosen = state.phase in (Phase.PROMOTING, Phase.SUCCEEDED) or approval_at(spec, state) is not None
    return state.winner if chosen else ""


def _approval(spec: RolloutSpec, state: State) -> dict[str, Any] | None:
    """What people are asked for now; `asked` is empty until the evidence is on the version's page."""
    approval = approval_at(spec, state)
    if approval is None:
        return None
    return {
        "asked": state.asked,
        "expires_at": state.expires_at,
        "role": approval.role,
        "required": approval.required,
        "approvals": list(state.approvals),
        "not_author": approval.not_author,
    }


def _skipped(events: Sequence[Event]) -> frozenset[int]:
    """The steps that a person's `promote` ended, and those that it left out."""
    found = set[int]()
    for before, event in pairwise(events):
        was, now = before.state, event.state
        if isinstance(event.happening, Commanded) and was.phase.stepping and event.happening.command == "promote":
            found |= set(range(was.step, max(now.step, was.step + 1)))
    return frozenset(found)


def _step(spec: RolloutSpec, state: State, index: int, skipped: frozenset[int]) -> dict[str, Any]:
    step = spec.steps[index]
    reached = state.phase not in (Phase.PENDING, Phase.BUILDING)
    going = state.phase.stepping
    if index in skipped:
        mark = "skipped"
    elif state.phase in (Phase.PROMOTING, Phase.SUCCEEDED):
        mark = "passed" if index <= state.step else "skipped"
    elif not reached or index > state.step or not state.facts:
        mark = "ahead" if not state.phase.over else "not reached"
    elif index < state.step:
        mark = "passed"
    else:
        mark = "now" if going else "ended"
    moved, judged = state if index == state.step else None, spec.judged(index)
    shares = (0, 0) if judged is None else (weight(spec.steps[judged], moved), mirror(spec.steps[judged]))
    said = {"step": label(step), "kind": kind_of(step), "state": mark}
    return said | {"weight": shares[0] / WHOLE, "mirror": shares[1] / WHOLE}


def _copies(spec: RolloutSpec, progress: Progress | None, state: State) -> dict[str, int]:
    """Of a shadow step: live requests that the candidate was to see, too, by what became of the copy."""
    index = spec.judged(state.step)
    if progress is None or index is None or progress.index != index or not isinstance(spec.steps[index], ShadowStep):
        return {}
    return {"answered": progress.step.shadow.requests, "shed": progress.step.shed}


def _gates(spec: RolloutSpec, progress: Progress | None, state: State) -> list[dict[str, Any]]:
    if progress is None or progress.verdict is None or progress.index != spec.judged(state.step):
        return []
    return verdict_of(progress.verdict)["gates"]  # type: ignore[no-any-return]


def _others(rollout: Rollout, progress: Progress | None, state: State) -> list[dict[str, Any]]:
    """The challengers beside the candidate."""
    verdict = progress.verdict if progress and progress.index == rollout.spec.judged(state.step) else None
    gates = verdict_of(verdict)["others"] if verdict else {}
    return [
        {
            "name": name,
            "version": rollout.subject.get(name, ""),
            "dropped": name in state.dropped,
            "gates": gates.get(name, []),
        }
        for name in rollout.spec.others
    ]


def verdict_of(verdict: Verdict) -> dict[str, Any]:
    def plain(gates: tuple[GateVerdict, ...]) -> list[dict[str, Any]]:
        return [{**asdict(gate), "outcome": str(gate.outcome)} for gate in gates]

    others = {name: plain(gates) for name, gates in verdict.others.items()}
    return {**asdict(verdict), "gates": plain(verdict.gates), "others": others}


def history(store: Store, rollout: Rollout) -> dict[str, Any]:
    """Everything that happened to one rollout, in order."""
    return {
        **status(store, rollout),
        "events": [line(rollout.spec, event) for event in store.events(rollout.id)],
    }


def line(spec: RolloutSpec, event: Event) -> dict[str, Any]:
    """One event as a line: when, what, the state after it, and the numbers that moved it."""
    said = event.happening
    out: dict[str, Any] = {
        "sequence": event.sequence,
        "at": event.at,
        "what": said.kind,
        "phase": str(event.state.phase),
        "step": label(spec.steps[event.state.step]),
        "weight_percent": share_of_candidate(spec, event.state),
        "reason": event.state.reason,
    }
    if said.kind == "settled":
        out["reason"] = ""  # it was given when the phase began
    if isinstance(said, Judged):
        out["verdict"] = {**verdict_of(said.verdict), "outcome": str(said.verdict.outcome)}
        # Time moves an approval step, not the verdict.
        timed = isinstance(spec.steps[event.state.step], ApprovalStep) and event.state.reason
        out["reason"] = event.state.reason if timed else said.verdict.reason
    if isinstance(said, Allocated | Dropped | Voided | Drifted):
        out["reason"] = said.reason
    if isinstance(said, Drifted):
        out["what"] = "drifted" if said.drifting else "drift over"
    if isinstance(said, Asked):
        out["reason"] = f"the evidence is {said.digest[:12]}"
    if isinstance(said, Commanded):
        what = f"{said.command} {said.variant}".rstrip() + (", break-glass" if said.break_glass else "")
        out |= {"what": what, "by": said.by, "comment": said.comment}
    if isinstance(said, Decided):
        what = "approved" if said.approved else "rejected"
        out |= {"what": what, "by": said.by, "comment": said.comment, "verified": said.verified, "reason": said.comment}
    return out


def headline(line: dict[str, Any]) -> str:
    """What happened, in a few words: what, by whom, and whether anybody vouches for that."""
    verdict = line.get("verdict", {}).get("outcome")
    what = f"verdict {verdict}" if verdict else str(line["what"])
    by = f" by {line['by']}" if line.get("by") else ""
    return f"{what}{by}" + (" (identity not verified)" if line.get("verified") is False else "")
