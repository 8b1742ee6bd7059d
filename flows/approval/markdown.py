"""The evidence on one screen, as MLflow renders it on the version's page. Never longer than the registry has room."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any
from urllib.parse import quote

from lockgate.flows.approval import steps, summary
from lockgate.flows.approval.document import Evidence, Links
from lockgate.flows.approval.words import address, effect, figures, markdown, moment, outcome, short
from lockgate.monitoring.units import seconds_text
from lockgate.registry.approvals import Request
from lockgate.registry.words import EVIDENCE_ROOM, Run

_NAME = partial(markdown, room=40)
_LINE = 260
"""Characters of a line between two headings."""
_TOLD = 1500
"""And of all those lines."""
_WORST = 700
"""And of the answers that differ most."""
_EXAMPLES = 3
_APART = "&emsp; | "
"""MLflow leaves no room between the columns of a table."""


def page(evidence: Evidence, request: Request, run: Run | None = None, *, people: bool = False) -> str:
    """What `request` asks, and all that speaks for and against it. `run`: where the files are kept.

    `people`: whether the registry knows who decides; where it does not, the page says so.
    """
    head = f"## {summary.question(evidence, _NAME)}\n\n**{summary.results(evidence, _NAME)}** "
    head += markdown(summary.served(evidence, str), 300)
    how = "\n".join(_how(evidence, request, people=people))
    foot = _foot(request, run)
    room = EVIDENCE_ROOM - sum(map(len, (head, how, foot))) - 8
    told, room = _told(evidence, room)
    links, room = _fitting(_links(evidence.links, run), room)
    picture, room = _fitting(_picture(evidence, run), room)
    worst, left = _worst(evidence).within(min(room, _WORST))
    gates, _ = _gates(evidence).within(room - min(room, _WORST) + left)
    return "\n\n".join(part for part in (head, gates, told, worst, how, links + foot, picture) if part)


def _how(evidence: Evidence, request: Request, *, people: bool) -> Iterator[str]:
    """Who may decide, until when, and in which ways."""
    yield "### To decide\n"
    author = str(evidence.document["change"]["registered_by"])
    yield f"- **Who:** {_who(request, author, people=people)}"
    left = seconds_text(round(max(0.0, request.expires_at - request.asked_at)))
    then = "it is asked again" if evidence.document["asks"].get("on_expiry") == "renew" else "the rollout rolls back"
    yield f"- **Until** {moment(request.expires_at)} ({left} after it was asked); then {then}. A rejection rolls back."
    yield (
        "- **How:** the buttons at the bottom of this page, where the server has them; or the pencil at the tag"
        " `lockgate.approval`: write `approved: why` or `rejected: why`; or a terminal:"
        f" {_command('approve', evidence)}, {_command('reject', evidence)}"
    )


def _who(request: Request, by: str, *, people: bool) -> str:
    """`by`: who registered the version; empty where nobody knows."""
    many = f"{request.required} people" if request.required > 1 else "one person"
    role = f" with the role {_NAME(request.role)}" if request.role else ""
    author = ", none of whom registered" if request.required > 1 else ", who did not register"
    asked = f"{many}{role}{f'{author} the version' if request.not_author else ''}."
    if people:
        unknown = (
            " Who registered it is not known, so nobody is refused for that." if request.not_author and not by else ""
        )
        return f"{asked}{unknown}"
    unchecked = " Nobody checks role or author." if request.role or request.not_author else ""
    return f"{asked} **Identity not verified:** this server knows no people.{unchecked}"


def _command(verb: str, evidence: Evidence) -> str:
    name = str(evidence.document["name"])
    if re.fullmatch(r"[\w.-]{1,60}", name, re.ASCII):
        return f'`lockgate {verb} {name} --comment "why"`'
    return markdown(f'lockgate {verb} {shlex.quote(name)} --comment "why"', 120)


def _foot(request: Request, run: Run | None) -> str:
    where = f" in {markdown(run.folder, 80)}" if run else ""
    return f"Evidence {request.digest[:12]} (sha256 of evidence.json{where})."


def _told(evidence: Evidence, room: int) -> tuple[str, int]:
    """Line by line, as many as there is room for; the tables need some of it too."""
    every = [f"- **{head}:** {text}" for head, text in summary.lines(evidence, partial(markdown, room=_LINE))]
    kept, left = list[str](), min(room, _TOLD)
    for text in every:
        if len(text) < left:
            kept.append(text)
            left -= len(text) + 1
    if more := len(every) - len(kept):
        kept.append(f"- … and {more} more in evidence.json")
    return _fitting("\n".join(kept), room)


def _fitting(text: str, room: int) -> tuple[str, int]:
    """The text where there is room for it, and the room that is left."""
    return (text, room - len(text) - 2) if text and len(text) + 2 <= room else ("", room)


@dataclass(frozen=True, slots=True)
class _Table:
    """Rows are given up where there is no room, those that matter least first; a row is never cut."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    least: Sequence[int]
    """Indices of the rows; the one to be given up first comes first."""
    of: int
    """How many rows there are in evidence.json."""

    def within(self, room: int) -> tuple[str, int]:
        """The table, and the room that is left."""
        kept = set(range(len(self.rows)))
        giving = iter(self.least)
        while kept and len(self._text(kept)) + 2 > room:
            kept.discard(next(giving))
        return _fitting(self._text(kept), room) if kept else ("", room)

    def _text(self, kept: set[int]) -> str:
        rows = [self.head, *(row for i, row in enumerate(self.rows) if i in kept)]
        head, *body = (f"| {_APART.join(row)} |" for row in rows)
        text = "\n".join((head, f"| {' | '.join(['---'] * len(self.head))} |", *body))
        more = self.of - len(kept)
        return f"{text}\n\n… and {more} more in evidence.json" if more else text


def _gates(evidence: Evidence) -> _Table:
    """A row for each gate that had something to say in a step. What did not pass, and what is later, stays longest."""
    rows: list[list[str]] = []
    weight: list[tuple[bool, int]] = []
    variant = evidence.document["change"]["variant"]
    for step in evidence.document["steps"]:
        for cells, good in _rows(step, steps.tried(step, variant)):
            weight.append((not good, len(rows)))
            rows.append(cells)
    least = [index for _, index in sorted(weight)]
    return _Table(("step", "gate", "candidate", "stable", "limit", "outcome"), rows, least, len(rows))


def _rows(step: steps.Step, variant: str) -> Iterator[tuple[list[str], bool]]:
    voting = [gate for gate in steps.gates(step, variant) if gate.get("votes", True)]
    name = _NAME(step["step"])
    for gate in voting:
        said = " ".join(filter(None, (outcome(gate["outcome"]), markdown(effect(gate), 60))))
        yield [name, _NAME(gate["gate"]), *figures(gate), said], gate["outcome"] == "pass"
    if not voting:
        verdict = step["verdict"] or {"outcome": "undecided", "reason": "nothing was judged"}
        said = f"{outcome(verdict['outcome'])}: {markdown(verdict['reason'] or 'no reason was given', 120)}"
        yield [name, "", "", "", "", said], False


def _worst(evidence: Evidence) -> _Table:
    """The answers that differ most."""
    every = evidence.document["disagreements"]
    rows = [list(_example(one)) for one in islice(every, _EXAMPLES)]
    return _Table(("differs most", "stable", "candidate", "inputs"), rows, range(len(rows) - 1, -1, -1), len(every))


def _example(one: Mapping[str, Any]) -> Iterator[str]:
    yield _NAME(one["request_id"])
    for key, room in (("stable", 60), ("candidate", 60), ("inputs", 120)):
        yield markdown(short(one[key]), room)


def _links(links: Links, run: Run | None) -> str:
    at = [("all evidence", _run(run, "evidence.html")), ("its files", _run(run, ""))] if run else []
    at += [("Prefect", address(links.prefect)), ("Grafana", address(links.grafana))]
    found = [f"[{name}]({url.replace('_', '%5F')})" for name, url in at if url]
    return f"{' · '.join(found)}. " if found else ""


def _run(run: Run, file: str) -> str:
    """In MLflow's own pages, relative to the page that this stands on."""
    at = f"#/experiments/{quote(run.experiment, safe='')}/runs/{quote(run.id, safe='')}/artifacts"
    return f"{at}/{quote(run.folder)}/{file}".rstrip("/")


def _picture(evidence: Evidence, run: Run | None) -> str:
    if run is None or "gates.png" not in evidence.pictures:
        return ""
    path = quote(f"{run.folder}/gates.png", safe="")
    return f"![Where the gates stand](get-artifact?path={path}&run_uuid={quote(run.id, safe='')})"
