"""What the store knows of rollouts, as JSON values: one source for `--json`, the terminal and the Prefect artifacts."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any

from lockgate.rollout.advance import label, mirror, weight
from lockgate.rollout.progress import Progress
from lockgate.rollout.spec import RolloutSpec, challengers
from lockgate.rollout.state import Allocated, Commanded, Dropped, Judged, State
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
    event = store.last(rollout.id)
    state = event.state
    progress = store.progress(rollout.id)
    return {
        "rollout": rollout.id,
        "name": rollout.model,
        "model": rollout.subject["model"],
        "stable_version": rollout.subject["stable"],
        "candidate_version": rollout.subject[state.winner],
        "phase": str(state.phase),
        "paused": state.paused_at is not None,
        "reason": state.reason,
        "ending": state.ending,
        "opened_at": rollout.opened_at,
        "closed_at": rollout.closed_at,
        "driven_by": store.holder(rollout.id, now),
        "weight_percent": share_of_candidate(rollout.spec, state),
        "step_seconds": max(0.0, now - state.since),
        "steps": [_step(rollout.spec, state, i) for i in range(len(rollout.spec.steps))],
        "gates": _gates(progress, state),
        "others": _others(rollout, progress, state),
        "winner": state.winner if state.phase in (Phase.PROMOTING, Phase.SUCCEEDED) else "",
        "requests": progress.verdict.requests if progress and progress.verdict else 0,
        "facts": dict(state.facts),
        "disagreements": store.noted(rollout.id, DISAGREEMENTS) or [],
        "feedback": store.noted(rollout.id, FEEDBACK) or {},
    }


def share_of_candidate(spec: RolloutSpec, state: State) -> float:
    """Percent of live requests that the candidate answers in this state, or all challengers together."""
    if state.phase in (Phase.PROMOTING, Phase.SUCCEEDED):
        return 100.0
    if state.phase.stepping:
        step = spec.steps[state.step]
        arms = len(challengers(step))
        return weight(step, state) * 100 / WHOLE * (arms - len(state.dropped)) / arms
    return 0.0


def _step(spec: RolloutSpec, state: State, index: int) -> dict[str, Any]:
    step = spec.steps[index]
    reached = state.phase not in (Phase.PENDING, Phase.BUILDING)
    going = state.phase.stepping
    if state.phase in (Phase.PROMOTING, Phase.SUCCEEDED):
        mark = "passed" if index <= state.step else "skipped"
    elif not reached or index > state.step or not state.facts:
        mark = "ahead" if not state.phase.over else "not reached"
    elif index < state.step:
        mark = "passed"
    else:
        mark = "now" if going else "ended"
    moved = state if index == state.step else None
    return {"step": label(step), "weight": weight(step, moved) / WHOLE, "mirror": mirror(step) / WHOLE, "state": mark}


def _gates(progress: Progress | None, state: State) -> list[dict[str, Any]]:
    if progress is None or progress.verdict is None or progress.index != state.step:
        return []
    return verdict_of(progress.verdict)["gates"]  # type: ignore[no-any-return]


def _others(rollout: Rollout, progress: Progress | None, state: State) -> list[dict[str, Any]]:
    """The challengers beside the candidate."""
    verdict = progress.verdict if progress and progress.index == state.step else None
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
        out["reason"] = said.verdict.reason
    if isinstance(said, Allocated | Dropped):
        out["reason"] = said.reason
    if isinstance(said, Commanded):
        what = f"{said.command} {said.variant}".rstrip()
        out |= {"what": what, "by": said.by, "comment": said.comment}
    return out
