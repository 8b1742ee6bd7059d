"""`lockgate webhooks`: MLflow tells us at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from lockgate.registry.webhooks import Webhook

_NAME = click.option(
    "--name", default="lockgate", show_default=True, help="Of the webhook; each pipeline at one MLflow has its own."
)


@click.group(short_help="Let MLflow's webhooks wake the pipeline.")
def command() -> None:
    """Let MLflow tell `lockgate serve --webhooks HOST:PORT` of moved aliases and of approvals at once.

    Without webhooks everything is found by looking, some seconds or a sweep later. Only an MLflow server has webhooks,
    and only its administrators change them. Where it runs, set MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY before the first
    one, or none fires after its next start. Both sides know LOCKGATE_WEBHOOK_SECRET, which MLflow signs with.
    """


@command.command(short_help="Register an address in MLflow, or set it right.")
@click.argument("url")
@_NAME
def add(url: str, name: str) -> None:
    """Register URL, where `lockgate serve --webhooks` is reached from the MLflow server, like https://host/hooks.

    For an address in a private network the MLflow server needs MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS=true, and for http://
    MLFLOW_WEBHOOK_ALLOWED_SCHEMES=http,https. A new one fires after a minute: MLflow reads its list so often.
    """
    from lockgate.flows.hooks import secret
    from lockgate.registry.location import locate
    from lockgate.registry.webhooks import ensure_webhooks

    made = ensure_webhooks(locate(), url, secret(), name)
    click.echo(f"{_line(made)}\nit fires within a minute; `lockgate webhooks test` tries it")


@command.command(name="list", short_help="Show the webhooks that MLflow has.")
def list_() -> None:
    """Show the webhooks that MLflow has, those of others too."""
    from lockgate.registry.location import locate
    from lockgate.registry.webhooks import webhooks

    found = webhooks(locate())
    for one in found:
        click.echo(_line(one))
    if not found:
        click.echo(f"MLflow at {locate()} has no webhooks; `lockgate webhooks add URL` registers one")


@command.command(short_help="Take the webhook out of MLflow.")
@_NAME
def remove(name: str) -> None:
    """Take the webhook out of MLflow. It may fire for another minute."""
    from lockgate.registry.location import locate
    from lockgate.registry.webhooks import remove_webhooks

    count = remove_webhooks(locate(), name)
    click.echo(f"removed {name}" if count else f"MLflow at {locate()} has no webhook {name}")


@command.command(short_help="Let MLflow send its example.")
@_NAME
def test(name: str) -> None:
    """Let MLflow send its example to the webhook, and say what came of it."""
    from lockgate.registry.location import locate
    from lockgate.registry.webhooks import try_webhooks

    click.echo(f"{_line(try_webhooks(locate(), name))}\nthe example was taken")


def _line(one: Webhook) -> str:
    from lockgate.registry.location import without_password

    off = "" if one.active else " (off)"
    return f"{one.name}{off}: {without_password(one.url)} on {', '.join(one.events)}"
