"""The evidence in sentences: what is asked, and what came of the steps. Text from outside is passed through `mark`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from lockgate.flows.approval import steps
from lockgate.flows.approval.document import Evidence
from lockgate.flows.approval.words import line, outcome
from lockgate.services.words import EXTERNAL

Mark = Callable[[object], str]
"""Makes text from outside harmless where it is going to stand."""


def question(evidence: Evidence, mark: Mark) -> str:
    """What is decided."""
    change, after = evidence.document["change"], evidence.document["asks"]["next"]
    what = f"{mark(change['model'])} version {mark(evidence.candidate)}"
    if after:
        return f"Let {what} go on to {mark(after)}?"
    return f"Promote {what} in place of version {mark(evidence.stable)}?"


def results(evidence: Evidence, mark: Mark) -> str:
    """How many steps passed, and which gates did not."""
    document = evidence.document
    passed = [step for step in document["steps"] if step["state"] == "passed"]
    if not document["steps"]:
        return "No step came before this one: nothing was judged yet, and the candidate has answered nobody."
    of = document["asks"]["steps"]
    return f"{len(passed)} of {of} step{'s' * (of != 1)} passed; {_gates(document['gates'], mark)}."


def _gates(gates: Sequence[Mapping[str, Any]], mark: Mark) -> str:
    short = [gate for gate in gates if gate["outcome"] != "pass"]
    if not gates:
        return "no gate has judged this version"
    if not short:
        return "every gate passed"
    named = [f"{mark(gate['gate'])} {outcome(gate['outcome'])}" for gate in short[:_NAMED]]
    more = f" and {len(short) - _NAMED} more" if len(short) > _NAMED else ""
    return f"{len(short)} of {len(gates)} gates did not pass: {', '.join(named)}{more}"


_NAMED = 4


def served(evidence: Evidence, mark: Mark) -> str:
    """What both sides are compiled to."""
    change = evidence.document["change"]
    mine, theirs = (_compiled(change[side], mark) for side in ("candidate", "stable"))
    by = f"; registered by {mark(change['registered_by'])}" if change["registered_by"] else ""
    return f"Version {mark(evidence.candidate)} is {mine}, version {mark(evidence.stable)} is {theirs}{by}."


def _compiled(side: Mapping[str, str], mark: Mark) -> str:
    if side["target"] == EXTERNAL:
        return "served elsewhere"
    what = f"{mark(side['target'])} {mark(side['precision'])}".strip() or "not known"
    return f"{what} (artifact {mark(side['digest'][:12])})" if side["digest"] else what


def winner(evidence: Evidence, mark: Mark) -> str:
    """Of several challengers, which one won, and what it was not tried in; empty where there is only the candidate."""
    document = evidence.document
    name, others = document["change"]["variant"], [c for c in document["challengers"] if not c["winner"]]
    if not others:
        return ""
    beaten = ", ".join(f"{mark(c['name'])} (version {mark(c['version'])}{_dropped(c)})" for c in others[:_NAMED])
    text = f"It is {mark(name)}, the best of {len(others) + 1} challengers; the others: {beaten}."
    untried = [mark(step["step"]) for step in document["steps"] if steps.tried(step, name) != name]
    if untried:
        first = next((c["version"] for c in document["challengers"] if c["name"] == "candidate"), "")
        text += f" In {', '.join(untried[:_NAMED])} it was not tried: version {mark(first)} was."
    return text


def _dropped(challenger: Mapping[str, Any]) -> str:
    return ", dropped" if challenger["dropped"] else ""


def lines(evidence: Evidence, mark: Mark) -> Iterator[tuple[str, str]]:
    """What is said in one line each: a heading, and a sentence."""
    document = evidence.document
    if text := winner(evidence, mark):
        yield "Challengers", text
    yield "Parity", _parity(document["parity"], mark)
    for heading, key in (("Agreement", "agreement"), ("Predictions", "prediction_drift")):
        for gate in document[key][:_NAMED]:
            said = str(gate["sentence"]).removeprefix(f"{gate['gate']}: ")
            yield heading, mark(said if len(document[key]) == 1 else gate["sentence"])
    yield "Inputs", mark(inputs(document))
    if people := [mark(_said(one)) for one in document["said"]]:
        yield "People", "; ".join(people[-_NAMED:])


def _parity(parity: Mapping[str, Any], mark: Mark) -> str:
    proven = parity["evidence"]
    if not proven:
        return mark(parity["sentence"]) or "nothing is kept of it"
    passed = "proven" if proven["passed"] else "NOT proven"
    labels = f"{float(proven['agreement']):.2%} of the labels are the same"
    return f"{passed}: {mark(parity['sentence'])}; {labels}"


def inputs(document: Mapping[str, Any]) -> str:
    """Whether live inputs are distributed as the reference was, and what became of it if not."""
    note, events = document["input_drift"], document["drift"]
    says = str(note.get("says") or json.dumps(note, sort_keys=True)) if isinstance(note, Mapping) else ""
    if not events:
        return says or "not compared with a reference"
    last = events[-1]
    held = f"{'drift' if last['drifting'] else 'drift is over'} ({last['action']}): {last['reason']}"
    return f"{held}; {says}" if says and says not in held else held


def _said(one: Mapping[str, Any]) -> str:
    comment = f" ({one['comment']})" if one["comment"] else ""
    return f"{one['what']} by {line(one['by'], 60) or 'somebody'}{comment}"
