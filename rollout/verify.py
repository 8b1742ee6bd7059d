"""Every verdict of a rollout computed anew from the looks in its log, and every state from its events."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from math import isclose

from lockgate.rollout.advance import advance
from lockgate.rollout.analysis.analysis import Analysis, Evidence
from lockgate.rollout.analysis.words import Look
from lockgate.rollout.errors import NotNow
from lockgate.rollout.spec import RolloutSpec
from lockgate.rollout.state import Allocated, Judged, State
from lockgate.rollout.store import Event
from lockgate.rollout.verdict import GONE, GateVerdict, Verdict
from lockgate.rollout.words import WHOLE, Outcome

_DIGITS = 1e-6
"""Another processor's logarithms differ in the last digits, and a sum of thousands of them by a little more."""


@dataclass(frozen=True, slots=True)
class Check:
    """One event of the log. `wrong`: what does not hold, as sentences; none is well."""

    sequence: int
    at: float
    what: str
    verdict: Verdict | None
    wrong: tuple[str, ...] = ()


def verify(spec: RolloutSpec, events: Sequence[Event], looks: Iterable[Look]) -> Iterator[Check]:
    """One check for each event, in their order."""
    analysis = Analysis(spec)
    evidence, waiting = analysis.begin(), iter(looks)
    state = State()
    for number, event in enumerate(events, 1):
        wrong = []
        if event.sequence != number:
            wrong.append(f"event {number} is missing; {event.sequence} follows")
        before = state
        try:
            state = advance(spec, state, event.happening, event.at)
        except NotNow as error:
            wrong.append(str(error))
        if state != event.state:
            wrong.append(f"the events before lead to {_other(state, event.state)}")
            state = event.state
        if isinstance(event.happening, Allocated):
            evidence = _folded(analysis, evidence, waiting, event.happening.looks)
            wrong.extend(_allocation(analysis.share_of(evidence, before), event.happening))
        verdict = event.happening.verdict if isinstance(event.happening, Judged) else None
        if verdict is not None and not verdict.looks and (verdict.gates or verdict.outcome is not Outcome.ERROR):
            wrong.append(f"the verdict is {verdict.outcome}, and nothing was looked at")
        if verdict is not None and verdict.looks:
            evidence = _folded(analysis, evidence, waiting, verdict.looks)
            if evidence.looks < verdict.looks:
                wrong.append(f"made of {verdict.looks} looks, and the log has {evidence.looks}")
            else:
                step = evidence.step if evidence.step is not None else spec.judged(before.step) or 0
                wrong.extend(_differences(analysis.verdict(evidence, step, before.dropped), verdict))
        yield Check(event.sequence, event.at, event.happening.kind, verdict, tuple(wrong))


def _folded(analysis: Analysis, evidence: Evidence, waiting: Iterator[Look], looks: int) -> Evidence:
    while evidence.looks < looks and (look := next(waiting, None)):
        evidence = analysis.look(evidence, look)
    return evidence


def _other(folded: State, logged: State) -> str:
    """What differs first, as the end of a sentence."""
    name = next(f.name for f in fields(State) if getattr(folded, f.name) != getattr(logged, f.name))
    return f"{name} {getattr(folded, name)}, and the log says {getattr(logged, name)}"


def _allocation(again: Allocated | None, recorded: Allocated) -> Iterator[str]:
    if again is None:
        yield f"the share was moved to {recorded.weight / WHOLE:.2%}, and computed anew it stays"
    elif (again.weight, again.looks) != (recorded.weight, recorded.looks):
        yield f"the share was moved to {recorded.weight / WHOLE:.2%}, and computed anew to {again.weight / WHOLE:.2%}"


def _differences(again: Verdict, recorded: Verdict) -> Iterator[str]:
    """The outcome of all gates may have been set aside for a candidate that was gone; that of each gate never is."""
    aside = recorded.outcome is Outcome.ERROR and recorded.reason == GONE and again.outcome is not Outcome.FAIL
    if recorded.outcome is not again.outcome and not aside:
        yield f"the verdict was {recorded.outcome}, and computed anew it is {again.outcome}"
    if (recorded.requests, recorded.alpha) != (again.requests, again.alpha):
        yield f"it was of {recorded.requests} requests, and computed anew it is of {again.requests}"
    for name, gates in again.others.items():
        for new, old in zip(gates, recorded.others.get(name, ()), strict=False):
            yield from (f"{name}: {what}" for what in _gate(new, old))
        if len(gates) != len(recorded.others.get(name, ())):
            yield f"{name} was not judged by all of its gates"
    if again.winner != recorded.winner or recorded.ahead not in {"", again.ahead}:
        who, anew = recorded.ahead or recorded.winner, again.ahead or again.winner
        yield f"the winner was {who}, and computed anew it is {anew}"
    if again.dropped != recorded.dropped:
        yield f"{' and '.join(recorded.dropped) or 'nobody'} was dropped, and computed anew {again.dropped}"
    if len(again.gates) != len(recorded.gates):
        yield f"{len(recorded.gates)} gates were judged, and the spec has {len(again.gates)}"
    for new, old in zip(again.gates, recorded.gates, strict=False):
        yield from _gate(new, old)


def _gate(new: GateVerdict, old: GateVerdict) -> Iterator[str]:
    if new.outcome is not old.outcome:
        yield f"{old.gate} was {old.outcome}, and computed anew it is {new.outcome}"
    for name in ("candidate", "stable", "limit", "harm", "safety", "effect"):
        mine, theirs = getattr(new, name), getattr(old, name)
        if (mine is None) != (theirs is None) or (mine is not None and not isclose(mine, theirs, rel_tol=_DIGITS)):
            yield f"{old.gate}: {name} was {theirs}, and computed anew it is {mine}"
