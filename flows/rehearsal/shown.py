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


def steps(of: dict[str, Any]) -> Table:
    """Per step and gate; requests are the candidate's, over the shuffles that passed: median and 90th percentile."""
    shown = Table(show_header=False, box=None, padding=(0, 2))
    shown.add_column(no_wrap=True)
    for step in of["steps"]:
        passed = f"{step['passed']} of {step['reached']} pass{_half(step)}"
        shown.add_row(step["step"], passed, style="bold")
        for gate in step["gates"]:
            words = (f"{gate[word]} {word}" for word in ("pass", "undecided", "fail") if gate[word])
            shown.add_row(f"  {gate['gate']}", ", ".join(words))
    return shown


def sentences(of: dict[str, Any]) -> Iterator[str]:
    """What the judge said of the first shuffle, step by step."""
    for step in of["steps"]:
        for gate in step["gates"]:
            if gate["sentence"]:
                yield f"{step['step']}: {gate['sentence']}"


def faults(it: dict[str, Any]) -> Table:
    shown = Table(show_header=False, box=None, padding=(0, 2))
    shown.add_column(no_wrap=True)
    for fault in it["faults"]:
        by = ", ".join(f"{name} {count}" for name, count in fault["gates"].items())
        found = f"{fault['found']} of {it['shuffles']} rolled back{_half(fault)}"
        shown.add_row(f"  {fault['fault']}", found + (f"; by {by}" if by else ""))
    return shown


def _half(of: dict[str, Any]) -> str:
    requests, seconds = of["requests"], of["seconds"]
    if requests["median"] is None:
        return ""
    half, most = (f"{requests[q]:,.0f} requests, {duration(seconds[q])}" for q in ("median", "most"))
    return f", half of them after {half} (90 %: {most})"
