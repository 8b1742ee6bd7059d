"""A model's story as one page, for people who were not there: an auditor, or whoever is on call next."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from lockgate.flows.approval import pictures, steps
from lockgate.flows.approval.picture_timeline import timeline
from lockgate.flows.approval.tables import people_html, step_html, timeline_html, when
from lockgate.flows.approval.web import Cell, Html, code, page, pairs, picture, section, table, tag
from lockgate.flows.approval.words import moment
from lockgate.flows.history_view import said

_BADGES = {"promoted": "pass", "rolled back": "fail", "rolling back": "error", "not served": "fail"}


def html(name: str, stories: Sequence[dict[str, Any]]) -> bytes:
    """`stories` in the order in which they are shown. Escaped, and one file: nothing is loaded from anywhere."""
    title = f"{name}: {len(stories)} rollout{'s' * (len(stories) != 1)}"
    rows = [tuple(_row(story)) for story in stories]
    head = ("opened", "version", "compiled to", "registered by", "said", "outcome", "why")
    return page(
        title,
        tag("h1", title),
        section("All of them", table(head, rows)),
        *(_rollout(story) for story in stories),
    )


def _row(story: dict[str, Any]) -> Iterator[Cell]:
    it = story["served"].get(story["winner"] or "candidate") or {}
    yield tag("a", moment(story["opened_at"]), href=f"#{story['rollout']}", class_="n")
    yield tag("span", f"{story['stable_version']} → {story['candidate_version']}", class_="n")
    yield f"{it.get('target', '')} {it.get('precision', '')}".strip()
    yield story["registered_by"]
    yield Html("".join(tag("p", said(one)) for one in story["decisions"]))
    yield _badge(story["outcome"])
    yield story["reason"]


def _badge(outcome: str) -> Html:
    return tag("b", outcome, class_=f"badge {_BADGES.get(outcome, '')}".strip())


def _rollout(story: dict[str, Any]) -> Html:
    title = tag("h2", story["rollout"], " ", _badge(story["outcome"]), id=story["rollout"])
    what = f"{story['model']} version {story['stable_version']} → {story['candidate_version']}. {story['reason']}"
    served = [(side, it["version"], _compiled(it), code(it["digest"][:12]), it["parity"]) for side, it in _built(story)]
    drawn = pictures.drawn(lambda: timeline(story["timeline"]))
    return tag(
        "section",
        title,
        tag("p", what),
        pairs([("registered by", story["registered_by"]), ("opened", moment(story["opened_at"]))]),
        table(("side", "version", "compiled to", "artifact", "parity"), served),
        *(step_html(step, steps.tried(step, story["winner"] or "candidate")) for step in _judged(story)),
        _titled("What people said", people_html(story["decisions"])),
        _titled("Drift of the inputs", table(("when, UTC", "", "action", "why"), map(_drift, story["drift"]))),
        _titled("Traffic over time", Html(picture(drawn, "Traffic over time") + timeline_html(story["timeline"]))),
    )


def _titled(title: str, inside: Html) -> Html:
    return Html(tag("h3", title) + inside) if inside else Html()


def _built(story: dict[str, Any]) -> list[tuple[str, dict[str, str]]]:
    return [(side, it) for side, it in story["served"].items() if it["target"]]


def _compiled(it: dict[str, str]) -> str:
    return f"{it['target']} {it['precision']}".strip()


def _judged(story: dict[str, Any]) -> list[steps.Step]:
    """Approvals are told by what people said."""
    return [step for step in story["verdicts"] if step["kind"] != "approval"]


def _drift(one: dict[str, Any]) -> tuple[Cell, ...]:
    return when(one["at"]), "drift" if one["drifting"] else "over", one["action"], one["reason"]
