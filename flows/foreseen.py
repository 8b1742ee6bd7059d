"""Forecasts for the terminal."""

from __future__ import annotations

from typing import Any

from rich.table import Table

_ALL = 0.995
"""It would be said as 100 %."""
_ASSUMED = {"error_rate": "the error rate", "p50": "p50", "p99": "p99", "differing": ""}


def traffic(it: dict[str, Any]) -> str:
    """What the forecast is made of."""
    said = (
        f"at {it['rps']:.4g} requests/s, {it['error_rate']:.3g} of them failed, p50 {it['p50_ms']:.3g} ms,"
        f" p99 {it['p99_ms']:.3g} ms"
    )
    assumed = [words for name in it["assumed"] if (words := _ASSUMED[name])]
    said = f"{said} ({', '.join(assumed)} assumed)" if assumed else said
    return f"{said}; {it['users_per_day']:,.0f} new users a day" if it["users_per_day"] else said


def table(it: dict[str, Any]) -> Table:
    """Per step and gate. Requests are the candidate's."""
    shown = Table("step", "half of equal candidates pass", "4 in 5 times fails", box=None, padding=(0, 2))
    shown.columns[0].no_wrap = True
    for step in it["steps"]:
        took = _after(_counts(step), step["seconds"], step["passing"], duration(step["timeout"]))
        shown.add_row(step["step"], f"its gates: {took}" if step["test"] else took, "", style="bold")
        if step["test"] and step["test"]["unforeseen"]:
            shown.add_row("  test", step["test"]["unforeseen"])
        for gate in step["gates"]:
            if gate["unforeseen"]:
                shown.add_row(f"  {gate['gate']}", gate["unforeseen"])
            else:
                shown.add_row(f"  {gate['gate']}", _after(_counts(gate), None, gate["passing"]), regression(gate))
    return shown


def _counts(it: dict[str, Any]) -> dict[str, str]:
    """The candidate's requests, or users of both sides, in words; nothing where it takes forever."""
    unit = "users" if it.get("users") else "requests"
    return {which: f"{count:,.0f} {unit}" for which, count in it[unit].items() if count is not None}


def _after(counts: dict[str, str], seconds: dict[str, float | None] | None, passing: float, timeout: str = "") -> str:
    """Half of them, and nine of ten."""

    def one(which: str) -> str:
        if which not in counts:
            return "never"
        if counts[which] == "0 users":
            return "from the start"
        took = seconds[which] if seconds else None
        return f"after {counts[which]}" + (f", {duration(took)}" if took is not None else "")

    in_time = f"; {passing:.0%} within {timeout or 'the timeout'}" if passing < _ALL else ""
    return f"{one('median')} (90 %: {one('most')}){in_time}"


def regression(gate: dict[str, Any]) -> str:
    """The smallest one that is found."""
    smallest = gate["smallest"]
    if smallest is None:
        return "nothing"
    return {
        "error_rate": f"{smallest:.2%} errors",
        "latency": f"{smallest:.2f} times as slow",
        "disagreement": f"{smallest:.2%} other answers",
        "mean": f"{smallest:.1%} worse",
    }[gate["metric"]]


def chance(it: dict[str, Any]) -> str:
    return (
        f"a false roll back: at most {it['alpha']:.0%} over the whole rollout;"
        f" {it['rolled_back']} of {it['rollouts']} simulated equal candidates were rolled back"
    )


def duration(value: float) -> str:
    """To two units, as people say it: 45 s, 2 min 15 s, 3 h 20 min, 4 d 2 h."""
    rest, said = round(value), []
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1)):
        if rest >= length:
            said.append(f"{rest // length} {unit}")
            rest %= length
    return " ".join(said[:2]) or "0 s"
