"""`lockgate rehearse`: captured traffic through the spec and its judge."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from lockgate.flows.cli.options import as_json, print_json, spec_file

_PLACE = click.Path(path_type=Path)


@click.command(short_help="Replay captured traffic through the spec and its judge, offline.")
@spec_file
@click.option("--traffic", type=_PLACE, required=True, help="Captured traffic: a file, or a folder that holds some.")
@click.option("--candidate-traffic", type=_PLACE, help="The candidate's answers, where they lie elsewhere.")
@click.option("--inject", default="", help="Faults that are tried one by one: latency=x2,errors=2%,labels=2%.")
@click.option(
    "--shuffles", type=click.IntRange(10, 10_000), default=200, show_default=True, help="Who answers what, anew."
)
@as_json
def command(  # noqa: PLR0913, PLR0917 - click passes them
    file: Path,
    traffic: Path,
    candidate_traffic: Path | None,
    inject: str,
    shuffles: int,
    json_: bool,  # noqa: FBT001 - click's flag
) -> None:
    """Replay captured traffic through the spec's own steps, gates and judge, offline, with simulated time.

    Says how often an equal candidate would be rolled back (stable's own requests, split at random many times), what
    becomes of a candidate whose answers to copies were captured, and how soon each injected fault is found.
    """
    from lockgate.flows.elsewhere import check_here
    from lockgate.flows.rehearsal.faults import faults
    from lockgate.flows.rehearse import rehearse
    from lockgate.flows.spec import load

    try:
        wanted = faults(inject)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--inject") from None
    spec = load(file)
    check_here(
        spec, "nothing captures what it answers, so there is nothing to rehearse; `lockgate plan --rps` forecasts"
    )
    found = rehearse(spec, traffic, candidate_traffic, wanted, shuffles)
    if json_:
        print_json(found)
    else:
        _show(found)


def _show(it: dict[str, Any]) -> None:
    from rich.console import Console

    from lockgate.flows.rehearsal import shown

    console = Console(highlight=False, markup=False)
    console.print(shown.traffic(it))
    console.print("", shown.equal(it), shown.steps(it["equal"]), sep="\n")
    if it["candidate"]:
        console.print("", shown.candidate(it), shown.steps(it["candidate"]), sep="\n")
        console.print("in the words of the first shuffle", *shown.sentences(it["candidate"]), sep="\n")
    if it["faults"]:
        console.print("", "injected from the start", shown.faults(it), sep="\n")
    for name, why in it["left_out"].items():
        console.print(f"\n{name} is left out: {why}")
    for name, why in it["not_compared"].items():
        console.print(f"\n{name} compares no answers of the candidate: {why}")
