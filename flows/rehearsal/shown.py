"""Rehearsals for the terminal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.table import Table

from lockgate.flows.foreseen import duration


def traffic(it: dict[str, Any]) -> str:
    of = it["traffic"]
    answers = f"{of['candidate_answers']:,} answers of a candidate" if of["candidate_answers"] else "no candidate"
    return (
        f"{it['name']}: {of['requests']:,} live requests in {duration(of['seconds'])} ({of['rps']:.3g}/s,"
        f" {of['error_rate']:.2%} failed, p50 {of['p50_ms']:.3g} ms, p99 {of['p99_ms']:.3g} ms), {answers};"
        f" shuffled in {of['shuffled']}"
    )


def equal(it: dict[str, Any]) -> str:
    return (
        f"equal candidates: {it['equal']['rolled_back']} false alarms (at most {it['alpha']:.0%}); {_ends(it, 'equal')}"
    )


def candidate(it: dict[str, Any]) -> str:
    return f"the captured candidate: {it['candidate']['rolled_back']} rolled back; {_ends(it, 'candidate')}"


def _ends(it: dict[str, Any], which: str) -> str:
    of = it[which]
    said = f"of {it['shuffles']} shuffles {of['passed']} passed every step"
    if of["timed_out"]:
        said += f", {of['timed_out']} timed out"
    return said + (f", for {of['ran_out']} the traffic was too short" if of["ran_out"] else "")


def steps(of: dict[str, Any], shuffles: int) -> Table:
    """Per step and gate; requests are the candidate's, over the shuffles that passed: median and 90th percentile."""
    shown = Table(box=None, padding=(0, 2))
    for head in ("step", f"of {shuffles}", "pass", "undecided", "fail", "passes after", "90 % of them after"):
        shown.add_column(head, justify="left" if head in {"step", "passes after"} else "right")
    for step in of["steps"]:
        after = [_after(step["requests"][q], step["seconds"][q]) for q in ("median", "most")]
        shown.add_row(step["step"], str(step["reached"]), str(step["passed"]), "", "", *after, style="bold")
        for gate in step["gates"]:
            shown.add_row(f"  {gate['gate']}", "", *(str(gate[word]) for word in ("pass", "undecided", "fail")))
    return shown


def sentences(of: dict[str, Any]) -> Iterator[str]:
    """What the judge said of the first shuffle, step by step."""
    for step in of["steps"]:
        for gate in step["gates"]:
            if gate["sentence"]:
                yield f"{step['step']}: {gate['sentence']}"


def faults(it: dict[str, Any]) -> Table:
    shown = Table("fault", "rolled back", "after", "90 % of them after", "by", box=None, padding=(0, 2))
    for fault in it["faults"]:
        after = [_after(fault["requests"][q], fault["seconds"][q]) for q in ("median", "most")]
        by = ", ".join(f"{name} {count}" for name, count in fault["gates"].items())
        shown.add_row(fault["fault"], f"{fault['found']} of {it['shuffles']}", *after, by)
    return shown


def _after(requests: float | None, seconds: float | None) -> str:
    return "" if requests is None or seconds is None else f"{requests:,.0f} requests, {duration(seconds)}"
