"""`lockgate serve`: the pipeline as a service."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click


@click.command(short_help="Run the pipeline as scheduled Prefect deployments.")
@click.argument("files", nargs=-1, type=click.Path(path_type=Path, dir_okay=False))
@click.option("--every", default="60s", show_default=True, help="Time between two sweeps.")
@click.option("--port", default=4200, show_default=True, help="Of the Prefect server that is started.")
@click.option(
    "--webhooks", metavar="HOST:PORT", help="Take MLflow's webhooks there, like 127.0.0.1:8787; off by default."
)
@click.option("--metrics", metavar="HOST:PORT", help="Serve `lockgate metrics` there, like 127.0.0.1:9464.")
def command(files: tuple[Path, ...], every: str, port: int, webhooks: str | None, metrics: str | None) -> None:
    """Run the pipeline as scheduled Prefect deployments: release, drive and sweep.

    The sweep looks for challengers that nobody has rolled out, and for rollouts that nobody drives. With
    PREFECT_API_URL set, the deployments are registered there; otherwise a Prefect server is started on 127.0.0.1 and
    stopped with this command (SQLite; PREFECT_API_DATABASE_CONNECTION_URL names a PostgreSQL instead).

    What dies of a pipeline that is up (Envoy, stable's replicas, the feedback server) is started again within seconds,
    and so is the Prefect server that this command started; `lockgate supervise` does the former without Prefect.

    Everything is found by looking: a challenger and an approval within seconds, the rest at the next sweep. With
    --webhooks, MLflow tells at once: an alias that moved starts a sweep, an approval wakes the driver. They only make
    it sooner, and what is lost or forged of them changes nothing. Each is signed with LOCKGATE_WEBHOOK_SECRET;
    `lockgate webhooks add` registers this address in MLflow. Name an address that others reach (0.0.0.0:8787) only
    where MLflow is elsewhere.
    """
    from lockgate.flows.home import home
    from lockgate.flows.noticing import noticing
    from lockgate.flows.prefect_server import prefect_server
    from lockgate.flows.runner import serve_deployments
    from lockgate.flows.spec import load
    from lockgate.flows.supervise import supervising
    from lockgate.monitoring.units import seconds

    specs = list(files or (Path("lockgate.yaml"),))
    apart(specs, [load(file).name for file in specs])
    try:
        interval = seconds(every)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--every") from None
    with (
        supervising(home()),
        hooked(specs, webhooks),
        measured(metrics),
        prefect_server(port, click.echo) as url,
        noticing([str(file.absolute()) for file in specs], _notice),
    ):
        serve_deployments(specs, interval, url)


def apart(files: Sequence[Path], names: Sequence[str]) -> None:
    """Raise `UsageError` where two specs have one name: they would take turns at the same traffic."""
    first: dict[str, Path] = {}
    for file, name in zip(files, names, strict=True):
        if name in first:
            raise click.UsageError(
                f"{first[name]} and {file} are both named {name!r}, and one name is one pipeline: give each its own"
                " `name:`"
            )
        first[name] = file


@contextmanager
def hooked(specs: Sequence[Path], webhooks: str | None) -> Iterator[None]:
    """Webhooks are taken while the `with` lasts, where an address is given."""
    if webhooks is None:
        yield
        return
    from lockgate.flows.home import home
    from lockgate.flows.hook_server import HookServer, parsed
    from lockgate.flows.hooks import Waker, secret, takes
    from lockgate.registry.deliveries import Deliveries, Seen

    try:
        at = parsed(webhooks)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--webhooks") from None
    root = home()
    deliveries = Deliveries(secret(), Seen(root.root / "webhooks.db"))
    with Waker(specs, root, _sweep) as waker, HookServer(at, takes(deliveries, waker)) as server:
        click.echo(f"taking webhooks on {server.address[0]}:{server.address[1]}")
        yield


@contextmanager
def measured(metrics: str | None) -> Iterator[None]:
    """The rollouts' state is served as metrics while the `with` lasts, where an address is given."""
    if metrics is None:
        yield
        return
    from lockgate.flows.hook_server import parsed
    from lockgate.flows.metrics.serving import exporting

    try:
        parsed(metrics)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--metrics") from None
    with exporting(metrics) as url:
        click.echo(f"metrics of rollouts on {url}")
        yield


def _notice(specs: list[str], tried: dict[str, str]) -> int:
    from lockgate.flows.pipeline import notice

    return notice(specs, tried)


def _sweep(specs: list[str]) -> None:
    from lockgate.flows.pipeline import sweep_now

    sweep_now(specs)
