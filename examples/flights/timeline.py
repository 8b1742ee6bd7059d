"""The two rollouts in one picture, and the same for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from traffic import Span, per_second, spans

_VERSIONS = {"1": "#5b7c99", "2": "#2a9d8f", "3": "#d1495b"}
_SPARE = "#8d6cab"
_GOOD = "#1b7f72"
_FAILED, _CANDIDATE_FAILED = "#b00020", "#f4a261"
_BANDS = {"building": "#eceff1", "shadow": "#d9d2e9", "promoting": "#cfead9", "rolling": "#f8d0d0"}
_CANARY = ("#fdebd0", "#f8d49f")
"""Below and from half of the traffic."""
_INK, _FAINT = "#263238", "#90a4ae"
_SHORT = 0.5
"""Seconds; what is shorter is left out of the text."""
_ROOM = 0.045
"""The least part of the width that a label fits in; what is shorter gets its label beside it."""
_DRIVEN = ("progressing", "waiting")
_ENDS = {"succeeded": "promoted", "rolled_back": "rolled back", "failed": "failed"}


@dataclass(frozen=True)
class Told:
    """Everything a picture needs. `counters` is what `traffic.read_counters` gives."""

    requests: pd.DataFrame
    rollouts: Sequence[dict[str, Any]]
    counters: pd.DataFrame

    @property
    def start(self) -> float:
        return float(self.requests["due"].min())

    @property
    def seconds(self) -> float:
        return float(self.requests["due"].max()) - self.start

    def at(self, unix: float) -> float:
        return unix - self.start


def draw(told: Told, path: Path) -> None:
    """Write the picture as PNG."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    style = {
        "font.size": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.edgecolor": _FAINT,
        "axes.labelcolor": _INK,
        "xtick.color": _INK,
        "ytick.color": _INK,
        "text.color": _INK,
        "legend.frameon": False,
    }
    with plt.rc_context(style):
        heights = {"height_ratios": [0.55, 3, 2.4, 1.8]}
        figure, (strip, share, latency, failures) = plt.subplots(
            4, 1, figsize=(13, 9), sharex=True, gridspec_kw=heights, layout="constrained"
        )
        seconds = per_second(told.requests, told.start)
        _strip(strip, told)
        _share(share, told, seconds)
        _latency(latency, seconds)
        _failures(failures, told, seconds)
        for axes in (share, latency, failures):
            _bands(axes, told)
        failures.set_xlabel("seconds of live traffic")
        failures.set_xlim(0, _width(told))
        figure.suptitle(_title(told), x=0.01, ha="left", fontsize=13, fontweight="bold")
        figure.savefig(path, dpi=130, facecolor="white")
        plt.close(figure)


def _width(told: Told) -> float:
    """All of the traffic, and after the last rollout's end room for the word about it."""
    ends = [told.at(spans(rollout)[-1].start) for rollout in told.rollouts]
    return max(1.0, told.seconds, *(end + told.seconds * 2 * _ROOM for end in ends))


def _title(told: Told) -> str:
    failed = int((~told.requests["ok"].astype(bool)).sum())
    ends = ", ".join(f"version {r['candidate_version']} {_ENDS.get(r['phase'], r['phase'])}" for r in told.rollouts)
    return f"{ends}: {len(told.requests):,} requests, {failed} failed"


def _steps(told: Told) -> list[Span]:
    return [span for rollout in told.rollouts for span in spans(rollout) if span.phase not in _ENDS]


def _colour(span: Span) -> str:
    if span.weight and span.phase in _DRIVEN:
        return _CANARY[span.weight >= 50]
    return _BANDS.get(span.label.split()[0], _BANDS["building"])


def _strip(axes: Any, told: Told) -> None:
    """What each rollout does when, with a word on how it ended."""
    room = told.seconds * _ROOM
    for span in _steps(told):
        start, end = told.at(span.start), told.at(span.end)
        axes.axvspan(start, end, color=_colour(span), lw=0)
        if end - start >= room:
            label = (
                f"building\nversion {span.candidate}" if span.phase == "building" else span.label.replace(" ", "\n", 1)
            )
            axes.text((start + end) / 2, 0.5, label, ha="center", va="center", fontsize=8, transform=_mixed(axes))
    for rollout in told.rollouts:
        _ended(axes, told, spans(rollout)[-1])
    axes.set_axis_off()


def _ended(axes: Any, told: Told, last: Span) -> None:
    axes.text(
        told.at(last.start) + told.seconds * 0.006,
        0.5,
        f"version {last.candidate}\n{_ENDS.get(last.phase, last.phase)}",
        va="center",
        fontsize=8.5,
        fontweight="bold",
        color=_GOOD if last.phase == "succeeded" else _FAILED,
        transform=_mixed(axes),
    )


def _mixed(axes: Any) -> Any:
    """Seconds to the right, parts of the panel's height upwards."""
    return axes.get_xaxis_transform()


def _bands(axes: Any, told: Told) -> None:
    for span in _steps(told):
        axes.axvspan(told.at(span.start), told.at(span.end), color=_colour(span), lw=0, zorder=0, alpha=0.55)
    for rollout in told.rollouts:
        axes.axvline(told.at(spans(rollout)[-1].start), color=_INK, lw=0.9, ls=(0, (4, 3)), zorder=3)


def _share(axes: Any, told: Told, seconds: pd.DataFrame) -> None:
    counts = seconds.pivot_table(index="second", columns="version", values="requests", fill_value=0)
    shares = counts.div(counts.sum(axis=1), axis=0) * 100
    below = shares.cumsum(axis=1) - shares
    for version in shares.columns:
        axes.bar(
            shares.index + 0.5,
            shares[version],
            bottom=below[version],
            width=1.0,
            color=_colour_of(version),
            label=f"version {version}" if version else "no answer",
            alpha=0.9,
            lw=0,
            antialiased=False,
        )
    copied = [s for s in _steps(told) if s.step.startswith("shadow") and s.phase in _DRIVEN]
    for i, span in enumerate(copied):
        axes.axvspan(
            told.at(span.start),
            told.at(span.end),
            facecolor="none",
            edgecolor="#ffffff",
            hatch="///",
            lw=0,
            zorder=3,
            label="" if i else "copied to the candidate too",
        )
    axes.set_ylim(0, 100)
    axes.set_ylabel("requests answered by, %")
    _boxed(axes.legend(loc="lower left", ncols=4, frameon=True))


def _boxed(legend: Any) -> None:
    """White hatching needs a dark ground in the legend too."""
    legend.get_frame().set(facecolor="#cfd8dc", edgecolor="none", alpha=0.9)


def _colour_of(version: str) -> str:
    return _VERSIONS.get(version, _SPARE)


def _latency(axes: Any, seconds: pd.DataFrame) -> None:
    for version, rows in seconds[seconds["version"] != ""].groupby("version"):
        enough = rows[rows["requests"] >= 10]
        whole = enough.set_index("second").reindex(range(int(rows["second"].min()), int(rows["second"].max()) + 1))
        colour = _colour_of(str(version))
        axes.plot(whole.index + 0.5, whole["p99"], color=colour, lw=0.9, alpha=0.75, label=f"version {version}, p99")
        axes.plot(whole.index + 0.5, whole["p50"], color=colour, lw=2.0, label=f"version {version}, p50")
    axes.set_yscale("log")
    axes.set_yticks([1, 2, 5, 10, 20, 50, 100, 200, 500, 1000])
    axes.yaxis.set_major_formatter("{x:g}")
    axes.minorticks_off()
    slowest = float(seconds["p99"].max())
    axes.set_ylim(min(1.0, float(seconds["p50"].min())) * 0.8, slowest * 2.2)  # room for the legend
    axes.set_ylabel("latency, ms")
    axes.legend(loc="upper left", ncols=4)


def _failures(axes: Any, told: Told, seconds: pd.DataFrame) -> None:
    """Bars, so that a single second with failures is seen; a flat line at 0 is the good news."""
    failed = seconds.groupby("second")["failed"].sum()
    total = int(failed.sum())
    beside = told.counters["copies_failed"] + told.counters["live_failed"]
    axes.bar(
        told.at(told.counters["at"]) - 0.5,
        beside,
        width=1.0,
        color=_CANDIDATE_FAILED,
        label="failed by the candidate (no client sees these)",
    )
    axes.bar(failed.index + 0.5, failed, width=1.0, color=_FAILED, label=f"failed for a client ({total} in all)")
    axes.set_ylim(0, max(5.0, float(beside.max()) * 1.35 if len(beside) else 0.0, float(failed.max()) * 1.35))
    axes.set_ylabel("failures per second")
    for rollout in told.rollouts:
        if rollout["phase"] != "succeeded":
            _because(axes, told, rollout)
    axes.legend(loc="upper left")


def _because(axes: Any, told: Told, rollout: dict[str, Any]) -> None:
    """Why a rollout went back, beside the line where it did."""
    from textwrap import fill

    at = told.at(spans(rollout)[-1].start)
    left = at > told.seconds / 2
    axes.annotate(
        fill(rollout["reason"], 44),
        (at, 0.95),
        xytext=(-26 if left else 8, 0),
        textcoords="offset points",
        xycoords=_mixed(axes),
        va="top",
        ha="right" if left else "left",
        fontsize=8.5,
        color=_FAILED,
    )


def text(told: Told) -> Any:
    """The same for the terminal, as something that rich prints."""
    from rich.text import Text

    found = Text()
    for rollout in told.rollouts:
        for span in spans(rollout):
            if span.phase not in _ENDS and span.end - span.start >= _SHORT:
                _told(found, told, span)
        last = spans(rollout)[-1]
        style = "bold green" if last.phase == "succeeded" else "bold red"
        word = f"version {last.candidate} {_ENDS.get(last.phase, last.phase)}"
        found.append(f"{told.at(last.start):5.0f} s  {word}\n", style)
    return found


def _told(found: Any, told: Told, span: Span) -> None:
    found.append(f"{told.at(span.start):5.0f} s  version {span.candidate}  {span.label:<12}")
    found.append(f" {'█' * round(span.weight / 5):<20}", _colour_of(span.candidate))
    found.append(f" {span.weight:3.0f} %  for {span.end - span.start:.0f} s\n")
    for sentence in filter(None, span.reason.split("; ")):
        found.append(f"         {sentence}\n", "dim")
