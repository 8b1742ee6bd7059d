"""`lockgate plan`: look before you leap."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lockgate.flows.cli.options import as_json, print_json, spec_file
from lockgate.monitoring.units import seconds, share

if TYPE_CHECKING:
    from rich.console import Console

    from lockgate.flows.expected_users import GivenUsers
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


class _Of(click.ParamType[tuple[str, float]]):
    """A value of one metric, like `conversion=5%`."""

    def __init__(self, name: str, read: Callable[[object], float]) -> None:
        self.name, self._read = name, read

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, float]:
        if isinstance(value, tuple):
            return value
        metric, is_, number = value.partition("=")
        if not (metric and is_):
            self.fail(f"{value!r} names no metric; write it like {self.name}", param, ctx)
        try:
            return metric, self._read(float(number) if _plain(number) else number)
        except ValueError as error:
            self.fail(f"{metric}: {error}", param, ctx)


def _number(value: object) -> float:
    if not isinstance(value, float):
        raise ValueError(f"{value!r} is not a number; write one like 2.5")
    return value


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
@click.option(
    "--users-per-day",
    type=click.FloatRange(min=0, min_open=True),
    help="Users who come into an ab step for the first time, each day, of both sides.",
)
@click.option(
    "--rate", "rates", type=_Of("METRIC=5%", share), multiple=True, help="Stable's share of users who do it; binary."
)
@click.option(
    "--cv",
    "cvs",
    type=_Of("METRIC=2.5", _number),
    multiple=True,
    help="Deviation of a user's value over the mean; continuous.",
)
@as_json
def command(  # noqa: PLR0913, PLR0917 - click passes them
    file: Path,
    rps: float | None,
    error_rate: float | None,
    p50: float | None,
    p99: float | None,
    users_per_day: float | None,
    rates: tuple[tuple[str, float], ...],
    cvs: tuple[tuple[str, float], ...],
    json_: bool,  # noqa: FBT001 - click's flag
) -> None:
    """Show what a run would do, before anything is touched: versions, targets, steps, gates, ports.

    With --rps, or while the router of the spec runs, also what each step can prove with the traffic: requests and time
    until an equal candidate goes on, the smallest regression that the step finds, the chance of a false roll back. With
    --users-per-day and --rate or --cv also what the test of an ab step can prove. Ends with exit code 2 when a step
    cannot decide within its timeout.
    """
    from lockgate.flows.expected_users import GivenUsers
    from lockgate.flows.plan import plan
    from lockgate.flows.spec import load

    if p50 is not None and p99 is not None and p99 < p50:
        raise click.UsageError(f"--p99 {p99:g}ms is below --p50 {p50:g}ms; no latencies are like that")
    spec = load(file)
    users = _users(spec, GivenUsers(users_per_day, _once("--rate", rates), _once("--cv", cvs)))
    planned = plan(spec)
    forecast, missing = _forecast(spec, rps, (error_rate, p50, p99), users)
    planned = hidden({**planned, "forecast": forecast}, spec.hide)
    if json_:
        print_json(planned)
    else:
        _show(planned, missing)
    if forecast and not forecast["decides"]:
        from lockgate.flows.exits import Exit

        sys.exit(Exit.BAD_SPEC)


def _once(option: str, values: tuple[tuple[str, float], ...]) -> dict[str, float]:
    names = [name for name, _ in values]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise click.UsageError(f"{option} {twice}: is given twice; give it once")
    return dict(values)


def _users(spec: Spec, given: GivenUsers) -> GivenUsers:
    from lockgate.flows.expected_users import checked

    try:
        return checked(spec, given)
    except ValueError as error:
        raise click.UsageError(str(error)) from None


def _forecast(
    spec: Spec, rps: float | None, stable: tuple[float | None, float | None, float | None], users: GivenUsers
) -> tuple[dict[str, Any] | None, str]:
    """What can be proven; or nothing, and why, as a sentence. Loads numpy only where there is something to foresee."""
    from lockgate.flows import expected

    counted, why = None, "the router does not run"
    if rps is None and expected.listening(spec.rollout.traffic.metrics):
        found = expected.live(spec)
        counted, why = (None, found) if isinstance(found, str) else (found, "")
    if rps is None and counted is None:
        return None, f"What the steps can prove depends on the traffic: give --rps ({why})."
    return expected.forecast(spec, expected.Given(rps, *stable, users), counted), ""


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
    for name, of in it["others"].items():
        table.add_row(name, f"{it['model']} {of['reference']} = version {of['version']}")
    for row in _elsewhere(it) if it["external"] else _compiled(it):
        table.add_row(*row)
    if it["serves"]:
        table.add_row("now", it["serves"]["words"])
    for key, port in it["ports"].items():
        table.add_row(key, f"{port['address']}   {port['state']}")
    console.print(table)
    steps = Table("step", "ends when", "at the latest", box=None, padding=(0, 2), title_justify="left")
    for step in it["steps"]:
        steps.add_row(step["step"], *(_approved(step["approval"]) if step["approval"] else _ends(step)))
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


def _compiled(it: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """What becomes of each version."""
    parity, wanted = it["parity"], it["objective"]
    yield "compile", f"{', '.join(it['targets'])}   at {', '.join(it['precision'])}"
    batches = ", ".join(map(str, wanted["batch_size"]))
    yield "", f"the least {wanted['minimize']} at batch {batches} of those that keep parity"
    yield "parity", f"rtol {parity['rtol']:g}, atol {parity['atol']:g}, {parity['rows']} rows"
    yield "replicas", f"{it['replicas']} of each side"


def _elsewhere(it: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The same, where somebody else serves them."""
    yield "served", "elsewhere: nothing is compiled, and nothing proven"
    for side, places in it["external"].items():
        if side == "stable" and it["serves"]:
            continue
        yield "", f"{side} at {', '.join(places)}"
    yield "replicas", f"at least {it['replicas']} of each side must answer"


def _ends(step: dict[str, Any]) -> tuple[str, str]:
    """When a step ends, and at the latest."""
    held = f"{step['min_requests']} requests" + (f", {step['min_seconds']:g} s" if step["min_seconds"] else "")
    wish = "every gate passes" if step["until"] == "decided" else "no gate fails"
    wish = f"it is proven that {step['test']}, and {wish}" if step["test"] else wish
    return f"{held}, {wish}", f"{step['timeout_seconds']:g} s, then {step['on_timeout']}"


def _approved(approval: dict[str, Any]) -> tuple[str, str]:
    """The same of an approval."""
    from lockgate.flows.foreseen import duration

    people = "a person" if approval["required"] == 1 else f"{approval['required']} people"
    then = {"rollback": "rollback", "renew": "it is asked anew"}[approval["on_expiry"]]
    return f"waits for {people}", f"at most {duration(approval['expires_seconds'])}, then {then}"


def _show_forecast(console: Console, it: dict[str, Any]) -> None:
    from lockgate.flows import foreseen, foreseen_tests

    console.print("", foreseen.traffic(it["traffic"]), "", foreseen.table(it), sep="\n")
    for step in it["steps"]:
        if step["test"] and not step["test"]["unforeseen"]:
            console.print("", *foreseen_tests.shown(step, it["traffic"]), sep="\n")
    console.print("", foreseen.chance(it), sep="\n")
    for step in it["steps"]:
        if step["advice"]:
            console.print(f"\n{step['advice']}", style="bold red")
