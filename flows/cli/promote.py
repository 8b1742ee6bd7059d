"""`lockgate promote`: a person's word, recorded in the rollout's log."""

from __future__ import annotations

import click

from lockgate.flows.cli.options import comment, which
from lockgate.flows.command import say


@click.command()
@which
@comment
@click.option("--variant", default="", metavar="NAME", help="Which challenger, where several are tested.")
def command(rollout: str, comment: str, variant: str) -> None:
    """End the steps by hand: the candidate gets all traffic and becomes the champion."""
    click.echo(say(rollout, "promote", comment, variant))
