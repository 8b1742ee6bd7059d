"""`lockgate approve`: a person's word on what the approval step asks."""

from __future__ import annotations

import click

from lockgate.flows.cli.options import comment, which


@click.command(short_help="Let a rollout that asks for approval go on.")
@which
@comment
def command(rollout: str, comment: str) -> None:
    """Approve what a rollout asks in its approval step; with all approvals it needs, it goes on.

    With `lockgate-auth` on the MLflow server this is said there, as MLFLOW_TRACKING_USERNAME, and its rules hold.
    Elsewhere the name of this system's user is kept, and marked as not verified.
    """
    from lockgate.flows.approval.said import decide

    click.echo(decide(rollout, approve=True, comment=comment))
