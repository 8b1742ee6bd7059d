"""`lockgate supervise`: what died is started again."""

from __future__ import annotations

import click


@click.command(short_help="Start again what died of pipelines that are up.")
def command() -> None:
    """Start again what died of pipelines that are up: Envoy, stable's replicas, the feedback server.

    Looks once a second at every pipeline that `lockgate up` or `lockgate run` brought up, until it is ended; what
    `lockgate down` stopped stays down. `lockgate serve` does the same beside its own work, so this is for people
    without it. It drives no rollout: `lockgate sweep` resumes those that nobody drives.
    """
    import signal
    import threading

    from lockgate.flows import wanted
    from lockgate.flows.home import home
    from lockgate.flows.supervise import Supervisor

    stop = threading.Event()
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, lambda *_: stop.set())
    where = home()
    up = [name for name in wanted.names(where) if not wanted.stopped(where, name)]
    click.echo(f"watching {', '.join(up) or 'for what `lockgate up` brings up'}")
    Supervisor(where).run(stop)
