"""`lockgate up`: stable behind the router, before any rollout."""

from __future__ import annotations

import time
from pathlib import Path

import click

from lockgate.flows.cli.observe import command as observe
from lockgate.flows.cli.options import spec_file


@click.command(short_help="Serve the stable version behind the router, without a rollout.")
@spec_file
@click.option("--observe", "watched", is_flag=True, help="Then `lockgate observe`, with its defaults, until stopped.")
@click.option("--restart-router", is_flag=True, help="End the router and start it again, as after an upgrade of Envoy.")
def command(file: Path, watched: bool, restart_router: bool) -> None:  # noqa: FBT001 - click's flags
    """Serve the stable version behind the router, without a rollout.

    With both up already, nothing changes, whatever became of the spec's `service` section: `lockgate run` rolls that
    out. They run on when this command ends, and `lockgate serve` starts again what of them dies; `lockgate down` stops
    them. With --restart-router, requests under way are finished, and new ones find nobody for some 0.4 seconds.

    With --observe it goes on as `lockgate observe` does: with Prometheus and Grafana, where they are installed. Those
    end with it, and the router and the replicas run on.
    """
    from lockgate.flows.bring_up import bring_up
    from lockgate.flows.spec import load
    from lockgate.flows.watch import Terminal
    from lockgate.flows.world import world
    from lockgate.services.words import EXTERNAL

    began = time.time()
    with world(load(file)) as it, Terminal() as terminal:
        version, bento = bring_up(it, terminal.say, began, restart_router=restart_router)
        traffic = it.spec.rollout.traffic
        path = "" if bento.target == EXTERNAL else "/predict"  # its server's paths are its own
        terminal.say(f"{version} answers on {traffic.url}{path}; metrics on http://{traffic.metrics}/metrics")
        if not watched:
            terminal.say(f"watch it with `lockgate observe {file}`")
        if it.router.feedback:
            terminal.say(f"feedback is taken on {traffic.url}/feedback")
    if watched:
        click.get_current_context().invoke(observe, files=(file,))
