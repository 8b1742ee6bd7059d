"""`lockgate history`: what happened to a model, and why."""

from __future__ import annotations

from pathlib import Path

import click

from lockgate.flows.cli.options import as_json, print_json, the_store


@click.command(short_help="Show what happened to a model's rollouts, and why.")
@click.argument("name", metavar="NAME|ROLLOUT")
@click.option("--last", type=click.IntRange(min=1), default=10, show_default=True, help="Rollouts to show, at most.")
@click.option("--html", type=click.Path(path_type=Path, dir_okay=False), help="Write it as one page to this file.")
@as_json
def command(name: str, last: int, html: Path | None, json_: bool) -> None:  # noqa: FBT001 - click's flag
    """Show what happened to a model's rollouts, and why.

    Every event with the numbers that moved it: who registered what, what was compiled, each step's verdict, who
    approved or rejected and with which comment, and what was promoted or rolled back. The newest is last.
    """
    from lockgate.flows import history
    from lockgate.flows.approval.words import plain
    from lockgate.flows.cli.options import named

    with the_store() as store:
        rollouts = store.rollouts(name)[:last] or [named(store, name)]
        told = history.tell(store, rollouts[::-1])
    if html is not None:
        from lockgate.flows.history_page import html as page

        html.write_bytes(page(rollouts[0].model, told[::-1]))
        click.echo(f"wrote {html}", err=True)
    if json_:
        print_json(plain(told))
    elif html is None:
        _show(told)


def _show(told: list[dict[str, object]]) -> None:
    from rich.console import Console

    from lockgate.flows import history_view

    console = Console(highlight=False, markup=False)
    for one in told:
        console.print(history_view.rollout(one), "")
    if len(told) > 1:
        console.print(history_view.table(told))
