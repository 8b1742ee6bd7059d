"""`lockgate drift`: live inputs against the training data, now."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lockgate.flows.cli.drift_performance import show
from lockgate.flows.cli.options import as_json, print_json, spec_file

if TYPE_CHECKING:
    from rich.table import Table

    from lockgate.monitoring.drift.words import Compared, Comparison

_DRIFTS = 15
_MOST = 60
"""Features that are shown, those that drift first."""
_STYLES = {"severe": "bold red", "drifts": "red", "undecided": "dim", "same": ""}


@click.command(short_help="Compare live inputs with the data that the model was trained on.")
@spec_file
@click.option(
    "--html", "page", type=click.Path(path_type=Path, dir_okay=False), help="Write a page with Evidently's figures."
)
@click.option(
    "--of",
    "side",
    type=click.Choice(["stable", "candidate"]),
    help="Whose training data; the candidate's in a rollout.",
)
@as_json
def command(file: Path, page: Path | None, side: str | None, json_: bool) -> None:  # noqa: FBT001 - click's flag
    """Compare the latest live requests with the data that a version was trained on.

    With monitoring.performance in the spec, also how well the version that serves answers, by the labels that came.

    Ends with exit code 15 when inputs or performance drift, and with 11 when nothing can be said of the inputs.
    """
    from lockgate.flows import drift_now
    from lockgate.flows.drift_performance import measured
    from lockgate.flows.elsewhere import check_here
    from lockgate.flows.exits import Exit
    from lockgate.flows.home import home
    from lockgate.flows.spec import load
    from lockgate.monitoring.drift.errors import NoReference

    spec, where = load(file), home()
    check_here(spec, "nothing captures what it answers, so its inputs cannot be compared")
    now, why = None, ""
    performance = measured(spec, where)
    try:
        now = drift_now.compared(spec, where, side)
        why = drift_now.page(spec, where, now, page) if page else ""
    except NoReference as reason:
        why = str(reason)
    if json_ and (now or performance):
        found = {"of": now.side, **asdict(now.comparison)} if now else {}
        print_json(found | ({"performance": asdict(performance)} if performance else {}))
    elif not json_:
        if now:
            _show(now.comparison, now.side)
        if performance:
            show(performance, first=now is None)
    if why:
        click.echo(f"lockgate: {why}", err=True)
    drifting = (now and now.comparison.drifting) or (performance and performance.drifting)
    sys.exit(_DRIFTS if drifting else Exit.UNDECIDED if now is None or now.comparison.undecided else Exit.DONE)


def _show(found: Comparison, side: str) -> None:
    from rich.console import Console

    console = Console(highlight=False, markup=False)
    console.print(f"{_rows(found)} against {found.reference_rows:,} that {side} was trained on", soft_wrap=True)
    console.print(found.says, style="bold red" if found.drifting else "bold", soft_wrap=True)
    for of in _shown(found):
        if of.says:
            console.print(f"  {of.says}", style=_STYLES[of.outcome], soft_wrap=True)
    if found.features:
        console.print("", _table(found), sep="\n")
    for note in found.notes:
        console.print(f"note: {note}", style="dim")


def _rows(found: Comparison) -> str:
    from lockgate.monitoring.drift.age import span

    return f"{found.rows:,} live rows, {when}," if (when := span(found)) else f"{found.rows:,} live rows"


def _table(found: Comparison) -> Table:
    from rich.table import Table

    table = Table("input", "verdict", "PSI", "missing", "in the reference", box=None, padding=(0, 2))
    for of in _shown(found):
        table.add_row(*_row(of), style=_STYLES[of.outcome])
    if len(found.features) > _MOST:
        table.add_row(f"and {len(found.features) - _MOST} more")
    return table


def _shown(found: Comparison) -> list[Compared]:
    return [*found.drifted, *(of for of in found.features if not of.drifts)][:_MOST]


def _row(of: Compared) -> tuple[str, ...]:
    from lockgate.monitoring.drift.sentences import percent

    name = f"{of.name} (output)" if of.role == "output" else of.name
    psi = "" if of.psi is None else f"{of.psi:.3f}"
    return name, of.outcome, psi, percent(of.missing.live), percent(of.missing.reference)
