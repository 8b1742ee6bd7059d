"""`lockgate init`: a spec to start from."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(short_help="Write a commented spec for a registered model.")
@click.argument("name", metavar="MODEL")
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    default="lockgate.yaml",
    show_default=True,
    help="Where to write it.",
)
@click.option("--force", is_flag=True, help="Replace the file if it is there.")
def command(name: str, output: Path, force: bool) -> None:  # noqa: FBT001 - click's flag
    """Write a commented spec for a model that is registered in MLflow."""
    from lockgate.flows.errors import Unwritten
    from lockgate.flows.home import home
    from lockgate.flows.init import describe_newest, template, write

    if output.exists() and not force:  # before anything is downloaded; `write` looks again
        raise Unwritten(f"{output} is there already; add --force to replace it, or --output for another file")
    from lockgate.registry.mlflow_registry import MlflowRegistry

    write(output, template(describe_newest(MlflowRegistry(home().models), name)), force=force)
    click.echo(f"wrote {output}; `lockgate validate {output}` checks it, `lockgate plan {output}` shows what it does")
