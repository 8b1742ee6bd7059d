"""What makes a rollout stand still in its steps, and go on: a person's pause, and drift. Pure, like `advance`.

Both may hold it at once. Time in which either did is added to `since`, so that no timeout is the candidate's fault.
"""

from __future__ import annotations

from dataclasses import replace

from lockgate.rollout.approving import stood
from lockgate.rollout.moves import back, still
from lockgate.rollout.spec import RolloutSpec
from lockgate.rollout.state import Drifted, State


def paused(state: State, now: float) -> State:
    return state if state.paused_at is not None else replace(state, paused_at=now)


def resumed(spec: RolloutSpec, state: State, now: float) -> State:
    """A person lets it go on, in spite of drift as well."""
    if not still(state):
        return state
    state = replace(state, drift_accepted=state.drift_accepted or bool(state.held))
    began = _began(state)
    state = replace(state, paused_at=None, held="", held_at=0.0, since=state.since + now - began)
    return stood(spec, state, now)


def drifted(spec: RolloutSpec, state: State, said: Drifted, now: float) -> State:
    """Drift blames nobody: unless the spec says `rollback`, traffic stays as it is."""
    if not state.phase.stepping:
        return state
    if not said.drifting:
        return _over(spec, state, now)
    if said.action == "rollback":
        return back(state, said.reason, "drift", now)
    if said.action == "alert" or state.drift_accepted:
        return state
    return replace(state, held=said.reason or "the inputs drift", held_at=state.held_at if state.held else now)


def _over(spec: RolloutSpec, state: State, now: float) -> State:
    """Drift is over, and what a person accepted with it; a pause goes on, and has lasted since either began."""
    state = replace(state, drift_accepted=False)
    if not state.held:
        return state
    began = _began(state)
    if state.paused_at is not None:
        return replace(state, paused_at=began, held="", held_at=0.0)
    return stood(spec, replace(state, held="", held_at=0.0, since=state.since + now - began), now)


def _began(state: State) -> float:
    """Since when it has stood still."""
    if state.paused_at is None:
        return state.held_at
    return min(state.paused_at, state.held_at) if state.held else state.paused_at
