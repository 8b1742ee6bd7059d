"""`lockgate doctor`: what is missing here, and what to do."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from lockgate.flows.cli.options import as_json, print_json

_SIGN = {"ok": ("✔", "green"), "optional": ("·", "yellow"), "missing": ("✖", "red")}


@click.command(short_help="Say what is missing on this machine, and what to do.")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False), default="lockgate.yaml")
@as_json
def command(file: Path, json_: bool) -> None:  # noqa: FBT001 - click's flag
    """Say what is missing on this machine, and what to do. With a spec, its ports and its registry too.

    Ends with 3 when something is missing that a run cannot do without.
    """
    from lockgate.flows.doctor import checks

    found = checks(file if file.exists() else None)
    if json_:
        print_json([check.__dict__ for check in found])
    else:
        for check in found:
            sign, colour = _SIGN[check.state]
            click.secho(f"{sign} {check.part:<18}", fg=colour, nl=False)
            click.echo(check.says)
    sys.exit(3 if any(check.state == "missing" for check in found) else 0)
