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
_FAILED, _CANDIDATE_FAILED = "#b00020", "#f4a261"
_BANDS = {"building": "#eceff1", "shadow": "#d9d2e9", "promoting": "#cfead9", "rolling": "#f8d0d0"}
_CANARY = ("#fdebd0", "#f8d49f")
"""Below and from half of the traffic."""
_INK, _FAINT = "#263238", "#90a4ae"
_ROOM = 0.045
"""The least part of the width that a label fits in; what is shorter gets its label beside it."""
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
        failures.set_xlim(0, max(1.0, told.seconds))
        figure.suptitle(_title(told), x=0.01, ha="left", fontsize=13, fontweight="bold")
        figure.savefig(path, dpi=130, facecolor="white")
        plt.close(figure)


def _title(told: Told) -> str:
    failed = int((~told.requests["ok"].astype(bool)).sum())
    ends = ", ".join(f"version {r['candidate_version']} {_ENDS.get(r['phase'], r['phase'])}" for r in told.rollouts)
    return f"{ends}: {len(told.requests):,} requests, {failed} failed"


def _steps(told: Told) -> list[Span]:
    return [span for rollout in told.rollouts for span in spans(rollout) if span.phase not in _ENDS]


def _colour(span: Span) -> str:
    if span.weight and span.phase in ("progressing", "waiting"):
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
        last = spans(rollout)[-1]
        good = last.phase == "succeeded"
        word = f"version {last.candidate}\n{_ENDS.get(last.phase, last.phase)}"
        axes.text(
            told.at(last.start) + told.seconds * 0.006,
            0.5,
            word,
            va="center",
            fontsize=8.5,
            fontweight="bold",
            color=_VERSIONS["2"] if good else _VERSIONS["3"],
            transform=_mixed(axes),
        )
    axes.set_axis_off()


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
    colours = [_VERSIONS.get(version, _SPARE) for version in shares.columns]
    labels = [f"version {version}" if version else "no answer" for version in shares.columns]
    axes.stackplot(shares.index + 0.5, shares.to_numpy().T, colors=colours, labels=labels, alpha=0.85, step=None, lw=0)
    live = counts.sum(axis=1).median()
    copies = told.counters[told.counters["copies"] > 0]
    if len(copies):
        share = (copies["copies"] / live * 100).clip(upper=100)
        axes.plot(told.at(copies["at"]), share, ".", ms=5, color="#4a3b76", label="copied to the candidate")
    axes.set_ylim(0, 100)
    axes.set_ylabel("requests answered by, %")
    axes.legend(loc="lower left", ncols=4, facecolor="white", frameon=True, framealpha=0.85, edgecolor="none")


def _latency(axes: Any, seconds: pd.DataFrame) -> None:
    for version, rows in seconds[seconds["version"] != ""].groupby("version"):
        enough = rows[rows["requests"] >= 10]
        whole = enough.set_index("second").reindex(range(int(rows["second"].min()), int(rows["second"].max()) + 1))
        colour = _VERSIONS.get(str(version), _SPARE)
        axes.plot(whole.index + 0.5, whole["p99"], color=colour, lw=0.9, alpha=0.75, label=f"version {version}, p99")
        axes.plot(whole.index + 0.5, whole["p50"], color=colour, lw=2.0, label=f"version {version}, p50")
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("{x:g}")
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
    axes.legend(loc="upper left")


def text(told: Told) -> Any:
    """The same as rows of a rich table."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name, how in (
        ("second", "right"),
        ("candidate", "left"),
        ("", "left"),
        ("weight", "right"),
        ("lasted", "right"),
    ):
        table.add_column(name, justify=how, no_wrap=True)  # type: ignore[arg-type]
    table.add_column("what ended it", ratio=1)
    for rollout in told.rollouts:
        for span in spans(rollout):
            over = span.phase in _ENDS
            table.add_row(
                f"{told.at(span.start):.0f}",
                f"version {span.candidate}",
                _ENDS.get(span.phase, span.label),
                f"{span.weight:g} %",
                "" if over else f"{span.end - span.start:.0f} s",
                rollout["reason"] if over else span.reason,
                style=_style(span.phase),
            )
    return table


def _style(phase: str) -> str:
    return {"succeeded": "bold green", "rolled_back": "bold red", "failed": "bold red"}.get(phase, "")
