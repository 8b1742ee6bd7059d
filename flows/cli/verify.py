"""`lockgate verify`: whether the log bears out what was decided."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from lockgate.flows.cli.options import as_json, named, print_json, the_store, which

if TYPE_CHECKING:
    from rich.table import Table

    from lockgate.rollout.verify import Check


@click.command(short_help="Compute every verdict of a rollout anew from its log.")
@which
@as_json
def command(rollout: str, json_: bool) -> None:  # noqa: FBT001 - click's flag
    """Compute every verdict of a rollout anew from the looks in its log, and every state from its events.

    Says of each event whether it holds; ends with exit code 14 when one does not.
    """
    from lockgate.flows.exits import Exit
    from lockgate.rollout.verify import verify

    with the_store() as store:
        found = named(store, rollout)
        checks = list(verify(found.spec, store.events(found.id), store.looks(found.id)))
    wrong = sum(bool(check.wrong) for check in checks)
    if json_:
        print_json({"rollout": found.id, "holds": not wrong, "events": [_json(check) for check in checks]})
    else:
        _show(found.id, checks, wrong)
    if wrong:
        sys.exit(Exit.NOT_VERIFIED)


def _json(check: Check) -> dict[str, Any]:
    verdict = asdict(check.verdict) if check.verdict else None
    return {**asdict(check), "verdict": verdict, "holds": not check.wrong}


def _show(rollout: str, checks: list[Check], wrong: int) -> None:
    from rich.console import Console

    console = Console(highlight=False, markup=False)
    console.print(_table(checks))
    judged = sum(check.verdict is not None for check in checks)
    looks = max((check.verdict.looks for check in checks if check.verdict), default=0)
    if wrong:
        console.print(f"\n{rollout}: {wrong} of {len(checks)} events do not hold", style="bold red")
    else:
        console.print(f"\n{rollout}: {judged} verdicts computed anew from {looks} looks; all {len(checks)} events hold")


def _table(checks: list[Check]) -> Table:
    from rich.table import Table
    from rich.text import Text

    from lockgate.flows import view

    table = Table("", "time", "event", "verdict", "looks", "holds", box=None, padding=(0, 2))
    for check in checks:
        holds = Text("yes", style="green") if not check.wrong else Text("\n".join(check.wrong), style="bold red")
        verdict = check.verdict
        said = (str(verdict.outcome), str(verdict.looks or "")) if verdict else ("", "")
        table.add_row(str(check.sequence), view.clock(check.at), check.what, *said, holds)
    return table
