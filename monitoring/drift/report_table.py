"""The verdict that decides, as the head of the page."""

from __future__ import annotations

from html import escape

from lockgate.monitoring.drift.age import span
from lockgate.monitoring.drift.sentences import percent
from lockgate.monitoring.drift.words import Compared, Comparison

_MOST = 200
_STYLE = (
    "<style>.lockgate{font:15px/1.5 system-ui,sans-serif;max-width:1100px;margin:24px auto;color:#222}"
    ".lockgate table{border-collapse:collapse;width:100%}.lockgate td:nth-child(2){white-space:nowrap}"
    ".lockgate td,.lockgate th{text-align:left;padding:4px 10px;border-bottom:1px solid #ddd;vertical-align:top}"
    ".lockgate .drifts,.lockgate .severe{font-weight:600;color:#b00020}</style>"
)
_OUTCOMES = {"same": "as in the reference", "drifts": "drifts", "severe": "drifts severely", "undecided": "undecided"}


def table(found: Comparison, sampled: int) -> str:
    """`sampled`: rows of each side that Evidently's figures are of, at most."""
    shown = [*found.drifted, *(of for of in found.features if not of.drifts)]
    left = f"<p>and {len(shown) - _MOST} more</p>" if len(shown) > _MOST else ""
    notes = "".join(f"<li>{escape(note)}</li>" for note in found.notes)
    head = "<tr><th>feature</th><th>verdict</th><th>PSI</th><th>missing</th><th>before</th><th></th></tr>"
    return (
        f"{_STYLE}<div class=lockgate><h1>Drift: {escape(found.says)}</h1><p>{escape(_about(found))}</p>"
        f"<table>{head}{''.join(map(_row, shown[:_MOST]))}</table>{left}<ul>{notes}</ul>"
        "<p>This table is Lockgate's, of all rows, and it alone decides. PSI is less what chance adds. Below are"
        f" Evidently's figures of at most {sampled:,} rows of each side, with the verdicts of this table.</p></div>"
    )


def _about(found: Comparison) -> str:
    when = f", {said}" if (said := span(found)) else ""
    state = "undecided" if found.undecided else "drifting" if found.drifting else "not drifting"
    return f"{found.rows:,} live rows{when}, against {found.reference_rows:,} of the reference. The whole: {state}."


def _row(of: Compared) -> str:
    name = escape(of.name) + (" (output)" if of.role == "output" else "")
    psi = "" if of.psi is None else f"{of.psi:.3f}"
    shares = f"<td>{percent(of.missing.live)}</td><td>{percent(of.missing.reference)}</td>"
    says = escape(of.says.removeprefix(f"{of.name}: "))
    verdict = f"<td class={of.outcome}>{_OUTCOMES[of.outcome]}</td>"
    return f"<tr><td>{name}</td>{verdict}<td>{psi}</td>{shares}<td>{says}</td></tr>"
