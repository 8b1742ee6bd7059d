"""`lockgate up`: stable behind the router, before any rollout."""

from __future__ import annotations

from pathlib import Path

import click

from lockgate.flows.cli.options import spec_file


@click.command(short_help="Serve the stable version behind the router, without a rollout.")
@spec_file
def command(file: Path) -> None:
    """Serve the stable version behind the router, without a rollout.

    With both up already, nothing changes, whatever became of the spec's `service` section: `lockgate run` rolls that
    out. They run on when this command ends; `lockgate down` stops them.
    """
    from lockgate.flows.capture import configure
    from lockgate.flows.plan import resolved
    from lockgate.flows.release import serve_stable
    from lockgate.flows.spec import load
    from lockgate.flows.stable import stable_bento
    from lockgate.flows.watch import Terminal
    from lockgate.flows.world import world

    with world(load(file)) as it, Terminal() as terminal:
        if it.store.open_of(it.spec.name) is None:  # else what is captured stays as its rollout was opened with
            configure(it.home, it.spec)
        (version,) = resolved(it.spec, [it.spec.model.stable])
        serve_stable(it, stable_bento(it, version, terminal.say), terminal.say)
        traffic = it.spec.rollout.traffic
        terminal.say(
            f"{version} answers on http://{traffic.listen}/predict; metrics on http://{traffic.metrics}/metrics"
        )
        terminal.say(f"watch it with `lockgate observe {file}`")
        if it.router.feedback:
            terminal.say(f"feedback is taken on http://{traffic.listen}/feedback")
