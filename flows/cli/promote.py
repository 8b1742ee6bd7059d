"""`lockgate promote`: a person's word, recorded in the rollout's log."""

from __future__ import annotations

import click

from lockgate.flows.cli.options import comment, which
from lockgate.flows.command import say


@click.command()
@which
@comment
@click.option("--variant", default="", metavar="NAME", help="Which challenger, where several are tested.")
@click.option("--break-glass", is_flag=True, help="Without the approvals that the spec asks for; needs a --comment.")
def command(rollout: str, comment: str, variant: str, *, break_glass: bool) -> None:
    """End the steps by hand: the candidate gets all traffic and becomes the champion.

    An approval that is not given yet stands in the way of it, unless the glass is broken: the comment that says why
    stays in the history.
    """
    if break_glass and not comment.strip():
        raise click.UsageError("--break-glass goes past the people who were to approve: say why, with --comment")
    click.echo(say(rollout, "promote", comment, variant, break_glass=break_glass))
