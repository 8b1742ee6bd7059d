"""Requests a second at equal latency, and p99 at fixed rates, as a picture."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import cycle
from pathlib import Path
from typing import Any

from .figures import Figures

_OURS, _THEIRS = ("#006837", "#1a9850"), "#9aa5b1"
_COLOURS = ("#d73027", "#fc8d59", "#4575b4", "#91bfdb", "#7b3294", "#b8860b", "#555555", "#c51b7d", "#01665e")


def draw(results: Mapping[str, Figures], file: Path) -> None:
    """One row for each model. Needs matplotlib."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(len(results), 2, figsize=(13, 4.6 * len(results)), squeeze=False)
    for (name, found), (left, right) in zip(results.items(), axes, strict=True):
        _bars(left, name, found)
        _lines(right, name, found)
    figure.tight_layout()
    figure.savefig(file, dpi=110)
    plt.close(figure)


def _bars(axis: Any, name: str, found: Figures) -> None:
    sides = [side for side in found["sides"].values() if side["best"] and not side["lost"]][::-1]
    values = [side["best"]["rps"] for side in sides]
    colours = [_OURS[0] if "Lockgate" in side["title"] else _THEIRS for side in sides]
    bars = axis.barh([side["title"] for side in sides], values, color=colours)
    axis.bar_label(bars, [f"{value:,.0f}" for value in values], padding=4, fontsize=9)
    axis.margins(x=0.14)
    axis.set_title(f"{name}: requests/s with p99 within {found['bound_ms']:g} ms (closed loop)")
    axis.spines[["top", "right"]].set_visible(False)


def _lines(axis: Any, name: str, found: Figures) -> None:
    if not any(side["open"] for side in found["sides"].values()):
        axis.set_visible(False)
        return
    colours = cycle(_COLOURS)
    for side in (side for side in found["sides"].values() if not side["lost"]):
        points = sorted((float(rate), value["p99_ms"]) for rate, value in side["open"].items() if value["p99_ms"])
        ours = "Lockgate" in side["title"]
        if not points:
            continue
        style = {"linewidth": 2.4, "color": _OURS["direct" in side["title"]]} if ours else {"color": next(colours)}
        axis.plot(
            *zip(*points, strict=True), "-" if ours else "--", marker="o", markersize=4, label=side["title"], **style
        )
    axis.axhline(found["bound_ms"], color="#333333", linewidth=0.8, linestyle=":")
    axis.set_yscale("log")
    axis.set_xscale("log")
    axis.set_xlabel("requests/s offered (open loop)")
    axis.set_ylabel("p99, ms")
    axis.set_title(f"{name}: p99 at fixed rates; a line ends where a rate is not held")
    axis.grid(visible=True, alpha=0.3)
    axis.legend(fontsize=8, frameon=False)
