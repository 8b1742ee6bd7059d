"""`lockgate observe`: Prometheus with everything that Lockgate shows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from lockgate.flows.observing.targets import Server


@click.command(short_help="Watch: start Prometheus with everything that Lockgate shows.")
@click.argument("files", nargs=-1, type=click.Path(path_type=Path, dir_okay=False))
@click.option("--listen", default="127.0.0.1:9090", show_default=True, metavar="HOST:PORT", help="Of Prometheus.")
@click.option("--metrics", default="127.0.0.1:9464", show_default=True, metavar="HOST:PORT", help="Of our exporter.")
@click.option("--scrape", default="5s", show_default=True, help="Time between two scrapes.")
@click.option("--keep", default="30d", show_default=True, help="How long Prometheus keeps what it has.")
@click.option("--slo", default="99.9%", show_default=True, help="Share of clients' requests without error.")
@click.option("--alertmanager", multiple=True, metavar="HOST:PORT", help="Told of alerts; may be given several times.")
@click.option("--grafana", default="127.0.0.1:3000", show_default=True, metavar="HOST:PORT", help="Of Grafana.")
@click.option("--no-grafana", "undrawn", is_flag=True, help="Start no Grafana, also where it is installed.")
@click.option(
    "--model-server",
    "servers",
    multiple=True,
    metavar="NAME=HOST:PORT",
    help="A server of a language model (vLLM, SGLang, TGI) behind the pipeline NAME, whose tokens are read.",
)
@click.option("--no-prometheus", "without", is_flag=True, help="Start none: another one reads the same folder.")
def command(  # noqa: PLR0913, PLR0917 - click's options
    files: tuple[Path, ...],
    listen: str,
    metrics: str,
    scrape: str,
    keep: str,
    slo: str,
    alertmanager: tuple[str, ...],
    grafana: str,
    undrawn: bool,  # noqa: FBT001 - click's flag
    servers: tuple[str, ...],
    without: bool,  # noqa: FBT001 - click's flag
) -> None:
    """Watch: start Prometheus, and Grafana, with everything that Lockgate shows, until stopped.

    It scrapes the state of rollouts (what `lockgate metrics` serves, started with this command), the routers and the
    replicas, finds those that come and go, and has the recording and alert rules. Pipelines are those of FILES and
    every one that had a rollout; one that has only been served with `lockgate up` needs its FILE.

    Grafana is started where it is installed, with the dashboards: anybody who reaches its address may look, and nobody
    may change anything.

    Configuration, rules and lists of targets are in $LOCKGATE_HOME/observe. Where Prometheus is not installed, that
    folder is written and kept current all the same, for one of your own: examples/observability has one in Docker.
    """
    from lockgate.flows.observing.observe import Options, observe
    from lockgate.flows.spec import load
    from lockgate.monitoring.units import percent, seconds

    every, kept = _read("--scrape", seconds, scrape), _read("--keep", seconds, keep)
    objective = _read("--slo", percent, slo)
    here = Path("lockgate.yaml")
    specs = [load(file) for file in files or ([here] if here.is_file() else [])]
    try:
        named = [_server(one) for one in servers]
        drawn = "" if undrawn or without else grafana
        observe(
            specs, Options(listen, metrics, every, kept, objective, alertmanager, without, named, drawn), click.echo
        )
    except ValueError as error:
        raise click.UsageError(str(error)) from None


def _server(text: str) -> Server:
    from lockgate.flows.observing.targets import Server

    name, _, address = text.partition("=")
    if not name or not address:
        raise click.BadParameter(f"{text!r} is not NAME=HOST:PORT", param_hint="--model-server")
    return Server(name, address)


def _read(option: str, read: Callable[[object], float], text: str) -> float:
    try:
        return read(text)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint=option) from None
