"""What the page of the evidence and that of the history both show: a step's gates, people's words, events."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from lockgate.flows.approval import steps, web
from lockgate.flows.approval.web import Cell, Html, badge, table, tag
from lockgate.flows.approval.words import e_value, effect, figures, moment


def step_html(step: steps.Step, variant: str = "candidate") -> Html:
    """One step: how it ended, and its gates' numbers."""
    verdict = step["verdict"]
    outcome = badge(verdict["outcome"]) if verdict else ""
    requests = f"{verdict['requests']:,} requests, {verdict['looks']:,} looks, " if verdict else ""
    when = f"{moment(step['began'])} to {moment(step['ended']) or 'now'}"
    head = tag("h3", step["step"], " ", outcome)
    line = tag("p", f"{step['state']}; {requests}{when}", class_="soft")
    rows = list(_gate_rows(step, variant))
    reason = tag("p", verdict["reason"]) if verdict and not rows and verdict["reason"] else Html()
    return Html(head + line + reason + table(_GATES, rows))


_EVIDENCE = ("harm / fails from", "safety / passes from")
_GATES = ("gate", "outcome", "candidate", "stable", "limit", "requests", *_EVIDENCE, "in words")


def _gate_rows(step: steps.Step, variant: str) -> Iterator[tuple[Cell, ...]]:
    for gate in steps.gates(step, variant):
        word = badge(gate["outcome"]) if gate["votes"] else tag("span", "does not vote", class_="soft")
        counts = f"{gate['candidate_requests']:,} / {gate['stable_requests']:,}"
        evidence = [_against(gate[key], gate[of]) for key, of in (("harm", "fails_from"), ("safety", "passes_from"))]
        cells = map(web.number, (*figures(gate), counts, *evidence))
        yield tag("b", gate["gate"], class_="n"), word, *cells, _words(gate)


def _against(value: Any, limit: Any) -> str:
    """An e-value, and from where on it decides."""
    return f"{e_value(value)} / {e_value(limit)}" if limit else e_value(value)


def _words(gate: Mapping[str, Any]) -> str:
    """Its sentence, less what stands beside it."""
    sentence = str(gate["sentence"]).removeprefix(f"{gate['gate']}: ").removeprefix(f"{gate['outcome']}, ")
    return " ".join(filter(None, (sentence, effect(gate))))


def people_html(said: list[Mapping[str, Any]]) -> Html:
    """Who approved, rejected or commanded what."""
    return table(("when", "what", "who", "identity", "how", "step", "comment"), map(_said, said))


def _said(one: Mapping[str, Any]) -> tuple[Cell, ...]:
    who = one["by"] or "not known"
    sure = "verified" if one["verified"] else "not verified"
    return moment(one["at"]), one["what"], who, sure, one["via"], one["step"], one["comment"]


def timeline_html(points: Iterable[Mapping[str, Any]]) -> Html:
    rows = [
        (p["sequence"], when(p["at"]), p["what"], where(p), f"{p['weight_percent']:g} %", p["reason"]) for p in points
    ]
    return table(("", "when, UTC", "what", "then", "candidate answers", "why"), rows)


def when(at: float) -> Html:
    return web.number(moment(at, exactly=True))


def where(point: Mapping[str, Any]) -> str:
    phase = str(point["phase"]).replace("_", " ")
    return f"{phase}, {point['step']}" if point["phase"] in ("progressing", "waiting") else phase
