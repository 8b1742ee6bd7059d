"""The evidence that an approver reads: gathered once, from the rollout's log and what was built.

What goes on changing while people think (counts, the time, who drives) is not in it. What was noted beside the log, and
when it was asked, is: two questions never have the same digest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lockgate.flows import report
from lockgate.flows.approval import pictures, steps
from lockgate.flows.approval.document import Evidence, Links
from lockgate.flows.approval.files import files
from lockgate.flows.approval.markdown import page
from lockgate.flows.approval.words import plain
from lockgate.rollout.spec import RolloutSpec
from lockgate.rollout.state import State
from lockgate.rollout.steps import ApprovalStep, label
from lockgate.rollout.store import Event, Rollout, Store
from lockgate.services.compile import table
from lockgate.services.compile.words import Search
from lockgate.services.words import Build

__all__ = ["DRIFT", "Evidence", "Links", "files", "gather", "page"]

DRIFT = "drift"
"""The name under which the last comparison of the live inputs with the reference is kept."""
_FORMAT = 1


def gather(  # noqa: PLR0913 - each is known to somebody else
    store: Store,
    rollout: Rollout,
    *,
    author: str = "",
    links: Links | None = None,
    build: Build | None = None,
    asked_at: float = 0.0,
) -> Evidence:
    """What is known of the rollout now. `author`: who registered the version that is to be promoted, where known.

    `build`: of that version; one of another artifact than the rollout's is left out. `asked_at`: unix seconds; in the
    document, so that no approval of an earlier question fits a later one.
    """
    events = store.events(rollout.id)
    state = events[-1].state
    if build and build.bento.digest != state.facts.get(f"{state.winner}_digest"):
        build = None
    document = {
        "format": _FORMAT,
        "rollout": rollout.id,
        "asked_at": round(asked_at, 3),
        "name": rollout.model,
        "asks": _asks(rollout.spec, state),
        "change": _change(rollout, state, author),
        "challengers": _challengers(rollout, state),
        "parity": _parity(state, build),
        "compiled": table.values(_search(build)) if build else [],
        **_judged(rollout.spec, state, events),
        "input_drift": store.noted(rollout.id, DRIFT),
        "drift": steps.drift(events),
        "said": list(steps.decisions(rollout.spec, events)),
        "disagreements": store.noted(rollout.id, report.DISAGREEMENTS) or [],
        "timeline": list(steps.points(rollout.spec, events)),
    }
    document = plain(document)
    drawn = pictures.of(document, _search(build) if build else None)
    return Evidence(document, links or Links(), drawn)


def _asks(spec: RolloutSpec, state: State) -> dict[str, Any]:
    """What a person is asked, and what follows when they approve."""
    step = spec.steps[state.step]
    wanted = step.approval.model_dump(mode="json") if isinstance(step, ApprovalStep) else {}
    after = spec.steps[state.step + 1 :]
    tried = [s for s in spec.steps if not isinstance(s, ApprovalStep)]
    return {**wanted, "step": state.step, "next": label(after[0]) if after else "", "steps": len(tried)}


def _change(rollout: Rollout, state: State, author: str) -> dict[str, Any]:
    return {
        "model": rollout.subject["model"],
        "stable": _side(rollout, state.facts, "stable"),
        "candidate": _side(rollout, state.facts, state.winner),
        "variant": state.winner,
        "registered_by": author,
    }


def _side(rollout: Rollout, facts: Mapping[str, str], side: str) -> dict[str, str]:
    built = {key: facts.get(f"{side}_{key}", "") for key in ("target", "precision", "bento", "digest")}
    return {"version": rollout.subject.get(side, ""), **built}


def _challengers(rollout: Rollout, state: State) -> list[dict[str, Any]]:
    """Everybody who is tried in some step, where they are several."""
    names = rollout.spec.challengers
    if len(names) == 1:
        return []
    return [
        {"name": n, "dropped": n in state.dropped, "winner": n == state.winner, **_side(rollout, state.facts, n)}
        for n in names
    ]


def _parity(state: State, build: Build | None) -> dict[str, Any]:
    """`sentence` was written when it was proven; the numbers are there where the build is known on this machine."""
    sentence = state.facts.get(f"{state.winner}_parity", "")
    return {"sentence": sentence, "evidence": asdict(build.parity) if build and build.parity else None}


def _search(build: Build) -> Search:
    return Search(build.rows, None, None, Path(), {}, 0.0)


def _judged(spec: RolloutSpec, state: State, events: Sequence[Event]) -> dict[str, Any]:
    """The steps up to the one that asks, and the last word of the gates that compare answers."""
    found = [s for s in steps.entered(spec, events) if s["kind"] != "approval"]
    answers = steps.latest(found, "candidate").values()  # others are in no step where answers are compared
    return {
        "steps": found,
        "gates": list(steps.latest(found, state.winner).values()),
        "agreement": [gate for gate in answers if gate["metric"] == "disagreement"],
        "prediction_drift": [gate for gate in answers if gate["metric"] == "prediction_drift"],
    }
