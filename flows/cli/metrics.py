"""`lockgate metrics`: the rollouts' state for Prometheus."""

from __future__ import annotations

import click


@click.command(short_help="Serve the rollouts' state as Prometheus metrics.")
@click.option(
    "--listen", default="127.0.0.1:9464", show_default=True, metavar="HOST:PORT", help="Where /metrics is served."
)
def command(listen: str) -> None:
    """Serve the rollouts' state as Prometheus metrics, until stopped.

    Everything is read from the store when Prometheus asks: of each pipeline the open rollout, or the last one. Requests
    and latencies are not among it: the router and the replicas serve those themselves. `lockgate observe` starts all of
    it together; docs/monitoring.md lists every series.

    There is no password: name an address that others reach (0.0.0.0:9464) only where they may see it all.
    """
    from lockgate.flows.metrics.serving import exporting
    from lockgate.flows.observing.stopping import stopping

    try:
        with exporting(listen) as url, stopping() as stop:
            click.echo(f"metrics on {url}")
            stop.wait()
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--listen") from None
