"""`lockgate serve`: the pipeline as a service."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(short_help="Run the pipeline as scheduled Prefect deployments.")
@click.argument("files", nargs=-1, type=click.Path(path_type=Path, dir_okay=False))
@click.option("--every", default="60s", show_default=True, help="Time between two sweeps.")
@click.option("--port", default=4200, show_default=True, help="Of the Prefect server that is started.")
def command(files: tuple[Path, ...], every: str, port: int) -> None:
    """Run the pipeline as scheduled Prefect deployments: release, drive and sweep.

    The sweep looks for challengers that nobody has rolled out, and for rollouts that nobody drives. With
    PREFECT_API_URL set, the deployments are registered there; otherwise a Prefect server is started on 127.0.0.1 and
    stopped with this command (SQLite; PREFECT_API_DATABASE_CONNECTION_URL names a PostgreSQL instead).
    """
    from lockgate.flows.prefect_server import prefect_server
    from lockgate.flows.spec import load
    from lockgate.monitoring.units import seconds

    specs = list(files or (Path("lockgate.yaml"),))
    for file in specs:
        load(file)
    try:
        interval = seconds(every)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--every") from None
    with prefect_server(port, click.echo):
        from prefect import serve

        from lockgate.flows.pipeline import deployments

        serve(*deployments(specs, interval), limit=50, query_seconds=2, print_starting_message=True)
