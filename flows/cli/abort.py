"""`lockgate abort`: a person's word, recorded in the rollout's log."""

from __future__ import annotations

import click

from lockgate.flows.cli.options import comment, which
from lockgate.flows.command import say


@click.command()
@which
@comment
def command(rollout: str, comment: str) -> None:
    """End the rollout by hand: all traffic goes back to stable."""
    click.echo(say(rollout, "abort", comment))
