"""The evidence as files, which are kept in the registry beside the version."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lockgate.flows.approval import steps
from lockgate.flows.approval.document import Evidence
from lockgate.flows.approval.evidence_page import html
from lockgate.flows.approval.words import seen

_NUMBERS = ("candidate", "stable", "limit", "candidate_requests", "stable_requests", "harm", "fails_from", "safety")
_GATE = ("gate", "metric", "outcome", *_NUMBERS, "passes_from", "effect", "interval", "votes", "sentence")
_ANSWER = ("gate", "request_id", "at", "stable", "candidate", "inputs", "far")


def files(evidence: Evidence) -> dict[str, bytes]:
    """By name: evidence.json (whose sha256 is the digest), evidence.html, gates.csv, disagreements.csv, pictures."""
    differ = evidence.document["disagreements"]
    return {
        "evidence.json": evidence.text,
        "evidence.html": html(evidence),
        "gates.csv": _csv(("step", "challenger", *_GATE), _gates(evidence.document["steps"])),
        "disagreements.csv": _csv(_ANSWER, ([one.get(key) for key in _ANSWER] for one in differ)),
        **evidence.pictures,
    }


def _gates(every: Sequence[steps.Step]) -> Iterable[list[Any]]:
    for step in every:
        for name in step["challengers"]:
            yield from ([step["step"], name, *(gate.get(k) for k in _GATE)] for gate in steps.gates(step, name))


def _csv(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> bytes:
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow(head)
    writer.writerows([_cell(value) for value in row] for row in rows)
    return out.getvalue().encode()


def _cell(value: Any) -> Any:
    """Vectors as JSON; text that a spreadsheet would take for a formula is marked as text."""
    if isinstance(value, Mapping | list):
        value = json.dumps(value, ensure_ascii=False)
    if not isinstance(value, str):
        return value
    shown = seen(value)
    return f"'{shown}" if shown.startswith(("=", "+", "-", "@")) else shown
