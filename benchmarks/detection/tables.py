"""The rows as tables: in the terminal, and in Markdown."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from rich.box import SIMPLE
from rich.table import Table

from benchmarks.detection.rows import Row


@dataclass(frozen=True, slots=True)
class Sheet:
    title: str
    columns: tuple[str, ...]
    lines: tuple[tuple[str, ...], ...]
    numbers: bool = True

    def rich(self) -> Table:
        table = Table(box=SIMPLE)
        for index, column in enumerate(self.columns):
            table.add_column(column, justify="right" if index and self.numbers else "left")
        for line in self.lines:
            table.add_row(*line)
        return table

    def markdown(self) -> str:
        head = f"| {' | '.join(self.columns)} |\n|---|{'---:|' * (len(self.columns) - 1)}\n"
        return f"**{self.title}**\n\n{head}" + "".join(f"| {' | '.join(line)} |\n" for line in self.lines)


def sheets(rows: Sequence[Row]) -> list[Sheet]:
    """In the order in which they are read."""
    alarms, hurt = _of(rows, "false alarms"), _of(rows, "dependent")
    out = [_sheet(f"Rolled back though equal: {case}", _of(alarms, case=case), _share) for case in _cases(alarms)]
    out.append(_sheet("Rolled back though equal, on dependent data (default profile)", hurt, _share, both=True))
    for case in _cases(_of(rows, "bound")):
        title = f"{case}: candidate requests to a rollback, median and 95th percentile, looks not binding"
        out.append(_sheet(title, _of(rows, "bound", case), _price))
    for case in _cases(_of(rows, "faults")):
        title = f"{case}: candidate requests to a rollback in half an hour, median and 95th percentile"
        out.append(_sheet(title + _NOTES.get(case, ""), _of(rows, "faults", case), _requests))
    title = "A margin of 0.5 points: candidate requests to a pass, median and 95th percentile (times the plan's median)"
    out.append(_sheet(title, _of(rows, "passing"), _passes, both=True))
    return [sheet for sheet in out if sheet.lines]


_NOTES = {"p99 x 1.2": "; the default margin of 20 % and 2 ms tolerates it"}


def _of(rows: Sequence[Row], section: str | None = None, case: str | None = None) -> list[Row]:
    return [row for row in rows if section in (None, row.section) and case in (None, row.case)]


def _cases(rows: Iterable[Row]) -> list[str]:
    return list(dict.fromkeys(row.case for row in rows))


def _sheet(title: str, rows: Sequence[Row], text: Callable[[Row], str], *, both: bool = False) -> Sheet:
    """A line for each rule (of each case, with `both`), a column for each cell."""
    places = sorted({(row.rps, row.weight) for row in rows})
    by = {(row.case, row.rule, row.rps, row.weight): text(row) for row in rows}
    names = dict.fromkeys((row.case, row.rule) for row in rows)
    return Sheet(
        title,
        ("", *(f"{rps:g}/s {weight:.0%}" if rps else f"{weight:.0%}" for rps, weight in places)),
        tuple(
            (f"{case}: {rule}" if both else rule, *(by.get((case, rule, *place), "") for place in places))
            for case, rule in names
        ),
    )


def _share(row: Row) -> str:
    return f"{row.share:.1%}"


def _requests(row: Row) -> str:
    if row.median is None:
        return f"({row.share:.0%})"
    return f"{_short(row.median)} {'-' if row.high is None else _short(row.high)}"


def _price(row: Row) -> str:
    if row.bound is None or row.median is None or row.rollouts == 0:
        return _short(row.median) if row.median is not None else f"({row.share:.0%})"
    return f"{_requests(row)} (x {row.median / row.bound:.2f})"


def _passes(row: Row) -> str:
    """Of the candidate at the margin, how many pass."""
    if row.median is None:
        return f"({row.share:.1%})"
    return f"{_requests(row)} (x {row.median / row.bound:.2f})" if row.bound else _requests(row)


def _short(requests: float) -> str:
    return f"{requests:,.0f}" if requests < _THOUSANDS else f"{requests / 1000:,.0f}k"


_THOUSANDS = 20_000
