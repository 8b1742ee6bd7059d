"""`lockgate plan`: look before you leap."""

from __future__ import annotations

import sys
from collections.abc import Callable
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lockgate.flows.cli.options import as_json, print_json, spec_file
from lockgate.monitoring.units import seconds, share

if TYPE_CHECKING:
    from rich.console import Console

    from lockgate.flows.spec import Spec


class _Unit(click.ParamType[float]):
    """A value as people write it in a spec."""

    def __init__(self, name: str, read: Callable[[object], float], *, scale: float = 1.0, most: float = inf) -> None:
        self.name, self._read, self._scale, self._most = name, read, scale, most

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        try:
            found = self._read(float(value) if _plain(value) else value) * self._scale
        except ValueError as error:
            self.fail(str(error), param, ctx)
        if not 0 <= found <= self._most or (self._scale != 1 and not found):
            self.fail(f"{value} is out of range", param, ctx)
        return found


def _plain(value: str) -> bool:
    return value.replace(".", "", 1).isdigit()


_SHARE = _Unit("share", share, most=0.99)
_MILLISECONDS = _Unit("duration", seconds, scale=1000.0)


@click.command(short_help="Show what a run would do, before anything is touched.")
@spec_file
@click.option(
    "--rps", type=click.FloatRange(min=0, min_open=True), help="Live requests a second; else the router is asked."
)
@click.option("--error-rate", type=_SHARE, help="Stable's share of failed requests, like 0.1%.")
@click.option("--p50", type=_MILLISECONDS, help="Stable's median latency, like 5ms.")
@click.option("--p99", type=_MILLISECONDS, help="The 99th percentile of stable's latency, like 20ms.")
@as_json
def command(  # noqa: PLR0913, PLR0917 - click passes them
    file: Path,
    rps: float | None,
    error_rate: float | None,
    p50: float | None,
    p99: float | None,
    json_: bool,  # noqa: FBT001 - click's flag
) -> None:
    """Show what a run would do, before anything is touched: versions, targets, steps, gates, ports.

    With --rps, or while the router of the spec runs, also what each step can prove with the traffic: requests and time
    until an equal candidate goes on, the smallest regression that the step finds, the chance of a false roll back. Ends
    with exit code 2 when a step cannot decide within its timeout.
    """
    from lockgate.flows.plan import plan
    from lockgate.flows.spec import load

    if p50 is not None and p99 is not None and p99 < p50:
        raise click.UsageError(f"--p99 {p99:g}ms is below --p50 {p50:g}ms; no latencies are like that")
    spec = load(file)
    planned = plan(spec)
    forecast, missing = _forecast(spec, rps, error_rate, (p50, p99))
    planned = hidden({**planned, "forecast": forecast}, spec.hide)
    if json_:
        print_json(planned)
    else:
        _show(planned, missing)
    if forecast and not forecast["decides"]:
        from lockgate.flows.exits import Exit

        sys.exit(Exit.BAD_SPEC)


def _forecast(
    spec: Spec, rps: float | None, error_rate: float | None, latency: tuple[float | None, float | None]
) -> tuple[dict[str, Any] | None, str]:
    """What can be proven; or nothing, and why, as a sentence. Loads numpy only where there is something to foresee."""
    from lockgate.flows import expected

    counted, why = None, "the router does not run"
    if rps is None and expected.listening(spec.rollout.traffic.metrics):
        found = expected.live(spec)
        counted, why = (None, found) if isinstance(found, str) else (found, "")
    if rps is None and counted is None:
        return None, f"What the steps can prove depends on the traffic: give --rps ({why})."
    return expected.forecast(spec, expected.Given(rps, error_rate, *latency), counted), ""


def hidden(value: Any, hide: Callable[[str], str]) -> Any:
    """Every text of a JSON value without what came from the environment."""
    if isinstance(value, dict):
        return {key: hidden(inner, hide) for key, inner in value.items()}
    if isinstance(value, list):
        return [hidden(inner, hide) for inner in value]
    return hide(value) if isinstance(value, str) else value


def _show(it: dict[str, Any], missing: str) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False, markup=False)
    console.print(Text.assemble((it["name"], "bold"), f": {it['does']}\n"))
    table = Table(show_header=False, box=None, padding=(0, 2))
    for side in ("stable", "candidate"):
        table.add_row(side, f"{it['model']} {it[side]['reference']} = version {it[side]['version']}")
    parity = it["parity"]
    wanted = it["objective"]
    table.add_row("compile", f"{', '.join(it['targets'])}   at {', '.join(it['precision'])}")
    batches = ", ".join(map(str, wanted["batch_size"]))
    table.add_row("", f"the least {wanted['minimize']} at batch {batches} of those that keep parity")
    table.add_row("parity", f"rtol {parity['rtol']:g}, atol {parity['atol']:g}, {parity['rows']} rows")
    table.add_row("replicas", f"{it['replicas']} of each side")
    for key, port in it["ports"].items():
        table.add_row(key, f"{port['address']}   {port['state']}")
    console.print(table)
    steps = Table("step", "ends when", "at the latest", box=None, padding=(0, 2), title_justify="left")
    for step in it["steps"]:
        held = f"{step['min_requests']} requests" + (f", {step['min_seconds']:g} s" if step["min_seconds"] else "")
        wish = "every gate passes" if step["until"] == "decided" else "no gate fails"
        steps.add_row(step["step"], f"{held}, {wish}", f"{step['timeout_seconds']:g} s, then {step['on_timeout']}")
    steps.add_row("promote", "@champion moves, stable is drained", "")
    console.print("\n", steps)
    gates = Table("gate", "holds when", box=None, padding=(0, 2))
    for name, words in it["gates"].items():
        gates.add_row(name, words)
    console.print("\n", gates)
    console.print(f"\nprofile {it['profile']}: at most {it['alpha']:.0%} chance of a false roll back")
    if it["forecast"]:
        _show_forecast(console, it["forecast"])
    else:
        console.print(missing)


def _show_forecast(console: Console, it: dict[str, Any]) -> None:
    from lockgate.flows import foreseen

    console.print("", foreseen.traffic(it["traffic"]), "", foreseen.table(it), "", foreseen.chance(it), sep="\n")
    for step in it["steps"]:
        if step["advice"]:
            console.print(f"\n{step['advice']}", style="bold red")
