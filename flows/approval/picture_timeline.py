"""The traffic over time: what the candidate answered, what it was shown, and when something happened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from lockgate.flows.approval.drawing import INK, STABLE, png, text


def timeline(points: Sequence[Mapping[str, Any]]) -> bytes | None:
    """The candidate's share of the traffic over time, with the numbers of the events that changed it."""
    from matplotlib.figure import Figure

    if len(points) < _FEWEST:
        return None
    figure = Figure(figsize=(7.8, 3.2), layout="constrained")
    axes = figure.subplots()
    at = [datetime.fromtimestamp(point["at"], UTC) for point in points]
    days: Any = at  # matplotlib takes them; its types do not say so
    axes.step(days, [p["weight_percent"] for p in points], where="post", color=STABLE, linewidth=2, label="answers")
    mirrored = [p["mirror_percent"] for p in points]
    if any(mirrored):
        axes.step(days, mirrored, where="post", color="#8093a5", linestyle=":", linewidth=2, label="is shown a copy of")
    _dress(axes)
    _events(axes, at, points)
    return png(figure)


_FEWEST = 2


def _dress(axes: Any) -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    places = AutoDateLocator(tz=UTC)
    axes.xaxis.set_major_locator(places)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(places, tz=UTC))
    axes.set_ylim(-4, 132)
    axes.set_yticks([0, 25, 50, 75, 100], ["0 %", "25 %", "50 %", "75 %", "100 %"])
    axes.set_title("Of the requests, the candidate", loc="left", fontsize=10)
    axes.grid(axis="y", color="#e3e9ee", linewidth=0.6)
    axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize=8.5, ncols=2)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _events(axes: Any, at: Sequence[datetime], points: Sequence[Mapping[str, Any]]) -> None:
    """Each event's number, as the table has it; and a step's name, where there is room for it."""
    whole = (at[-1] - at[0]).total_seconds() or 1.0
    before, height = -1.0, 0
    for index, point in enumerate(points):
        where = (at[index] - at[0]).total_seconds() / whole
        height = height + 1 if where - before < _NEAR else 0
        before = where
        axes.plot([at[index]], [point["weight_percent"]], "o", color=STABLE, markersize=4)
        beside = (-3, 5 + 8 * height)
        axes.annotate(
            str(point["sequence"]),
            (at[index], point["weight_percent"]),
            beside,
            textcoords="offset points",
            fontsize=7.5,
            color=INK,
        )
    _names(axes, at, points, whole)


_NEAR = 0.025
"""Of the width: closer events' numbers stand above one another."""


def _names(axes: Any, at: Sequence[datetime], points: Sequence[Mapping[str, Any]], whole: float) -> None:
    """The steps, along the top."""
    starts = [i for i, p in enumerate(points) if not i or _place(p) != _place(points[i - 1])]
    for start, end in zip(starts, [*starts[1:], len(points) - 1], strict=True):
        axes.axvline(at[start], color="#c6d0d9", linewidth=0.7, zorder=0)
        said = text(_place(points[start]))
        if (at[end] - at[start]).total_seconds() / whole > _LETTER * len(said):
            axes.text(at[start], 122, f" {said}", fontsize=8, color=INK, va="center")


_LETTER = 0.0125
"""Of the width."""


def _place(point: Mapping[str, Any]) -> str:
    return str(point["step"] if point["phase"] in ("progressing", "waiting") else point["phase"]).replace("_", " ")
