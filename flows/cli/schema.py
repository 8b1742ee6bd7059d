"""`lockgate schema`: what an editor needs to complete a spec."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(short_help="Print the JSON schema that editors complete from.")
@click.option("--format", "format_", type=click.Choice(["json", "markdown"]), default="json", show_default=True)
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="Write to a file, replacing it.")
def command(format_: str, output: Path | None) -> None:
    """Print the spec's JSON schema, or its reference as markdown.

    Begin a spec with `# yaml-language-server: $schema=FILE`, and editors complete its fields.
    """
    if format_ == "json":
        from lockgate.flows.schema import schema_text as text
    else:
        from lockgate.flows.reference import reference as text
    if output is None:
        click.echo(text(), nl=False)
        return
    from lockgate.flows.init import write

    write(output, text(), force=True)
    click.echo(f"wrote {output}")
