"""Rollouts for the terminal."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from lockgate.flows.approval.words import seen
from lockgate.flows.report import headline
from lockgate.services.compile import table as compile_table
from lockgate.services.compile.words import Search

_COLOUR = {
    "pass": "green",
    "undecided": "yellow",
    "error": "red",
    "fail": "bold red",
    "succeeded": "bold green",
    "rolled_back": "bold red",
    "failed": "bold red",
    "rolling_back": "red",
    "waiting": "yellow",
}
_MARK = {"passed": ("✔", "green"), "now": ("▶", "cyan"), "ended": ("✖", "red")}


def clock(at: float | None) -> str:
    return datetime.fromtimestamp(at).astimezone().strftime("%H:%M:%S") if at else ""


def moment(at: float) -> str:
    """With the day: an approval may take days."""
    return datetime.fromtimestamp(at).astimezone().strftime("%d %b %H:%M")


def rollout(status: dict[str, Any]) -> RenderableType:
    """One rollout: a headline, its steps, its gates with their numbers."""
    phase = status["phase"]
    head = Text.assemble(
        (status["rollout"], "bold"),
        f"  {seen(status['model'])} version {status['stable_version']} → {status['candidate_version']}  ",
        (phase.replace("_", " "), _COLOUR.get(phase, "cyan")),
        " (paused)" if status["paused"] else "",
        " (held)" if status["held"] else "",
    )
    parts: list[RenderableType] = [head, _steps(status)]
    if status["gates"]:
        parts.append(gates(status["gates"]))
    parts += [Text(seen(gate["sentence"])) for gate in status["gates"] if gate["interval"]]
    for other in status["others"]:
        says = "dropped" if other["dropped"] else ""
        parts.append(Text.assemble((other["name"], "bold"), f"  version {other['version']}  ", (says, "red")))
        if other["gates"]:
            parts.append(gates(other["gates"]))
        parts += [Text(seen(gate["sentence"])) for gate in other["gates"] if gate["interval"]]
    if status.get("copies", {}).get("shed"):
        parts.append(Text(shed(**status["copies"]), style="yellow"))
    if status["feedback"]:
        parts.append(Text(feedback(status["feedback"]), style="dim"))
    if status["disagreements"]:
        parts.append(disagreements(status["disagreements"]))
    if status["reason"]:
        parts.append(Text(seen(status["reason"]), style="dim"))
    if phase in ("progressing", "waiting", "building") and not status["driven_by"]:
        parts.append(Text("nobody drives this rollout: `lockgate run` resumes it", style="yellow"))
    parts += [Text(seen(said)) for said in waits(status)]
    return Group(*parts)


def waits(status: dict[str, Any]) -> Iterator[str]:
    """What keeps the rollout where it is, and what a person can do about it; a sentence each."""
    name, approval = status["name"], status["approval"]
    if status["held"]:
        yield f"held: {status['held']}; `lockgate resume {name}` lets it go on nevertheless"
    if approval:
        yield from _approval(status, approval)
    elif status["phase"] == "waiting":
        ahead = any(step["kind"] == "approval" and step["state"] == "ahead" for step in status["steps"])
        without = " --break-glass --comment ..." if ahead else ""
        yield f"waiting for a person: `lockgate promote {name}{without}` or `lockgate abort {name}`"


def _approval(status: dict[str, Any], approval: dict[str, Any]) -> Iterator[str]:
    wanted = f"approval by {approval['role']}" if approval["role"] else "approval"
    given = " and ".join(name or "somebody" for name in approval["approvals"])
    so_far = f", {len(approval['approvals'])} of {approval['required']} so far" if approval["required"] > 1 else ""
    said = f"waiting for {wanted}{so_far}{f' ({given})' if given else ''}"
    if not approval["asked"]:
        yield f"{said}; the evidence is being put on the version's page"
        return
    page = f"the page of {status['model']} version {status['candidate_version']} in MLflow"
    yield f"{said}, until {moment(approval['expires_at'])}: the evidence is on {page}; decide there, or with"
    yield f"`lockgate approve {status['name']} --comment ...` or `lockgate reject {status['name']} --comment ...`"


def _steps(status: dict[str, Any]) -> Text:
    out = Text("  ")
    for i, step in enumerate(status["steps"]):
        sign, style = _MARK.get(step["state"], ("·", "dim"))
        out.append(f"{sign} {step['step']}", style=style)
        out.append("  →  " if i + 1 < len(status["steps"]) else "  →  promote", style="dim")
    if status["phase"] in ("progressing", "waiting"):
        out.append(f"   {status['requests']} requests, {status['step_seconds']:.0f} s", style="dim")
    return out


def gates(rows: list[dict[str, Any]]) -> Table:
    table = Table(
        "gate", "verdict", "candidate", "stable", "limit", "requests", box=None, padding=(0, 2), pad_edge=True
    )
    for gate in rows:
        show = _SHOW.get(gate["metric"], percent)
        table.add_row(
            gate["gate"],
            Text(gate["outcome"], style=_COLOUR.get(gate["outcome"], "")),
            *(show(gate[key]) for key in ("candidate", "stable", "limit")),
            f"{gate['candidate_requests']} / {gate['stable_requests']}",
        )
    return table


def shed(answered: int, shed: int) -> str:
    """What the shadow did not see."""
    all_ = answered + shed
    return (
        f"the shadow saw {answered:,} of {all_:,} copies: {shed:,} ({shed / all_:.1%}) were shed, because too many were"
        " under way at once"
    )


def feedback(rows: dict[str, int]) -> str:
    """One line: what became of the step's feedback."""
    said = [f"{rows[name]:,} {words}" for name, words in _FEEDBACK.items() if rows.get(name)]
    return f"feedback: {', '.join(said) or 'none yet'}"


_FEEDBACK = {
    "matched": "rows matched a user",
    "late": "came after their user's window",
    "early": "were before their user's first request",
    "waiting": "wait for their request",
    "unmatched": "matched nobody",
}


def disagreements(examples: list[dict[str, Any]]) -> Table:
    """The answers that differ most, with what was asked."""
    table = Table("differs most", "request", "stable", "candidate", "inputs", box=None, padding=(0, 2), pad_edge=True)
    for example in examples[:_EXAMPLES]:
        cells = (example["request_id"], *(json.dumps(example[key]) for key in ("stable", "candidate", "inputs")))
        table.add_row(example["gate"], *(Text(seen(cell), overflow="ellipsis", no_wrap=True) for cell in cells))
    return table


_EXAMPLES = 3
_WIDE = 125
_LESSER = ("rows/s", "same label", "size MB", "compile s")
_OUTCOME = {"chosen": "bold green", "refused": "bold red", "lost": "red", "over a limit": "yellow", "skipped": "dim"}


def search(found: Search, width: int) -> RenderableType:
    """What became of every candidate: figures side by side, reasons below; on a narrow screen fewer figures."""
    heading, *lines = compile_table.cells(found)
    shown = [i for i, name in enumerate(heading[:-1]) if width >= _WIDE or name not in _LESSER]
    table = Table(box=None, padding=(0, 1), pad_edge=False)
    for i in shown:
        table.add_column(heading[i], justify="left" if heading[i] in ("candidate", "outcome") else "right")
    reasons = Text()
    for line in lines:
        style = _OUTCOME.get(line[1], "")
        table.add_row(*(Text(line[i], style=style if heading[i] == "outcome" else "", no_wrap=True) for i in shown))
        if line[-1]:
            reasons.append(f"\n{line[0]}: ", style=style).append(seen(line[-1]), style="dim")
    return Group(table, reasons) if reasons else table


def percent(value: float | None) -> str:
    return "no data" if value is None else f"{value:.2%}"


def milliseconds(value: float | None) -> str:
    return "no data" if value is None else f"{value:.1f} ms"


def plain(value: float | None) -> str:
    return "no data" if value is None else f"{value:.4g}"


_SHOW = {"latency": milliseconds, "query": plain, "ab": plain, "mean": plain}


def events(lines: list[dict[str, Any]]) -> Table:
    """One row per event; why it happened stands below it."""
    table = Table(show_header=False, box=None, padding=(0, 1))
    for line in lines:
        verdict = line.get("verdict", {}).get("outcome")
        where = line["phase"].replace("_", " ")
        if line["phase"] in ("progressing", "waiting"):
            where += f", {line['step']}"
        said = Text.assemble(
            (seen(headline(line)), _COLOUR.get(verdict or "", "bold")), " → ", (where, _COLOUR.get(line["phase"], ""))
        )
        for why in seen(line.get("comment") or line["reason"]).split("; "):
            said.append(f"\n  {why}" if why else "", style="dim")
        table.add_row(Text(clock(line["at"]), style="dim"), f"{line['weight_percent']:3g} %", said)
    return table
