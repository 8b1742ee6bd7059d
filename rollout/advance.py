"""The rollout's only decision: `advance(spec, state, happening, now) -> state`. Pure: no clock, no network, no vendor.

pending ─▶ building ─▶ progressing ⇄ waiting ─▶ promoting ─▶ succeeded
              │             └──────────┴────────────┴──▶ rolling_back ─▶ rolled_back
              └──▶ failed
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import assert_never

from lockgate.rollout.errors import NotNow
from lockgate.rollout.gates import Disagreement
from lockgate.rollout.spec import AbStep, RolloutSpec, ShadowStep, Step, challengers, options, weight_of
from lockgate.rollout.state import (
    Allocated,
    Broke,
    Built,
    Commanded,
    Dropped,
    Ending,
    Happening,
    Judged,
    Opened,
    Settled,
    State,
)
from lockgate.rollout.verdict import Verdict
from lockgate.rollout.words import WHOLE, Endpoint, Other, Outcome, Phase, Routes


def advance(spec: RolloutSpec, state: State, happening: Happening, now: float) -> State:
    """The state after `happening` at `now`. Raises `NotNow` where the phase does not allow it."""
    match happening:
        case Opened():
            return replace(_expect(state, Phase.PENDING), phase=Phase.BUILDING, since=now)
        case Built(facts=facts):
            return replace(_expect(state, Phase.BUILDING), phase=Phase.PROGRESSING, since=now, facts=dict(facts))
        case Judged(verdict=verdict):
            return _judged(spec, state, verdict, now)
        case Allocated():
            return _allocated(spec, state, happening, now)
        case Dropped():
            return _dropped(spec, state, happening, now)
        case Commanded():
            return _commanded(spec, state, happening, now)
        case Broke():
            return _broke(state, happening, now)
        case Settled():
            return _settled(state, now)
        case _:
            assert_never(happening)


def fold(spec: RolloutSpec, happened: Iterable[tuple[float, Happening]]) -> State:
    """The state after everything that happened, in order."""
    state = State()
    for at, happening in happened:
        state = advance(spec, state, happening, at)
    return state


def routes(spec: RolloutSpec, state: State, sides: Mapping[str, tuple[Endpoint, ...]], salt: str) -> Routes:
    """What the data plane must serve in this state. `sides` holds the endpoints of `stable` and `candidate`."""
    stable, candidate = sides["stable"], sides.get(state.winner, ())
    step = spec.steps[state.step]
    if state.phase.stepping and len(challengers(step)) > 1:
        return _shared(step, state, sides, salt)
    if not candidate:  # its replicas are gone; until they are back, stable answers everything
        return Routes(stable, salt=salt)
    if state.phase is Phase.SUCCEEDED:
        return Routes(stable=candidate, salt=salt)
    if state.phase is Phase.PROMOTING:
        return Routes(stable, candidate, weight=WHOLE, salt=salt)
    if state.phase.stepping:
        return Routes(stable, candidate, weight(step, state), mirror(step), echo(spec, step), salt)
    if state.phase is Phase.ROLLING_BACK:
        return Routes(stable, candidate, salt=salt)
    return Routes(stable, salt=salt)


def _shared(step: Step, state: State, sides: Mapping[str, tuple[Endpoint, ...]], salt: str) -> Routes:
    """Each challenger has the same share; what does not divide stays with stable."""
    arms = challengers(step)
    each = weight(step) // len(arms)
    candidate, *others = (Other(name, () if name in state.dropped else sides.get(name, ()), each) for name in arms)
    return Routes(sides["stable"], candidate.endpoints, each, salt=salt, others=tuple(others))


def weight(step: Step, state: State | None = None) -> int:
    """In ten-thousandths; an `ab` step may have moved it in this state."""
    return state.weight if state and state.weight is not None else round(weight_of(step) * WHOLE / 100)


def mirror(step: Step) -> int:
    return round(step.shadow.percent * WHOLE / 100) if isinstance(step, ShadowStep) else 0


def echo(spec: RolloutSpec, step: Step) -> int:
    """Stable's noise is of use only to gates that compare answers."""
    if isinstance(step, ShadowStep) and any(isinstance(gate, Disagreement) for gate in spec.gates.values()):
        return round(step.shadow.echo * WHOLE / 100)
    return 0


def label(step: Step) -> str:
    if isinstance(step, ShadowStep):
        return f"shadow {step.shadow.percent:g} %"
    return f"{'ab' if isinstance(step, AbStep) else 'canary'} {weight_of(step):g} %"


def _expect(state: State, phase: Phase) -> State:
    if state.phase is not phase:
        raise NotNow(f"the rollout is {state.phase}, not {phase}")
    return state


def _judged(spec: RolloutSpec, state: State, verdict: Verdict, now: float) -> State:
    if not state.phase.stepping:
        return state
    if verdict.outcome is Outcome.FAIL:
        return _back(state, verdict.reason, "gate", now)
    state = replace(state, dropped=tuple(dict.fromkeys((*state.dropped, *verdict.dropped))))
    if state.phase is Phase.WAITING or state.paused_at is not None:
        return state
    step = spec.steps[state.step]
    asked = options(step)
    held = verdict.requests >= asked.hold.min_requests and now - state.since >= (asked.hold.duration or 0)
    enough = {Outcome.PASS} if asked.until == "decided" else {Outcome.PASS, Outcome.UNDECIDED}
    if held and verdict.outcome in enough:
        return replace(_next(spec, state, now), winner=verdict.winner)
    if now - state.since < asked.timeout:
        return state
    if verdict.ahead and held:  # it was proven to be better; that others may be so too keeps nobody waiting for ever
        return replace(_next(spec, state, now), winner=verdict.ahead, reason=f"{verdict.ahead} is proven to be better")
    reason = f"{label(step)} was {verdict.outcome} when its timeout of {asked.timeout:g} s ended"
    if asked.on_timeout == "rollback":
        return _back(state, reason, "undecided", now)
    return replace(state, phase=Phase.WAITING, reason=reason, since=now)


def _next(spec: RolloutSpec, state: State, now: float) -> State:
    if state.step + 1 < len(spec.steps):
        return replace(state, step=state.step + 1, since=now, weight=None, weighed_at=0.0)
    return replace(state, phase=Phase.PROMOTING, since=now, reason="every step passed")


def _back(state: State, reason: str, ending: Ending, now: float) -> State:
    return replace(state, phase=Phase.ROLLING_BACK, since=now, reason=reason, ending=ending, paused_at=None)


def _allocated(spec: RolloutSpec, state: State, happening: Allocated, now: float) -> State:
    step = spec.steps[state.step]
    if state.phase is not Phase.PROGRESSING or state.paused_at is not None or not isinstance(step, AbStep):
        raise NotNow(f"no shares are moved: the rollout is {state.phase}, and not going on in an ab step")
    return replace(state, weight=happening.weight, weighed_at=now)


def _dropped(spec: RolloutSpec, state: State, happening: Dropped, now: float) -> State:
    arms = challengers(spec.steps[state.step])
    if not state.phase.stepping or len(arms) == 1 or happening.variant not in arms:
        raise NotNow(f"cannot drop {happening.variant}: the rollout is {state.phase}, and it is not one of several")
    dropped = tuple(dict.fromkeys((*state.dropped, happening.variant)))
    if set(dropped) == set(arms):
        return _back(state, happening.reason, "broken", now)
    return replace(state, dropped=dropped)


def _commanded(spec: RolloutSpec, state: State, said: Commanded, now: float) -> State:
    who = f"{said.command} by {said.by}" + (f": {said.comment}" if said.comment else "")
    if said.command == "abort" and state.phase in (Phase.PENDING, Phase.BUILDING):
        return replace(state, phase=Phase.FAILED, since=now, reason=who, ending="by_hand")
    if not state.phase.stepping:
        raise NotNow(f"cannot {said.command}: the rollout is {state.phase}")
    match said.command:
        case "abort":
            return _back(state, who, "by_hand", now)
        case "promote":
            state = _named(spec, state, said.variant or "candidate")
            return replace(state, phase=Phase.PROMOTING, since=now, reason=who, ending="by_hand", paused_at=None)
        case "pause":
            return state if state.paused_at is not None else replace(state, paused_at=now)
        case "resume":
            if state.paused_at is None:
                return state
            return replace(state, paused_at=None, since=state.since + now - state.paused_at)


def _named(spec: RolloutSpec, state: State, variant: str) -> State:
    """A person may promote any challenger that is still in the test."""
    arms = challengers(spec.steps[state.step])
    left = [name for name in arms if name not in state.dropped]
    if variant not in left:
        why = "was dropped" if variant in arms else "is not in this step"
        raise NotNow(f"cannot promote {variant}: it {why}; name one of {', '.join(left)}")
    return replace(state, winner=variant)


def _broke(state: State, happening: Broke, now: float) -> State:
    if state.phase in (Phase.PENDING, Phase.BUILDING):
        ending: Ending = "refused" if happening.refused else "broken"
        return replace(state, phase=Phase.FAILED, since=now, reason=happening.reason, ending=ending)
    if state.phase.stepping or state.phase is Phase.PROMOTING:
        return _back(state, happening.reason, "broken", now)
    return state


def _settled(state: State, now: float) -> State:
    after = {Phase.PROMOTING: Phase.SUCCEEDED, Phase.ROLLING_BACK: Phase.ROLLED_BACK}
    if state.phase not in after:
        raise NotNow(f"nothing to settle: the rollout is {state.phase}")
    return replace(state, phase=after[state.phase], since=now)
