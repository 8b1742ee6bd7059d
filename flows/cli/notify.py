"""`lockgate notify`: who is told what, and whether it arrives."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from lockgate.flows.cli.options import spec_file

if TYPE_CHECKING:
    from lockgate.flows.notify.receivers import Receiver


@click.command(short_help="Send a test message to everybody whom the spec tells.")
@spec_file
@click.option("--test", is_flag=True, help="Send one message to each, and say what they answered.")
@click.pass_context
def command(context: click.Context, file: Path, test: bool) -> None:  # noqa: FBT001 - click's flag
    """Show whom the spec's `notify` section tells what; with --test, send each of them one message.

    The messages of a rollout are sent by whoever drives it, in their order, up to five times each. Exit code 3 when a
    test message did not arrive.
    """
    from lockgate.flows.errors import MissingPart
    from lockgate.flows.notify.receivers import receivers
    from lockgate.flows.spec import load

    spec = load(file)
    to = receivers(spec)
    if not to:
        click.echo(f"{file} tells nobody; write a `notify` section, or see `lockgate schema --format markdown`")
    lost = [each.name for each in to if not _said(each, spec.name, test=test)]
    if lost:
        click.echo(f"{len(lost)} of {len(to)} test messages did not arrive", err=True)
        context.exit(MissingPart.code)


def _said(to: Receiver, name: str, *, test: bool) -> bool:
    """Whether it arrived, or was not to."""
    from lockgate.flows.notify.message import test_message

    if not test:
        click.echo(f"{to.name}: {', '.join(to.on)}")
        return True
    why = to.send(test_message(name))
    click.echo(f"{to.name}: {why or 'the test message was taken'}")
    return not why
