"""`lockgate compile`: the table without a rollout."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from lockgate.flows.cli.options import as_json, print_json, spec_file


@click.command(short_help="Compile, prove and measure every candidate; show the table.")
@spec_file
@click.option("--version", "version", help="Model version or alias; left out, the spec's candidate.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), help="Instead of the spec's.")
@click.option("--thorough", is_flag=True, help="Compile and measure to the end also what cannot win.")
@click.option("--picture", type=click.Path(path_type=Path, dir_okay=False), help="Write the picture (PNG) here too.")
@as_json
def command(  # noqa: PLR0913, PLR0917 - one for each option
    file: Path,
    version: str | None,
    device: str | None,
    thorough: bool,  # noqa: FBT001 - click's flag
    picture: Path | None,
    json_: bool,  # noqa: FBT001
) -> None:
    """Compile, prove and measure every candidate of the spec on this machine, and show the table.

    Nothing is served and nothing is rolled out. What was compiled is kept, and `lockgate run` finds it. The table and
    the picture go to the MLflow run of the version as well. Exit code 12 when no candidate can be served.
    """
    from lockgate.flows import builds, compiled, view
    from lockgate.flows.elsewhere import check_here
    from lockgate.flows.home import home
    from lockgate.flows.spec import load
    from lockgate.flows.specfile.environment import referred
    from lockgate.flows.watch import Terminal
    from lockgate.registry.mlflow_registry import MlflowRegistry
    from lockgate.services.build import look
    from lockgate.services.compile import picture as pictures
    from lockgate.services.compile import table
    from lockgate.services.compile.environment import withhold

    spec, where = load(file), home()
    check_here(spec, "nothing of it is compiled; compile it where it is packaged")
    withhold(referred(spec.document))
    registry = MlflowRegistry(where.models)
    with Terminal(quiet=json_).busy() as terminal:
        found = registry.resolve(spec.model.name, version or spec.model.candidate)
        fetched = registry.fetch(found)
        options = builds.options(spec, device, flavour=fetched.flavour, thorough=thorough)
        search = look(fetched, spec.model.trust, options, where.artifacts, terminal.say)
        compiled.record(search, found, registry, terminal.say)
        if picture:
            pictures.write(search, picture, f"{found}: latency against parity error")
        if json_:
            rows = table.values(search)
            print_json({"version": str(found), "candidates": rows, **compiled.evidence(search)})
        else:
            terminal.print(view.search(search, terminal.width))
            terminal.say(compiled.sentence(search))
    sys.exit(0 if search.chosen else 12)
