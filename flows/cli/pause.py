"""`lockgate pause`: a person's word, recorded in the rollout's log."""

from __future__ import annotations

import click

from lockgate.flows.cli.options import comment, which
from lockgate.flows.command import say


@click.command()
@which
@comment
def command(rollout: str, comment: str) -> None:
    """Stay at the present step; a gate that fails still rolls back."""
    click.echo(say(rollout, "pause", comment))
