"""`lockgate history`: what happened, and why."""

from __future__ import annotations

import click

from lockgate.flows.cli.options import as_json, print_json, the_store


@click.command(short_help="Show what happened to a model's rollouts, and why.")
@click.argument("name", metavar="NAME|ROLLOUT")
@click.option("--last", type=click.IntRange(min=1), default=10, show_default=True, help="Rollouts to show, at most.")
@as_json
def command(name: str, last: int, json_: bool) -> None:  # noqa: FBT001 - click's flag
    """Show what happened to a model's rollouts, and why: every event with the numbers that moved it."""
    from rich.console import Console

    from lockgate.flows import report, view
    from lockgate.flows.cli.options import named

    with the_store() as store:
        rollouts = store.rollouts(name)[:last] or [named(store, name)]
        told = [report.history(store, r) for r in reversed(rollouts)]
    if json_:
        print_json(told)
        return
    console = Console(highlight=False, markup=False)
    for one in told:
        console.print(view.rollout({**one, "gates": []}))
        console.print(view.events(one["events"]), "")
