"""From an event of the log to what people are told of it: one short paragraph, without secrets and without inputs."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from lockgate.flows.approval.words import line
from lockgate.flows.notify.message import Message, Mood
from lockgate.flows.notify.spec import Kind
from lockgate.registry.location import without_password
from lockgate.rollout.spec import label
from lockgate.rollout.state import Asked, Built, Commanded, Decided, Drifted, State, Voided
from lockgate.rollout.steps import ApprovalStep
from lockgate.rollout.store import Event, Rollout
from lockgate.rollout.words import Phase

_LONGEST = 400
"""Characters of a reason: chat services cut long messages."""
_LATE = 600.0
"""Seconds after which a message says when it happened."""
_CALLS_ALL = re.compile(r"@(?=(?:all|channel|everyone|here)\b)|<(?=[!@])", re.IGNORECASE)
"""What makes chat services alarm everybody, or somebody; reasons and comments are typed by people."""
_MOODS: Mapping[Kind, Mood] = {
    "approval_pending": Mood.ASKS,
    "waiting": Mood.ASKS,
    "drift": Mood.ASKS,
    "approved": Mood.GOOD,
    "promoted": Mood.GOOD,
    "rejected": Mood.BAD,
    "expired": Mood.BAD,
    "rolled_back": Mood.BAD,
    "failed": Mood.BAD,
}


@dataclass(frozen=True, slots=True)
class About:
    """What a message needs beside the event. Addresses are empty where there is none."""

    rollout: Rollout
    hide: Callable[[str], str]
    """Takes out what came from the environment."""
    mlflow: str = ""
    run: str = ""
    """Of the Prefect run that drives."""


def kind_of(rollout: Rollout, before: State, event: Event) -> Kind | None:
    """What of it is worth telling; None for most of the log."""
    match event.happening:
        case Built():
            return "started"
        case Asked():
            return "approval_pending"
        case Decided(approved=approved):
            return "approved" if approved else "rejected"
        case Drifted():
            return "drift"
    return _by_state(rollout, before, event)


def _by_state(rollout: Rollout, before: State, event: Event) -> Kind | None:
    after = event.state
    lapsed = bool(before.asked) and not after.asked and after.phase is Phase.WAITING
    ended = after.ending == "expired" and before.ending != "expired"
    if ended or (lapsed and not isinstance(event.happening, Voided)):
        return "expired"
    if after.phase is before.phase:
        return None
    asks = isinstance(rollout.spec.steps[after.step], ApprovalStep)
    ends: Mapping[Phase, Kind] = {
        Phase.SUCCEEDED: "promoted",
        Phase.ROLLED_BACK: "rolled_back",
        Phase.FAILED: "failed",
    }
    return "waiting" if after.phase is Phase.WAITING and not asks else ends.get(after.phase)


def message(about: About, kind: Kind, events: tuple[Event | None, Event], now: float) -> Message:
    """`events`: the one before, and the one that is told."""
    before, event = events
    rollout = about.rollout
    page = _page(about, event.state)
    why = _reason(about, events)
    late = f"{_clock(event.at)}: " if now - event.at > _LATE else ""
    sentences = [
        late + _what(about, kind, event),
        why and f"Why: {why}.",
        _follows(about, kind, event),
        page,
        about.run,
    ]
    facts = {**_facts(about, kind, event), "reason": why, "links": {"mlflow": page, "prefect": about.run}}
    if before and isinstance(event.happening, Decided):  # an approval may have ended its step
        facts["step"] = label(rollout.spec.steps[before.state.step])
    title = f"{rollout.model}: {kind.replace('_', ' ')}"
    return Message(title, " ".join(filter(None, sentences)), facts, _MOODS.get(kind, Mood.PLAIN))


def _facts(about: About, kind: Kind, event: Event) -> dict[str, Any]:
    rollout, state = about.rollout, event.state
    return {
        "version": 1,
        "id": f"{rollout.id}:{event.sequence}",
        "event": kind,
        "name": rollout.model,
        "rollout": rollout.id,
        "model": rollout.subject["model"],
        "stable_version": rollout.subject["stable"],
        "candidate_version": _candidate(rollout, state),
        "phase": str(state.phase),
        "step": label(rollout.spec.steps[state.step]),
        "at": event.at,
        "expires_at": state.expires_at if kind == "approval_pending" else None,
    }


def _what(about: About, kind: Kind, event: Event) -> str:
    rollout, said = about.rollout, event.happening
    stable = f"version {rollout.subject['stable']}"
    new = f"{rollout.subject['model']} version {_candidate(rollout, event.state)}"
    step = label(rollout.spec.steps[event.state.step])
    match kind:
        case "started":
            return f"{new} is being rolled out beside {stable}, first {step}."
        case "approval_pending":
            return f"{new} asks for approval to go on in place of {stable}, until {_clock(event.state.expires_at)}."
        case "approved" | "rejected":
            assert isinstance(said, Decided)  # noqa: S101 - that is what makes it this kind
            return f"{new} was {kind} by {who(said)}."
        case "expired":
            return f"{new} was not approved in time."
        case "waiting":
            return f"{new} waits for a person in the step {step}."
        case "drift":
            gone = isinstance(said, Drifted) and not said.drifting
            return f"The inputs of {rollout.model} {'no longer drift' if gone else 'drift'}, in the rollout of {new}."
        case "promoted":
            return f"{new} is promoted and answers all traffic in place of {stable}."
        case "rolled_back":
            return f"{new} is rolled back: {stable} answers all traffic."
        case "failed":
            return f"{new} was not rolled out, and traffic is as it was."


def _follows(about: About, kind: Kind, event: Event) -> str:
    """What somebody may do now, or what happens by itself."""
    name, said, back = about.rollout.model, event.happening, event.state.phase is Phase.ROLLING_BACK
    if kind == "approval_pending":
        how = f"`lockgate approve {name}` or `lockgate reject {name}`"
        return f"Approve or reject it on its page in MLflow, or with {how}."
    if kind == "waiting":
        return f"`lockgate promote {name}` or `lockgate abort {name}` ends it."
    if kind == "drift" and event.state.held and isinstance(said, Drifted) and said.drifting:
        return f"No step goes on until that is over; `lockgate resume {name}` goes on in spite of it."
    if kind == "approved" and event.state.asked:
        step = about.rollout.spec.steps[event.state.step]
        needed = step.approval.required if isinstance(step, ApprovalStep) else 0
        return f"That is {len(event.state.approvals)} of {needed} approvals."
    if kind == "expired" and not back:
        return "It is asked again."
    return "All traffic goes back to stable." if back else ""


def who(said: Decided) -> str:
    """By name, and whether anybody vouches for it."""
    return (harmless(said.by, str) or "somebody") + ("" if said.verified else " (identity not verified)")


def _reason(about: About, events: tuple[Event | None, Event]) -> str:
    before, event = events
    said = event.happening
    match said:
        case Built():
            text = ""
        case Asked():
            text = before.happening.reason if before and isinstance(before.happening, Voided) else ""
        case Decided() | Commanded():
            text = said.comment or (event.state.reason if isinstance(said, Commanded) else "")
        case Drifted():
            text = _summary(said.reason)
        case _:
            text = _summary(event.state.reason) if event.state.ending == "drift" else event.state.reason
    return harmless(text, about.hide)


def harmless(text: str, hide: Callable[[str], str]) -> str:
    """Without secrets and alarms, on one line, cut where it is long, and without a full stop. `hide` as in `About`."""
    text = line(without_password(hide(text)), _LONGEST).rstrip(".")
    return _CALLS_ALL.sub(lambda found: f"{found[0]} ", text)


def _summary(reason: str) -> str:
    """Of drift's reason what stands before the first `;`: which inputs. What follows has clients' labels in it."""
    return reason.partition(";")[0]


def _candidate(rollout: Rollout, state: State) -> str:
    """Of several challengers, the winner where there is one."""
    if state.phase in (Phase.PROMOTING, Phase.SUCCEEDED):
        return rollout.subject[state.winner]
    return ", ".join(dict.fromkeys(rollout.subject[side] for side in rollout.spec.challengers))


def _page(about: About, state: State) -> str:
    """The version's page in MLflow; empty where MLflow has no pages."""
    if not re.match(r"https?://", about.mlflow):
        return ""
    model = quote(about.rollout.subject["model"], safe="")
    version = about.rollout.subject[state.winner]
    return f"{without_password(about.mlflow).rstrip('/')}/#/models/{model}/versions/{version}"


def _clock(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(at))
