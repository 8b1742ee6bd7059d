"""How well a version answers, as `lockgate drift` shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lockgate.monitoring.performance.words import Performance


def show(found: Performance, *, first: bool) -> None:
    """A sentence and a table. `first`: nothing was shown above it."""
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False, markup=False)
    if not first:
        console.print("")
    console.print(found.says, style="bold red" if found.drifting else "bold", soft_wrap=True)
    if found.value is not None:
        output = f"{found.output} of version {found.version}"
        columns = (output, found.measure, "baseline", "limit", "labelled", "coverage", "median lag")
        table = Table(*columns, box=None, padding=(0, 2))
        table.add_row(*_row(found), style="red" if found.drifting else "")
        console.print("", table, sep="\n")
    for note in found.notes:
        console.print(f"note: {note}", style="dim")


def _row(found: Performance) -> tuple[str, ...]:
    from lockgate.monitoring.drift.sentences import percent

    verdict = "drifts" if found.drifting else "same"
    numbers = (f"{of:.4g}" for of in (found.value, found.baseline, found.limit) if of is not None)
    return verdict, *numbers, f"{found.labelled:,}", percent(found.coverage), f"{found.lag:,.0f} s"
