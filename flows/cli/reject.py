"""`lockgate reject`: a person's word on what the approval step asks."""

from __future__ import annotations

import click

from lockgate.flows.cli.options import comment, which


@click.command(short_help="Roll back a rollout that asks for approval.")
@which
@comment
def command(rollout: str, comment: str) -> None:
    """Reject what a rollout asks in its approval step: it is rolled back.

    With `lockgate-auth` on the MLflow server this is said there, as MLFLOW_TRACKING_USERNAME, and its rules hold.
    Elsewhere the name of this system's user is kept, and marked as not verified.
    """
    from lockgate.flows.approval.said import decide

    click.echo(decide(rollout, approve=False, comment=comment))
