"""`lockgate sweep`: take up what nobody drives."""

from __future__ import annotations

import click


@click.command(short_help="Resume rollouts that nobody drives, once.")
def command() -> None:
    """Resume rollouts that nobody drives, one after the other, to their end. For cron, or after a crash.

    Those of a pipeline that `lockgate down` stopped wait for `lockgate run`.
    """
    from lockgate.flows.cli.options import the_store
    from lockgate.flows.home import home
    from lockgate.flows.notify.notifier import Notifier
    from lockgate.flows.resume import resume
    from lockgate.flows.spec import Spec
    from lockgate.flows.sweep import undriven
    from lockgate.flows.watch import Terminal

    with the_store() as store, Terminal() as terminal:
        waiting = undriven(store, home())
        if not waiting:
            click.echo("every open rollout is driven, or was stopped with `lockgate down`")
        for rollout in waiting:
            with Notifier(store, Spec.of(dict(rollout.document))) as notifier:
                state = resume(rollout, terminal.say, notifier.beside(terminal.follow(store, rollout)))
            terminal.say(f"{rollout.id}: {state.phase.replace('_', ' ')}, {state.reason}")
