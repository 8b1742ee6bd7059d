"""What each step of a rollout came to, from its log: the last verdict with its numbers, and how the step ended."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import pairwise
from typing import Any

from lockgate.flows import report
from lockgate.rollout.advance import mirror
from lockgate.rollout.spec import RolloutSpec, kind_of, label
from lockgate.rollout.state import Commanded, Decided, Drifted, Judged
from lockgate.rollout.store import Event
from lockgate.rollout.words import WHOLE, Phase

Step = dict[str, Any]


def entered(spec: RolloutSpec, events: Sequence[Event]) -> list[Step]:
    """Every step that was entered, in order.

    `state`: passed, skipped (by a person's `promote`), ended (the rollout left its steps there), or now. `verdict` is
    None where no verdict changed anything in the step.
    """
    found: dict[int, Step] = {}
    for before, event in pairwise(events):
        at = event.state.step
        if event.state.phase.stepping and at not in found:
            found[at] = _begun(spec, at, event)
        if before.state.phase.stepping:
            _went_on(found[before.state.step], before, event)
    return [found[index] for index in sorted(found)]


def _begun(spec: RolloutSpec, index: int, event: Event) -> Step:
    step = spec.steps[index]
    return {
        "index": index,
        "step": label(step),
        "kind": kind_of(step),
        "challengers": list(spec.challengers_at(index)),
        "began": event.at,
        "ended": None,
        "state": "now",
        "verdict": None,
        "judged_at": None,
    }


def _went_on(step: Step, before: Event, event: Event) -> None:
    """The step was `before`'s; `event` came in it."""
    said, after = event.happening, event.state
    if isinstance(said, Judged):
        step["verdict"] = {**report.verdict_of(said.verdict), "outcome": str(said.verdict.outcome)}
        step["judged_at"] = event.at
    if after.phase.stepping and after.step == before.state.step:
        return
    step["ended"] = event.at
    if after.phase.stepping or after.phase is Phase.PROMOTING:
        step["state"] = "skipped" if isinstance(said, Commanded) else "passed"
    else:
        step["state"] = "ended"


def gates(step: Step, variant: str = "candidate") -> list[dict[str, Any]]:
    """The gates' words about one challenger in the step's last verdict; none where it was not in it."""
    verdict = step["verdict"] or {}
    if variant == "candidate":
        return list(verdict.get("gates", ()))
    return list(verdict.get("others", {}).get(variant, ()))


def tried(step: Step, variant: str) -> str:
    """Whose gates tell of `variant` in this step: in a step that it is not in, the candidate was tried alone."""
    return variant if variant in step["challengers"] else "candidate"


def latest(steps: Sequence[Step], variant: str) -> dict[str, dict[str, Any]]:
    """Each gate's last word about `variant` in which it had something to say, by its name, with the step's label."""
    found: dict[str, dict[str, Any]] = {}
    for step in steps:
        if tried(step, variant) == variant:
            found |= {g["gate"]: {**g, "step": step["step"]} for g in gates(step, variant) if g.get("votes", True)}
    return found


def decisions(spec: RolloutSpec, events: Sequence[Event]) -> Iterator[dict[str, Any]]:
    """What people approved, rejected or commanded, in order, and in which step: their word may have ended it."""
    for before, event in pairwise(events):
        said = event.happening
        base = {"at": event.at, "step": label(spec.steps[before.state.step])}
        if isinstance(said, Decided):
            what = "approved" if said.approved else "rejected"
            yield {
                **base,
                "what": what,
                "by": said.by,
                "comment": said.comment,
                "verified": said.verified,
                "via": said.via,
                "said_at": said.said_at,
                "digest": said.digest,
            }
        elif isinstance(said, Commanded):
            what = f"{said.command} {said.variant}".rstrip() + (", break-glass" if said.break_glass else "")
            yield {**base, "what": what, "by": said.by, "comment": said.comment, "verified": False, "via": "cli"}


def drift(events: Sequence[Event]) -> list[dict[str, Any]]:
    """Every time that the inputs' drift was said, or was over."""
    return [{"at": e.at, **asdict(e.happening)} for e in events if isinstance(e.happening, Drifted)]


def points(spec: RolloutSpec, events: Sequence[Event]) -> Iterator[dict[str, Any]]:
    """Each event on the line of time, with the shares of the traffic from then on."""
    for event in events:
        said, state = report.line(spec, event), event.state
        index = spec.judged(state.step) if state.phase.stepping else None
        shadowed = mirror(spec.steps[index]) * 100 / WHOLE if index is not None else 0.0
        point = {"what": report.headline(said), "by": said.get("by", ""), "mirror_percent": shadowed}
        yield {**point, **{key: said[key] for key in _POINT}}


_POINT = ("sequence", "at", "phase", "step", "weight_percent", "reason")
