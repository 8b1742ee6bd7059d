"""Where the gates stand: a strip for each, in its own unit."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from lockgate.flows.approval.drawing import INK, STABLE, png, text
from lockgate.flows.approval.words import figures, outcome

_MOST = 12
"""Gates in one picture."""
_COLOURS = {"pass": "#0b7a3b", "undecided": "#c98a00", "error": "#c0392b", "fail": "#c0392b"}
_LIMIT = "#c0392b"


def gates(every: Sequence[Mapping[str, Any]]) -> bytes | None:
    """A strip for each gate, in its own unit: stable, the candidate, and the limit that it must not exceed."""
    from matplotlib.figure import Figure

    shown = [gate for gate in every if _finite(gate["candidate"]) is not None][:_MOST]
    if not shown:
        return None
    figure = Figure(figsize=(7.0, 0.75 + 0.55 * len(shown)), layout="constrained")
    strips = figure.subplots(len(shown), 1, squeeze=False)[:, 0]
    for axes, gate in zip(strips, shown, strict=True):
        _strip(axes, gate)
    _legend(figure)
    return png(figure)


def _finite(value: Any) -> float | None:
    number_ = math.nan if value is None else float(value)
    return number_ if math.isfinite(number_) else None


def _strip(axes: Any, gate: Mapping[str, Any]) -> None:
    mine, theirs, limit = (_finite(gate[key]) for key in ("candidate", "stable", "limit"))
    colour = _COLOURS.get(gate["outcome"], INK)
    span = _span(gate)
    known = [value for value in (mine, theirs, limit, *span) if value is not None]
    low, high = min(known), max(known)
    room = 0.12 * (high - low) or 0.1 * abs(high) or 1.0
    axes.set_xlim(low - room, high + room)
    axes.set_ylim(-1, 1)
    axes.plot([low - room, high + room], [0, 0], color="#e3e9ee", linewidth=6, zorder=0, solid_capstyle="butt")
    if limit is not None:
        edge = high + room if _bad_above(mine, theirs, limit, gate["outcome"]) else low - room
        axes.plot([limit, edge], [0, 0], color="#f3c9c4", linewidth=6, zorder=1, solid_capstyle="butt")
        axes.plot([limit, limit], [-0.6, 0.6], color=_LIMIT, linewidth=2, zorder=2)
    if span:
        axes.plot(span, [0, 0], "|-", color=colour, linewidth=1.5, markersize=9, zorder=3)
    if theirs is not None:
        axes.plot([theirs], [0], "o", color=STABLE, markersize=9, zorder=3)
    axes.plot([mine], [0], "D", color=colour, markersize=8, zorder=4, markeredgecolor="white")
    _name(axes, gate, colour)


def _span(gate: Mapping[str, Any]) -> tuple[float, ...]:
    """Where the candidate's mean is, of a business metric: its effect is relative to stable's."""
    theirs, interval = _finite(gate["stable"]), gate.get("interval")
    if theirs is None or not interval:
        return ()
    ends = tuple(theirs + abs(theirs) * float(end) for end in interval)
    return ends if all(map(math.isfinite, ends)) else ()


def _bad_above(mine: float | None, theirs: float | None, limit: float, word: str) -> bool:
    """On which side of the limit the harm is: as the outcome says, else where stable is not."""
    if mine is not None and word in ("pass", "fail"):
        return (mine <= limit) == (word == "pass")
    return theirs is None or theirs <= limit


def _name(axes: Any, gate: Mapping[str, Any], colour: str) -> None:
    """What it is, on the left, and its numbers on the right."""
    said = dict(zip(("candidate", "stable", "limit"), figures(gate), strict=True))
    numbers = f"{said['candidate']}, stable {said['stable']}, limit {said['limit']}"
    left = {"ha": "right", "va": "center", "transform": axes.transAxes}
    axes.text(-0.02, 0.70, text(f"{gate['gate']}"), fontsize=9.5, color="#16222e", weight="bold", **left)
    axes.text(-0.02, 0.26, text(outcome(gate["outcome"])), fontsize=8, color=colour, weight="bold", **left)
    axes.text(1.02, 0.5, text(numbers), fontsize=8.5, color=INK, va="center", transform=axes.transAxes)
    axes.set_xticks([])
    axes.set_yticks([])
    for side in axes.spines.values():
        side.set_visible(False)


def _legend(figure: Any) -> None:
    from matplotlib.lines import Line2D

    marks = [
        Line2D([], [], linestyle="", marker="D", color=_COLOURS["pass"], label="candidate (colour: outcome)"),
        Line2D([], [], linestyle="", marker="o", color=STABLE, label="stable"),
        Line2D([], [], color=_LIMIT, linewidth=2, label="limit"),
    ]
    figure.legend(handles=marks, loc="outside lower left", ncols=3, frameon=False, fontsize=8.5)
