"""How a rollout leaves a step: on to the next one, or back to stable. Pure, like `advance`."""

from __future__ import annotations

from dataclasses import replace

from lockgate.rollout.spec import ApprovalStep, RolloutSpec
from lockgate.rollout.state import Ending, State
from lockgate.rollout.words import Phase


def still(state: State) -> bool:
    """Whether a person paused it, or drift holds it: no step goes on, and no time runs out."""
    return state.paused_at is not None or bool(state.held)


def begun(spec: RolloutSpec, state: State, step: int, now: float) -> State:
    """At the begin of a step. What an `ab` step made of its weight stays in force in the approval after it."""
    state = replace(asks_nobody(state), step=step, since=now)
    if isinstance(spec.steps[step], ApprovalStep):
        return replace(state, phase=Phase.WAITING)
    return replace(state, phase=Phase.PROGRESSING, weight=None, weighed_at=0.0)


def on(spec: RolloutSpec, state: State, now: float) -> State:
    """In the next step; after the last one, promoting."""
    if state.step + 1 < len(spec.steps):
        return begun(spec, state, state.step + 1, now)
    return promoting(state, "every step passed", now)


def promoting(state: State, reason: str, now: float) -> State:
    return replace(_left(state), phase=Phase.PROMOTING, since=now, reason=reason)


def back(state: State, reason: str, ending: Ending, now: float) -> State:
    return replace(_left(state), phase=Phase.ROLLING_BACK, since=now, reason=reason, ending=ending)


def asks_nobody(state: State) -> State:
    """Without what was asked and every approval of it."""
    return replace(state, asked="", expires_at=0.0, vouched=False, approvals=())


def _left(state: State) -> State:
    """Out of the steps: nothing is held back any more, and nobody is asked."""
    return replace(asks_nobody(state), paused_at=None, held="", held_at=0.0)
