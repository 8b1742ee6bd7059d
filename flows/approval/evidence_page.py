"""All of the evidence as one page: what the markdown has no room for, too."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from lockgate.flows.approval import steps, summary
from lockgate.flows.approval.document import Evidence
from lockgate.flows.approval.tables import people_html, step_html, timeline_html, when
from lockgate.flows.approval.web import Cell, Html, code, link, page, pairs, picture, section, table, tag
from lockgate.flows.approval.words import moment, number

_NO_PICTURES = "There are no pictures: matplotlib is not installed where this was written."


def html(evidence: Evidence) -> bytes:
    """Escaped, and one file: nothing is loaded from anywhere."""
    document, drawn = evidence.document, evidence.pictures
    title = summary.question(evidence, str)
    return page(
        title,
        tag("h1", title),
        tag("p", tag("b", summary.results(evidence, str)), class_="lead"),
        _change(evidence),
        section("In short", pairs(summary.lines(evidence, str))),
        section("Steps and gates", *(step_html(step, _variant(step, document)) for step in document["steps"])),
        section("Where the gates stand", picture(drawn.get("gates.png"), "Where the gates stand")),
        section("Answers that differ most", _disagreements(document["disagreements"])),
        section("Compiled", _compiled(document, drawn.get("compile.png"))),
        section("Inputs", _inputs(document)),
        section("What people said", people_html(document["said"])),
        section("Traffic over time", _traffic(document, drawn.get("timeline.png"))),
        _about(evidence),
    )


def _variant(step: steps.Step, document: Mapping[str, Any]) -> str:
    return steps.tried(step, document["change"]["variant"])


def _change(evidence: Evidence) -> Html:
    change = evidence.document["change"]
    rows = [
        (name, *(code(change[side][key]) if key in ("bento", "digest") else change[side][key] for side in _SIDES))
        for key, name in _FACTS.items()
    ]
    head = table(("", "now (stable)", "then (candidate)"), rows)
    others = [
        (c["name"], c["version"], f"{c['target']} {c['precision']}", "wins" if c["winner"] else _fate(c))
        for c in evidence.document["challengers"]
    ]
    unknown = "not known" + (", so nobody is refused for that" if evidence.document["asks"].get("not_author") else "")
    by = [("model", change["model"]), ("registered by", change["registered_by"] or unknown)]
    return section("What changes", pairs(by), head, table(("challenger", "version", "compiled to", ""), others))


_SIDES = ("stable", "candidate")
_FACTS = {
    "version": "version",
    "target": "target",
    "precision": "precision",
    "bento": "bento",
    "digest": "artifact, sha256",
}


def _fate(challenger: Mapping[str, Any]) -> str:
    return "dropped" if challenger["dropped"] else ""


def _disagreements(every: list[Mapping[str, Any]]) -> Html:
    rows = [
        (one["gate"], one["request_id"], when(one.get("at", 0.0)), *(_json(one[key]) for key in _ANSWERS), _far(one))
        for one in every
    ]
    return table(("gate", "request", "when, UTC", *_ANSWERS, "how far"), rows)


_ANSWERS = ("stable", "candidate", "inputs")


def _far(one: Mapping[str, Any]) -> str:
    return number(one.get("far"), "")


def _json(value: object) -> Html:
    return code(json.dumps(value, ensure_ascii=False))


def _compiled(document: Mapping[str, Any], png: bytes | None) -> Html:
    proven = document["parity"]["evidence"]
    heads = [
        (h["name"], *(number(h[key], "") for key in ("max_abs_error", "mean_abs_error", "agreement")))
        for h in (proven or {}).get("heads", ())
    ]
    cases = ", ".join((proven or {}).get("cases", ()))
    rows = [
        (
            tag("b", f"{row['target']} {row['precision']}") if row["outcome"] == "chosen" else _named(row),
            row["outcome"],
            ", ".join(f"batch {batch}: {1000 * t['p50']:.3g} ms" for batch, t in row["latency"].items()),
            number(row["max_abs_error"], "") if row["max_abs_error"] is not None else "",
            row["reason"],
        )
        for row in document["compiled"]
    ]
    return Html(
        tag("p", document["parity"]["sentence"] or "Nothing is kept of the parity.")
        + (tag("p", f"Tried with: {cases}", class_="soft") if cases else "")
        + table(("output", "largest error", "mean error", "same labels"), heads)
        + table(("candidate", "outcome", "p50", "largest error", "why"), rows)
        + picture(png, "Latency against parity error")
    )


def _named(row: Mapping[str, Any]) -> str:
    return f"{row['target']} {row['precision']}"


def _inputs(document: Mapping[str, Any]) -> Html:
    note = document["input_drift"] if isinstance(document["input_drift"], Mapping) else {}
    if not note and not document["drift"]:
        return Html()  # it is said above
    rows = [
        (moment(one["at"]), "drift" if one["drifting"] else "over", one["action"], one["reason"])
        for one in document["drift"]
    ]
    features = [
        (f.get("name"), f.get("outcome"), f.get("kind"), f.get("rows"), f.get("says")) for f in note.get("features", ())
    ]
    return Html(
        tag("p", summary.inputs(document))
        + table(("when", "", "action", "why"), rows)
        + table(("feature", "outcome", "kind", "rows", "in words"), features)
    )


def _traffic(document: Mapping[str, Any], png: bytes | None) -> Html:
    return Html(picture(png, "Traffic over time") + timeline_html(document["timeline"]))


def _about(evidence: Evidence) -> Html:
    document, links = evidence.document, evidence.links
    places = ((links.prefect, "Prefect"), (links.grafana, "Grafana"), (links.mlflow, "MLflow"))
    more = [found for url, says in places if (found := link(url, says))]
    rows: list[tuple[str, Cell]] = [
        ("rollout", code(document["rollout"])),
        ("digest of this evidence", code(evidence.digest)),
        ("to check it", code("sha256sum evidence.json")),
        ("to compute every verdict anew", code(f"lockgate verify {document['rollout']}")),
        ("see also", Html(" · ".join(more))),
    ]
    pictures = Html() if evidence.pictures else tag("p", _NO_PICTURES, class_="soft")
    return section("About this page", pairs(rows), pictures)
