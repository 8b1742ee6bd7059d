"""Forecasts for the terminal."""

from __future__ import annotations

from typing import Any

from rich.table import Table

_ASSUMED = {"error_rate": "the error rate", "p50": "p50", "p99": "p99", "differing": ""}


def traffic(it: dict[str, Any]) -> str:
    """One line: what the forecast is made of."""
    said = (
        f"at {it['rps']:.4g} requests/s, {it['error_rate']:.3g} of them failed, p50 {it['p50_ms']:.3g} ms,"
        f" p99 {it['p99_ms']:.3g} ms"
    )
    assumed = [words for name in it["assumed"] if (words := _ASSUMED[name])]
    return f"{said} ({', '.join(assumed)} assumed)" if assumed else said


def table(it: dict[str, Any]) -> Table:
    """Per step and gate. Requests are the candidate's."""
    shown = Table(box=None, padding=(0, 2))
    for head in ("step", "an equal candidate passes after", "90 % of them after", "in time", "fails, 4 times in 5"):
        shown.add_column(head)
    for step in it["steps"]:
        median, most = ([step[of][q] for of in ("requests", "seconds")] for q in ("median", "most"))
        shown.add_row(step["step"], _both(*median), _both(*most), f"{step['passing']:.0%}", "", style="bold")
        for gate in step["gates"]:
            if gate["unforeseen"]:
                shown.add_row(f"  {gate['gate']}", gate["unforeseen"])
                continue
            requests = gate["requests"]
            shown.add_row(
                f"  {gate['gate']}",
                _requests(requests["median"]),
                _requests(requests["most"]),
                f"{gate['passing']:.0%}",
                regression(gate),
            )
    return shown


def regression(gate: dict[str, Any]) -> str:
    """The smallest one that is found."""
    smallest = gate["smallest"]
    if smallest is None:
        return "nothing"
    return {
        "error_rate": f"errors of {smallest:.2%}",
        "latency": f"latencies x {smallest:.2f}",
        "disagreement": f"{smallest:.2%} other answers",
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


def _both(requests: float | None, seconds: float | None) -> str:
    return f"{_requests(requests)}, {duration(seconds)}" if seconds is not None else _requests(requests)


def _requests(value: float | None) -> str:
    return "never" if value is None else f"{value:,.0f} requests"
