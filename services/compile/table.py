"""A search as a table: plain JSON values to keep, columns for a terminal, Markdown for a page."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from .words import Row, Search, Timing

_ORDER = ("chosen", "kept", "slower", "over a limit", "refused", "lost", "skipped")
_EMPTY = "-"
_MIB = 2**20


def values(search: Search) -> list[dict[str, Any]]:
    """One mapping per candidate, in the order of the search: seconds, bytes and errors as JSON takes them."""
    return [_values(row) for row in search.rows]


def _values(row: Row) -> dict[str, Any]:
    parity = row.parity
    return {
        "target": row.candidate.target,
        "precision": row.candidate.precision,
        "outcome": row.outcome,
        "reason": row.reason,
        "latency": {str(t.batch): _timing(t) for t in row.timings},
        "max_abs_error": _finite(parity.max_abs_error) if parity else None,
        "relative_error": _finite(parity.relative_error) if parity else None,
        "agreement": parity.agreement if parity else None,
        "memory": row.memory or None,
        "load_seconds": row.load_seconds or None,
        "size": row.size or None,
        "threads": row.threads,
        "compile_seconds": row.compile_seconds or None,
        "cached": row.cached,
    }


def _timing(timing: Timing) -> dict[str, Any]:
    return {"p50": timing.p50, "p99": timing.p99, "rounds": timing.rounds, "calls": timing.calls}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def cells(search: Search) -> list[list[str]]:
    """The heading, then a line per candidate: the chosen one, the others by their latency, then who was not timed.

    Threads have a column where anybody has more than one.
    """
    batches = sorted({t.batch for row in search.rows for t in row.timings})
    heading = ["candidate", "outcome", *(f"p50 ms, batch {b}" for b in batches), "rows/s", "error", "same label"]
    threads = ["threads"] if any(row.threads > 1 for row in search.rows) else []
    heading += [*threads, "memory MiB", "load s", "size MB", "compile s", "reason"]
    return [heading, *(_cells(row, batches, threads=bool(threads)) for row in sorted(search.rows, key=_rank))]


def _cells(row: Row, batches: Sequence[int], *, threads: bool) -> list[str]:
    by_batch = {t.batch: t for t in row.timings}
    most = max((t.rows_per_second for t in row.timings), default=0.0)
    return [
        str(row.candidate),
        row.outcome,
        *(_number(by_batch[b].p50 * 1e3) if b in by_batch else _EMPTY for b in batches),
        _number(most) if most else _EMPTY,
        f"{row.parity.max_abs_error:.1e}" if row.parity else _EMPTY,
        f"{row.parity.agreement:.2%}" if row.parity else _EMPTY,
        *([str(row.threads) if row.timings else _EMPTY] if threads else []),
        f"{row.memory / _MIB:.0f}" if row.memory else _EMPTY,
        f"{row.load_seconds:.1f}" if row.load_seconds else _EMPTY,
        f"{row.size / 1e6:.1f}" if row.size else _EMPTY,
        "cached" if row.cached else f"{row.compile_seconds:.1f}" if row.compile_seconds else _EMPTY,
        row.reason,
    ]


def _rank(row: Row) -> tuple[int, float]:
    return _ORDER.index(row.outcome), speed(row)


def speed(row: Row) -> float:
    """Seconds of a call, over all measured batch sizes alike; infinity for who was not timed."""
    if not row.timings:
        return math.inf
    return math.exp(sum(math.log(t.p50) for t in row.timings) / len(row.timings))


def _number(value: float) -> str:
    """Three digits that count, and no exponent."""
    return f"{value:,.{max(0, 2 - math.floor(math.log10(value)))}f}"


def text(search: Search) -> str:
    """Columns side by side; the reason comes last, as long as it is."""
    return "\n".join(_aligned(cells(search)))


def _aligned(lines: list[list[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    words = {i for i, name in enumerate(lines[0]) if name in ("candidate", "outcome", "reason")}
    for line in lines:
        parts = (
            value.ljust(width) if i in words else value.rjust(width)
            for i, (value, width) in enumerate(zip(line, widths, strict=True))
        )
        yield "  ".join(parts).rstrip()


def markdown(search: Search) -> str:
    heading, *lines = cells(search)
    marks = ["---" if name in ("candidate", "outcome", "reason") else "---:" for name in heading]
    return "\n".join(f"| {' | '.join(map(_escaped, line))} |" for line in (heading, marks, *lines))


def _escaped(value: str) -> str:
    return " ".join(value.split()).replace("|", "\\|")
