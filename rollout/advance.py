"""The rollout's only decision: `advance(spec, state, happening, now) -> state`. Pure: no clock, no network, no vendor.

pending ─▶ building ─▶ progressing ⇄ waiting ─▶ promoting ─▶ succeeded
              │             └──────────┴────────────┴──▶ rolling_back ─▶ rolled_back
              └──▶ failed
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import assert_never

from lockgate.rollout import approving, holding
from lockgate.rollout.errors import NotNow
from lockgate.rollout.gates import Disagreement
from lockgate.rollout.moves import back, begun, on, promoting, still
from lockgate.rollout.spec import AbStep, RolloutSpec, ShadowStep, Step, challengers, label, options, weight_of
from lockgate.rollout.state import (
    Allocated,
    Asked,
    Broke,
    Built,
    Commanded,
    Decided,
    Drifted,
    Dropped,
    Ending,
    Happening,
    Judged,
    Opened,
    Settled,
    State,
    Voided,
)
from lockgate.rollout.verdict import Verdict
from lockgate.rollout.words import WHOLE, Endpoint, Other, Outcome, Phase, Routes

__all__ = ["advance", "echo", "fold", "label", "mirror", "routes", "weight"]


def advance(spec: RolloutSpec, state: State, happening: Happening, now: float) -> State:  # noqa: C901, PLR0912 - a case each
    """The state after `happening` at `now`. Raises `NotNow` where the phase does not allow it."""
    match happening:
        case Opened():
            return replace(_expect(state, Phase.PENDING), phase=Phase.BUILDING, since=now)
        case Built(facts=facts):
            return begun(spec, replace(_expect(state, Phase.BUILDING), facts=dict(facts)), 0, now)
        case Judged(verdict=verdict):
            return _judged(spec, state, verdict, now)
        case Allocated():
            return _allocated(spec, state, happening, now)
        case Dropped():
            return _dropped(spec, state, happening, now)
        case Asked():
            return approving.asked(spec, state, happening)
        case Decided():
            return approving.decided(spec, state, happening, now)
        case Voided():
            return approving.voided(spec, state, happening, now)
        case Drifted():
            return holding.drifted(spec, state, happening, now)
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
    if state.phase.stepping:
        return _stepping(spec, state, sides, salt)
    if not candidate:  # its replicas are gone; until they are back, stable answers everything
        return Routes(stable, salt=salt)
    if state.phase is Phase.SUCCEEDED:
        return Routes(stable=candidate, salt=salt)
    if state.phase is Phase.PROMOTING:
        return Routes(stable, candidate, weight=WHOLE, salt=salt)
    if state.phase is Phase.ROLLING_BACK:
        return Routes(stable, candidate, salt=salt)
    return Routes(stable, salt=salt)


def _stepping(spec: RolloutSpec, state: State, sides: Mapping[str, tuple[Endpoint, ...]], salt: str) -> Routes:
    """Of a step; an approval leaves them as they were before it."""
    stable, candidate, judged = sides["stable"], sides.get(state.winner, ()), spec.judged(state.step)
    if judged is None:
        return Routes(stable, salt=salt)
    step = spec.steps[judged]
    if len(challengers(step)) > 1:
        return _shared(step, state, sides, salt)
    if not candidate:
        return Routes(stable, salt=salt)
    return Routes(stable, candidate, weight(step, state), mirror(step), echo(spec, step), salt)


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


def _expect(state: State, phase: Phase) -> State:
    if state.phase is not phase:
        raise NotNow(f"the rollout is {state.phase}, not {phase}")
    return state


def _judged(spec: RolloutSpec, state: State, verdict: Verdict, now: float) -> State:
    if not state.phase.stepping:
        return state
    if verdict.outcome is Outcome.FAIL:
        return back(state, verdict.reason, "gate", now)
    state = replace(state, dropped=tuple(dict.fromkeys((*state.dropped, *verdict.dropped))))
    approval = approving.approval_at(spec, state)
    if approval and state.winner in state.dropped:
        return back(state, _failed(verdict, state.winner), "gate", now)
    if still(state):
        return state
    if approval:
        return approving.waited(spec, state, now)
    return state if state.phase is Phase.WAITING else _ended(spec, state, verdict, now)


def _failed(verdict: Verdict, name: str) -> str:
    """Why a challenger is out, while others are not."""
    gates = verdict.gates if name == "candidate" else verdict.others.get(name, ())
    said = "; ".join(gate.sentence for gate in gates if gate.outcome is Outcome.FAIL)
    return f"{name}, which was to be approved, failed: {said}"


def _ended(spec: RolloutSpec, state: State, verdict: Verdict, now: float) -> State:
    """Whether a step that is judged goes on to the next one, or its time is over."""
    step = spec.steps[state.step]
    asked = options(step)
    held = verdict.requests >= asked.hold.min_requests and now - state.since >= (asked.hold.duration or 0)
    enough = {Outcome.PASS} if asked.until == "decided" else {Outcome.PASS, Outcome.UNDECIDED}
    if held and verdict.outcome in enough:
        return replace(on(spec, state, now), winner=verdict.winner)
    if now - state.since < asked.timeout:
        return state
    if verdict.ahead and held:  # it was proven to be better; that others may be so too keeps nobody waiting for ever
        return replace(on(spec, state, now), winner=verdict.ahead, reason=f"{verdict.ahead} is proven to be better")
    reason = f"{label(step)} was {verdict.outcome} when its timeout of {asked.timeout:g} s ended"
    if asked.on_timeout == "rollback":
        return back(state, reason, "undecided", now)
    return replace(state, phase=Phase.WAITING, reason=reason, since=now)


def _allocated(spec: RolloutSpec, state: State, happening: Allocated, now: float) -> State:
    step = spec.steps[state.step]
    if state.phase is not Phase.PROGRESSING or still(state) or not isinstance(step, AbStep):
        raise NotNow(f"no shares are moved: the rollout is {state.phase}, and not going on in an ab step")
    return replace(state, weight=happening.weight, weighed_at=now)


def _dropped(spec: RolloutSpec, state: State, happening: Dropped, now: float) -> State:
    arms = spec.challengers_at(state.step)
    if not state.phase.stepping or len(arms) == 1 or happening.variant not in arms:
        raise NotNow(f"cannot drop {happening.variant}: the rollout is {state.phase}, and it is not one of several")
    dropped = tuple(dict.fromkeys((*state.dropped, happening.variant)))
    asked_for = approving.approval_at(spec, state) is not None and happening.variant == state.winner
    if set(dropped) == set(arms) or asked_for:
        return back(state, happening.reason, "broken", now)
    return replace(state, dropped=dropped)


def _commanded(spec: RolloutSpec, state: State, said: Commanded, now: float) -> State:
    who = f"{said.command} by {said.by}" + (f": {said.comment}" if said.comment else "")
    if said.command == "abort" and state.phase in (Phase.PENDING, Phase.BUILDING):
        return replace(state, phase=Phase.FAILED, since=now, reason=who, ending="by_hand")
    if said.command == "abort" and state.phase is Phase.PROMOTING:  # whoever drives puts the alias back
        return back(state, who, "by_hand", now)
    if not state.phase.stepping:
        raise NotNow(f"cannot {said.command}: the rollout is {state.phase}")
    match said.command:
        case "abort":
            return back(state, who, "by_hand", now)
        case "promote":
            return _promoted(spec, state, said, now)
        case "pause":
            return holding.paused(state, now)
        case "resume":
            return holding.resumed(spec, state, now)


def _promoted(spec: RolloutSpec, state: State, said: Commanded, now: float) -> State:
    """By hand: what the gates say is set aside, but no approval is, unless the glass is broken.

    From a step that is judged it goes on to the approval that is next.
    """
    without = ""
    if left := approving.outstanding(spec, state):
        asks = approving.next_one(spec, state)
        if not said.break_glass and asks > state.step:
            state = replace(_named(spec, state, said.variant or state.winner), paused_at=None, held="", held_at=0.0)
            return begun(spec, state, asks, now)
        if not said.break_glass:
            raise NotNow(
                f"cannot promote: {left} is not passed; `lockgate approve`, or promote without it: --break-glass, and a"
                " --comment that says why"
            )
        if not said.comment.strip():
            raise NotNow(f"cannot promote without {left}: say why, with --comment")
        without = " without the approval"
    reason = f"promote by {said.by}{without}" + (f": {said.comment}" if said.comment else "")
    state = _named(spec, state, said.variant or state.winner)
    return replace(promoting(state, reason, now), ending="by_hand")


def _named(spec: RolloutSpec, state: State, variant: str) -> State:
    """A person may promote any challenger that is still in the test."""
    arms = spec.challengers_at(state.step)
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
        return back(state, happening.reason, "broken", now)
    return state


def _settled(state: State, now: float) -> State:
    after = {Phase.PROMOTING: Phase.SUCCEEDED, Phase.ROLLING_BACK: Phase.ROLLED_BACK}
    if state.phase not in after:
        raise NotNow(f"nothing to settle: the rollout is {state.phase}")
    return replace(state, phase=after[state.phase], since=now)
