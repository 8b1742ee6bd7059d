"""What happened to a model, over all its rollouts: one story, as JSON and as files. docs/evidence.md has the keys."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from lockgate.flows import report
from lockgate.flows.approval import steps
from lockgate.flows.approval.words import plain
from lockgate.rollout.store import Event, Rollout, Store
from lockgate.rollout.words import Phase

AUTHORS = "authors"
"""The name under which it is kept who registered the versions, by version, where the registry knows."""
_FORMAT = 1
_LAST = 10
_OUTCOMES = {
    Phase.SUCCEEDED: "promoted",
    Phase.ROLLED_BACK: "rolled back",
    Phase.ROLLING_BACK: "rolling back",
    Phase.FAILED: "not served",
}


def tell(store: Store, rollouts: Sequence[Rollout]) -> list[dict[str, Any]]:
    """One story for each rollout, in the order of `rollouts`."""
    return [_story(store, rollout) for rollout in rollouts]


def files(store: Store, rollout: Rollout, last: int = _LAST) -> dict[str, bytes]:
    """history.json and history.html: of this rollout and those before it, the newest first; `last` at most."""
    from lockgate.flows.history_page import html

    before = [r for r in store.rollouts(rollout.model) if r.opened_at <= rollout.opened_at]
    told = tell(store, before[:last])
    text = json.dumps(plain(told), indent=1, allow_nan=False)
    return {"history.json": text.encode(), "history.html": html(rollout.model, told)}


def _story(store: Store, rollout: Rollout) -> dict[str, Any]:
    events = store.events(rollout.id)
    told = report.history(store, rollout)
    authors: Mapping[str, str] = store.noted(rollout.id, AUTHORS) or {}
    return {
        **told,
        "format": _FORMAT,
        "outcome": _outcome(events),
        "registered_by": authors.get(told["candidate_version"], ""),
        "served": _served(rollout, events),
        "verdicts": steps.entered(rollout.spec, events),
        "decisions": list(steps.decisions(rollout.spec, events)),
        "drift": steps.drift(events),
        "timeline": list(steps.points(rollout.spec, events)),
    }


def _outcome(events: Sequence[Event]) -> str:
    """In a word or two; why is the story's `reason`."""
    phase = events[-1].state.phase
    return _OUTCOMES.get(phase, phase.replace("_", " "))


def _served(rollout: Rollout, events: Sequence[Event]) -> dict[str, dict[str, str]]:
    """What each side was compiled to, by side; what was never built has versions only."""
    facts = events[-1].state.facts
    keys = ("target", "precision", "bento", "digest", "parity")
    sides = ("stable", *rollout.spec.challengers)
    return {
        side: {"version": rollout.subject.get(side, ""), **{key: facts.get(f"{side}_{key}", "") for key in keys}}
        for side in sides
    }
