"""`lockgate down`: nothing of a spec runs any more."""

from __future__ import annotations

from pathlib import Path

import click

from lockgate.flows.cli.options import spec_file


@click.command(short_help="Stop the router and the replicas of a spec.")
@spec_file
def command(file: Path) -> None:
    """Stop the router and the replicas of a spec, and the server that keeps feedback, which stays on disk.

    It stays down, whoever restarts what dies, until `lockgate up` or `lockgate run`. An open rollout stays open:
    `lockgate run` resumes it.
    """
    from lockgate.flows import feedback, wanted
    from lockgate.flows.lease import undriven_only
    from lockgate.flows.spec import load
    from lockgate.flows.world import world
    from lockgate.services.external import is_external

    with world(load(file)) as it:
        undriven_only(it)
        before = wanted.down(it.home, it.spec.name)
        try:
            undriven_only(it)  # whoever took it up in this moment may not have seen that it is stopped
        except Exception:
            wanted.undo(it.home, it.spec.name, before)
            raise
        it.router.stop()
        feedback.stop(it.home, it.spec.name)
        replicas = it.platform.replicas()
        it.platform.stop(replicas)
        with wanted.changing(it.home, it.spec.name):  # after whoever was restarting something has ended
            it.router.stop()
            feedback.stop(it.home, it.spec.name)
            it.platform.stop(it.platform.replicas())
        ours = [one for one in replicas if not is_external(one.bento)]
        theirs = [one for one in replicas if is_external(one.bento) and one.ready]
        click.echo(f"stopped the router and {len(ours)} replica{'s' * (len(ours) != 1)} of {it.spec.name}")
        if theirs:
            click.echo(f"{len(theirs)} that somebody else serves run on")
