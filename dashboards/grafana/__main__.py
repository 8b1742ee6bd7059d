"""`python -m lockgate.dashboards.grafana`: generate, check and draw the dashboards."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lockgate.dashboards.grafana.errors import DashboardsError
from lockgate.monitoring.units import seconds

if TYPE_CHECKING:
    from lockgate.dashboards.grafana.queries import Times


class Duration(click.ParamType[float]):
    name = "duration"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Seconds."""
        try:
            return seconds(value) if isinstance(value, str) else value
        except ValueError as reason:
            self.fail(str(reason), param, ctx)


_prometheus = click.option("--prometheus", "url", required=True, help="Its address, like http://127.0.0.1:9090.")
_name = click.option("--name", required=True, help="The pipeline.")
_since = click.option("--since", type=Duration(), default="1h", show_default=True, help="How far back.")
_until = click.option("--until", type=float, help="The end in unix seconds; now by default.")
_every = click.option("--every", type=Duration(), default="15s", show_default=True, help="The scrape interval.")
_work = click.option(
    "--work",
    type=click.Path(path_type=Path, file_okay=False),
    default="build/grafana-viewer",
    show_default=True,
    help="Where npm installs and esbuild builds: 450 MB.",
)


@click.group(help=__doc__)
def main() -> None:
    """One command each."""


@main.command()
def generate() -> None:
    """Write the dashboards' JSON."""
    from lockgate.dashboards.grafana.pages import files
    from lockgate.dashboards.grafana.stored import FOLDER

    FOLDER.mkdir(exist_ok=True)
    for name, text in files().items():
        (FOLDER / name).write_text(text, encoding="utf-8")


@main.command()
@_prometheus
@_name
@_since
@_until
@_every
def check(url: str, name: str, since: float, until: float | None, every: float) -> None:
    """Ask a Prometheus that scraped a rollout whether every panel has something to show.

    Ends with exit code 1 when one has not and that is a fault.
    """
    from lockgate.dashboards.grafana.ask import Prometheus
    from lockgate.dashboards.grafana.check import checked
    from lockgate.dashboards.grafana.stored import documents

    wrong = 0
    with Prometheus(url) as prometheus:
        for found in checked(documents(), prometheus, {"name": name}, _times(since, until, every)):
            wrong += found.wrong
            series = " ".join(f"{letter}:{many}" for letter, many in found.series.items())
            says = found.error or (found.empty and (found.explained or "EMPTY")) or ""
            click.echo(f"{'✖' if found.wrong else '✔'} {found.dashboard} / {found.panel}  {series}  {says}")
    sys.exit(bool(wrong))


@main.command()
@_prometheus
@_name
@_since
@_until
@_every
@_work
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), default="docs", show_default=True)
@click.option("--light", is_flag=True, help="Dark letters on white.")
@click.option("--only", help="One dashboard: fleet, rollout, serving or drift.")
def render(  # noqa: PLR0913, PLR0917 - an option each
    url: str,
    name: str,
    since: float,
    until: float | None,
    every: float,
    work: Path,
    out: Path,
    light: bool,  # noqa: FBT001 - click's flag
    only: str | None,
) -> None:
    """Draw the dashboards as they are now: dashboard-rollout.png and so on."""
    from lockgate.dashboards.grafana.ask import Prometheus
    from lockgate.dashboards.grafana.stored import documents
    from lockgate.dashboards.grafana.viewer.bundle import bundled
    from lockgate.dashboards.grafana.viewer.page import Sight, page
    from lockgate.dashboards.grafana.viewer.picture import camera, taken

    dist = bundled(work)
    sight = Sight({"name": name}, _times(since, until, every), "light" if light else "dark")
    with Prometheus(url) as prometheus, camera(dist) as camera_page:
        for title, document in documents().items():
            if only in (None, title):
                all_of_them = {} if title == "fleet" else sight.values
                drawn = page(document, prometheus, Sight(all_of_them, sight.times, sight.mode))
                taken(camera_page, drawn, out / f"dashboard-{title}.png")


@main.command()
@_work
def schema(work: Path) -> None:
    """Print a JSON schema of what the dashboards may hold, made of Grafana's own types."""
    from lockgate.dashboards.grafana.viewer.bundle import schema as made

    click.echo(json.dumps(json.loads(made(work)), separators=(",", ":"), sort_keys=True))


@main.command()
@click.option("--since", type=Duration(), default="1h", show_default=True, help="How long the story is.")
@_every
def sample(since: float, every: float) -> None:
    """Print rollouts that never were, for `promtool tsdb create-blocks-from openmetrics`."""
    from lockgate.dashboards.grafana.sample.feed import backfilled

    for text in backfilled(since, time.time(), every):
        click.echo(text, nl=False)


def _times(since: float, until: float | None, every: float) -> Times:
    from lockgate.dashboards.grafana.queries import Times

    end = until or time.time()
    return Times(end - since, end, every)


if __name__ == "__main__":
    try:
        main()
    except DashboardsError as reason:
        click.echo(f"lockgate: {reason}", err=True)
        sys.exit(3)
