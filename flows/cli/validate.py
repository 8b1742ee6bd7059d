"""`lockgate validate`: every mistake in a spec at once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from lockgate.flows.cli.options import as_json, print_json, spec_file

if TYPE_CHECKING:
    from lockgate.flows.spec import Spec
    from lockgate.rollout.spec import Step


@click.command(short_help="Check a spec and show every mistake in it.")
@spec_file
@as_json
@click.pass_context
def command(context: click.Context, file: Path, json_: bool) -> None:  # noqa: FBT001 - click's flag
    """Check a spec: print every mistake in it with its line, or OK. Exit code 2 when there are mistakes."""
    from lockgate.flows.errors import SpecError
    from lockgate.flows.listener import with_files
    from lockgate.flows.spec import load

    try:
        spec = with_files(load(file), file)
    except SpecError as error:
        if json_:
            found = [{"line": p.line, "path": p.path, "message": p.message} for p in error.problems]
            print_json({"ok": False, "file": str(file), "problems": found})
        else:
            click.echo(str(error), err=True)
        context.exit(SpecError.code)
    if json_:
        print_json({"ok": True, "file": str(file), "name": spec.name, "digest": spec.digest, "problems": []})
    else:
        click.echo(f"OK  {file}: {spec.hide(_summary(spec))}")


def _summary(spec: Spec) -> str:
    """One line: who meets whom, in which steps, behind which gates."""
    model, rollout = spec.model, spec.rollout
    steps = " → ".join(_step(step) for step in rollout.steps)
    where = ", served elsewhere" if spec.service.external else ""
    who = f"{spec.name}, {model.name} {model.stable} ← {model.candidate}{where}"
    return f"{who}; {steps}; gates {', '.join(rollout.gates)}"


def _step(step: Step) -> str:
    from lockgate.rollout.spec import label

    return label(step).replace(" %", "%")
