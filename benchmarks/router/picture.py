"""CPU per request of each way, and where the router's goes, as a picture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.router.instructions import BARE, WHOLE
from benchmarks.router.rounds import ROUTER, SHADOW

_OURS, _OTHERS = "#1a9850", "#4575b4"
_LEAST = 0.004
"""Of the whole: pieces below it are summed up."""


def draw(found: Mapping[str, Any], file: Path) -> None:
    """Needs matplotlib."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(14, 4.2), width_ratios=(1, 1, 1.5))
    _bars(left, found["added_p50_ms_by_way"], "ms added to the median, one connection", "{:.3f}")
    _bars(middle, found["cpu_us_per_request"], "CPU microseconds per request, 16 connections", "{:.0f}")
    _shares(right, found.get("instructions", {}))
    figure.suptitle("An upstream that answers at once: what stands between it and its clients")
    figure.tight_layout()
    figure.savefig(file, dpi=120)
    plt.close(figure)


def _bars(axis: Any, values: Mapping[str, float], title: str, form: str) -> None:
    names = list(values)[::-1]
    colours = [_OURS if name in (ROUTER, SHADOW) else _OTHERS for name in names]
    drawn = axis.barh(names, [values[name] for name in names], color=colours)
    axis.bar_label(drawn, fmt=form, padding=3)
    _plain(axis, title)


def _shares(axis: Any, counted: Mapping[str, int]) -> None:
    whole = counted.get(WHOLE, 1)
    pieces = {name: of / whole for name, of in counted.items() if name not in (WHOLE, BARE)}
    shown = dict(sorted(((n, s) for n, s in pieces.items() if s >= _LEAST), key=lambda one: one[1]))
    small = sum(share for name, share in pieces.items() if name not in shown)
    shown = {f"{len(pieces) - len(shown)} others together": small, **shown}
    drawn = axis.barh(list(shown), [100 * share for share in shown.values()], color=_OURS)
    axis.bar_label(drawn, fmt="{:.1f}", padding=3)
    rest = counted.get(BARE, 0) / whole
    _plain(axis, f"% of the router's instructions; Envoy itself: {rest:.0%}")


def _plain(axis: Any, title: str) -> None:
    axis.set_title(title, fontsize=10)
    axis.margins(x=0.15)
    axis.spines[["top", "right"]].set_visible(False)
