"""`lockgate plan`: look before you leap."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from lockgate.flows.cli.options import as_json, print_json, spec_file


@click.command(short_help="Show what a run would do, before anything is touched.")
@spec_file
@as_json
def command(file: Path, json_: bool) -> None:  # noqa: FBT001 - click's flag
    """Show what a run would do, before anything is touched: versions, targets, steps, gates, ports."""
    from lockgate.flows.plan import plan
    from lockgate.flows.spec import load

    spec = load(file)
    planned = hidden(plan(spec), spec.hide)
    if json_:
        print_json(planned)
    else:
        _show(planned)


def hidden(value: Any, hide: Callable[[str], str]) -> Any:
    """Every text of a JSON value without what came from the environment."""
    if isinstance(value, dict):
        return {key: hidden(inner, hide) for key, inner in value.items()}
    if isinstance(value, list):
        return [hidden(inner, hide) for inner in value]
    return hide(value) if isinstance(value, str) else value


def _show(it: dict[str, Any]) -> None:
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
