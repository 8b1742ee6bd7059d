"""Where panels stand: lines from the top, 24 columns wide."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Protocol, Self

from grafana_foundation_sdk.builders.dashboard import Row
from grafana_foundation_sdk.models.dashboard import GridPos, Panel, RowPanel

COLUMNS = 24


class Placeable(Protocol):
    """What every builder of a panel has."""

    def id(self, id_val: int) -> Self: ...
    def grid_pos(self, grid_pos: GridPos) -> Self: ...
    def build(self) -> Panel: ...


@dataclass(frozen=True, slots=True)
class Line:
    """Panels side by side, from the left, with their widths. `height` in units of 38 pixels."""

    height: int
    panels: tuple[tuple[int, Placeable], ...]


@dataclass(frozen=True, slots=True)
class Folded:
    """A line of text; what is under it is shown, and asked for, when one clicks it."""

    text: str
    lines: tuple[Line, ...]


def line(height: int, *panels: Placeable, widths: Sequence[int] = ()) -> Line:
    """Of equal widths unless they are given."""
    each = widths or [COLUMNS // len(panels)] * len(panels)
    return Line(height, tuple(zip(each, panels, strict=True)))


def placed(lines: Sequence[Line | Folded]) -> list[Panel | RowPanel]:
    """With places, and numbers from 1."""
    out: list[Panel | RowPanel] = []
    numbers, y = count(1), 0
    for of in lines:
        if isinstance(of, Folded):
            row = Row(of.text).id(next(numbers)).grid_pos(GridPos(h=1, w=COLUMNS, x=0, y=y)).collapsed(collapsed=True)
            built = row.build()
            built.panels = list(_stacked(of.lines, y + 1, numbers))
            out.append(built)
            y += 1
        else:
            out += _side_by_side(of, y, numbers)
            y += of.height
    return out


def _stacked(lines: Sequence[Line], y: int, numbers: Iterator[int]) -> Iterator[Panel]:
    for of in lines:
        yield from _side_by_side(of, y, numbers)
        y += of.height


def _side_by_side(of: Line, y: int, numbers: Iterator[int]) -> Iterator[Panel]:
    x = 0
    for width, panel in of.panels:
        yield panel.id(next(numbers)).grid_pos(GridPos(h=of.height, w=width, x=x, y=y)).build()
        x += width
