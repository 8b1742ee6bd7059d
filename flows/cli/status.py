"""`lockgate status`: rollouts at this moment."""

from __future__ import annotations

import time

import click

from lockgate.flows.cli.options import as_json, named, print_json, the_store


@click.command(short_help="Show rollouts: steps, weights, gates with their numbers.")
@click.argument("name", required=False, metavar="[ROLLOUT|NAME]")
@click.option("--watch", is_flag=True, help="Go on showing it, live, until it is over.")
@as_json
def command(name: str | None, watch: bool, json_: bool) -> None:  # noqa: FBT001 - click's flags
    """Show rollouts: steps, weights, gates with their numbers.

    Without a name, the open ones; and where there are none, the last one.
    """
    from rich.console import Console, Group
    from rich.live import Live

    from lockgate.flows import report, view

    with the_store() as store:

        def look() -> list[dict[str, object]]:
            if name is not None:
                return [report.status(store, named(store, name))]
            every = store.rollouts()
            shown = [r for r in every if r.closed_at is None] or every[:1]
            return [report.status(store, r) for r in shown]

        now = look()
        if json_:
            print_json(now)
        elif not now:
            click.echo("no rollouts yet: `lockgate run` opens one")
        elif not watch:
            Console(highlight=False, markup=False).print(*(view.rollout(s) for s in now), sep="\n\n")
        else:
            with Live(auto_refresh=False) as live:
                while now:
                    live.update(Group(*(view.rollout(s) for s in now)), refresh=True)
                    if all(s["closed_at"] for s in now):
                        return
                    time.sleep(1)
                    now = look()
