"""`lockgate resume`: a person's word, recorded in the rollout's log."""

from __future__ import annotations

import click

from lockgate.flows.cli.options import comment, which
from lockgate.flows.command import say


@click.command()
@which
@comment
def command(rollout: str, comment: str) -> None:
    """Go on after a pause; the time of the pause does not count."""
    click.echo(say(rollout, "resume", comment))
