"""A search as a picture: latency against parity error. What lies low and to the left is fast and true."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .table import speed
from .words import Row, Search

_COLOURS = {
    "chosen": "#0b7a3b",
    "kept": "#2a6fb0",
    "slower": "#8093a5",
    "over a limit": "#c98a00",
    "refused": "#c0392b",
}
_SHAPES = {"chosen": "*", "over a limit": "s", "refused": "X"}
_EXACT = 1e-9
"""Where no error at all stands: a logarithm has no zero."""
_HIGH, _LETTER, _NEAR = 12.0, 5.0, 9.0
"""Points of paper: a label's height, the width of a letter, from a point to its label."""


@dataclass(frozen=True, slots=True)
class _Point:
    x: float
    y: float
    name: str
    colour: str


@dataclass(frozen=True, slots=True)
class _Box:
    """`x` is its left side, `y` its middle."""

    x: float
    y: float
    wide: float

    def covers(self, other: _Box) -> bool:
        apart = self.x + self.wide <= other.x or other.x + other.wide <= self.x
        return not apart and abs(self.y - other.y) < _HIGH


def png(search: Search, title: str = "") -> bytes:
    """Needs matplotlib. No window is opened and no state of pyplot touched."""
    buffer = io.BytesIO()
    _figure(search, title).savefig(buffer, format="png", dpi=120)
    return buffer.getvalue()


def write(search: Search, path: Path, title: str = "") -> None:
    path.write_bytes(png(search, title))


def _figure(search: Search, title: str) -> Any:
    from matplotlib.figure import Figure

    proven = [row for row in search.rows if row.parity is not None]
    timed, aside = [row for row in proven if row.timings], [row for row in proven if not row.timings]
    figure = Figure(figsize=(9.0, 5.2), layout="constrained")
    if aside:
        axes, strip = figure.subplots(1, 2, width_ratios=(5, 2), sharey=True)
        strip.set_title("not timed", loc="left", fontsize=10, color="#555555")
        strip.set_xticks([])
        strip.set_xlim(-0.1, 1)
    else:
        axes = strip = figure.subplots()
    _frame(axes, timed, title)
    most = _most(proven)
    points = [_point(axes, speed(row) / _unit(timed)[0], row, most) for row in timed]
    beside = [_point(strip, 0.0, row, most) for row in aside]
    _legend(axes, proven)
    figure.draw_without_rendering()  # settles the scales that labels are placed by
    _label(axes, points)
    _label(strip, beside)
    return figure


def _frame(axes: Any, timed: list[Row], title: str) -> None:
    from matplotlib.ticker import LogFormatter

    batches = sorted({t.batch for row in timed for t in row.timings})
    sizes = ", ".join(map(str, batches))
    over = f"geometric mean over batches of {sizes}" if len(batches) > 1 else f"a batch of {sizes}"
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel(f"latency p50 in {_unit(timed)[1]}: {over}" if timed else "latency p50: nobody was timed")
    axes.set_ylabel("largest error against the source model")
    axes.set_title(title or "Latency against parity error", loc="left", fontsize=11)
    axes.grid(visible=True, color="#e3e3e3", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.margins(x=0.18, y=0.12)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(LogFormatter(labelOnlyBase=False, minor_thresholds=(2, 0.5)))


def _unit(timed: list[Row]) -> tuple[float, str]:
    """In which the quickest has a figure of 1 or more."""
    quickest = min(map(speed, timed), default=1.0)
    return next((u for u in ((1.0, "s"), (1e-3, "ms")) if quickest >= u[0]), (1e-6, "µs"))


def _point(axes: Any, x: float, row: Row, most: float) -> _Point:
    assert row.parity is not None  # noqa: S101 - only proven ones get here
    error = row.parity.max_abs_error
    said = " (exact)" if error == 0 else "" if math.isfinite(error) else " (not finite)"
    point = _Point(x, min(max(error, _EXACT), most), f"{row.candidate}{said}", _COLOURS[row.outcome])
    size = 190 if row.outcome == "chosen" else 55
    axes.scatter([x], [point.y], s=size, c=point.colour, marker=_SHAPES.get(row.outcome, "o"), zorder=3, linewidths=0)
    return point


def _most(rows: list[Row]) -> float:
    """Where an error without bounds stands: above all others."""
    errors = [r.parity.max_abs_error for r in rows if r.parity and math.isfinite(r.parity.max_abs_error)]
    return 10 * max([_EXACT, *errors])


def _legend(axes: Any, proven: list[Row]) -> None:
    outcomes = [name for name in _COLOURS if any(row.outcome == name for row in proven)]
    from matplotlib.lines import Line2D

    marks = [
        Line2D([], [], linestyle="", marker=_SHAPES.get(name, "o"), color=_COLOURS[name], label=name)
        for name in outcomes
    ]
    axes.figure.legend(handles=marks, loc="outside lower right", ncols=len(marks), frameon=False, fontsize=9)


def _label(axes: Any, points: list[_Point]) -> None:
    """Beside each point, where it covers neither another label nor a point; moved ones get a line to their point."""
    scale = 72 / axes.figure.dpi
    places = [axes.transData.transform((p.x, p.y)) * scale for p in points]
    left, right = axes.bbox.x0 * scale, axes.bbox.x1 * scale
    taken = [_Box(float(x) - _NEAR / 2, float(y), _NEAR) for x, y in places]
    for point, (x, y) in sorted(zip(points, places, strict=True), key=lambda found: float(found[1][1])):
        box = _free(float(x), float(y), _LETTER * len(point.name), (left, right, taken))
        taken.append(box)
        moved = box.y - float(y)
        rightwards = box.x > float(x)
        axes.annotate(
            point.name,
            (point.x, point.y),
            (_NEAR if rightwards else -_NEAR, moved),
            textcoords="offset points",
            ha="left" if rightwards else "right",
            va="center",
            fontsize=8.5,
            color=point.colour,
            arrowprops={"arrowstyle": "-", "color": point.colour, "linewidth": 0.5} if moved else None,
        )


def _free(x: float, y: float, wide: float, ground: tuple[float, float, list[_Box]]) -> _Box:
    """To the right or left of a point, as little above or below it as may be."""
    left, right, taken = ground
    sides = [x + _NEAR, x - _NEAR - wide]
    inside = [side for side in sides if left <= side and side + wide <= right] or sides[:1]
    for step in range(60):
        up = (step + 1) // 2 * _HIGH * (1 if step % 2 else -1)
        for side in inside:
            box = _Box(side, y + up, wide)
            if not any(box.covers(other) for other in taken):
                return box
    return _Box(inside[0], y, wide)
