"""Input drift: its cost, its false flags, what it finds: python -m benchmarks.drift [--rows 1000000] [--columns 20].

One reference of 10,000 rows, and windows of every size out of the same distribution: how many of 200 have an input that
is called drifting (`false_flags_of_200`), at the default settings; likewise where rows come in requests, and where some
requests name their user and others do not. Then changes that are planted into one input of a
window of each size: which are found, in that input and in no other. Then one comparison of `--rows` rows, and one of
10,000. Of performance by labels likewise: false flags of 200 windows at each size, while nothing has become worse and
while it is worse by half of the margin; and changes that are planted, each in one window of 1,000 labels (and in how
many of 100). The last line is JSON; seconds are the median of five runs, and memory is the process's peak.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.drift_performance import performance
from lockgate.monitoring.drift.judge import compare
from lockgate.monitoring.drift.profile import Profile, profile_of
from lockgate.monitoring.drift.repeats import groups
from lockgate.monitoring.drift.words import Window

REFERENCE, WINDOWS = 10_000, 200
SIZES = (200, 500, 1000, 2000, 5000, 10_000, 50_000)
CLAIMED = 5000
"""Rows of the window in which everything that is planted must be found."""
BATCH = 32
"""Rows of a request, where they come in requests."""
USERS = 40
"""Who are named by a request of one row each, where only some are."""

Columns = dict[str, Any]
Random = np.random.Generator


def rows(rng: Random, n: int, columns: int = 20) -> Columns:
    """Of twenty: eight normal, four lognormal, four of labels, two with point masses, counts, and one with gaps."""
    return {f"{_MAKERS[i % 20][0]} {i}": _MAKERS[i % 20][1](rng, n) for i in range(columns)}


def _labels(kinds: int) -> Callable[[Random, int], Any]:
    weights = 1 / np.arange(1, kinds + 1)
    names = np.array([f"kind {i}" for i in range(kinds)])
    return lambda rng, n: names[rng.choice(kinds, size=n, p=weights / weights.sum())]


def _heavy(sigma: float) -> Callable[[Random, int], Any]:
    return lambda rng, n: rng.lognormal(6, sigma, n)


_MAKERS: list[tuple[str, Callable[[Random, int], Any]]] = [
    *[("normal", lambda rng, n: rng.normal(size=n))] * 8,
    *[("skewed", _heavy(sigma)) for sigma in (0.5, 1.0, 1.5, 2.0)],
    *[("labels", _labels(kinds)) for kinds in (2, 5, 30, 300)],
    ("mostly zero", lambda rng, n: np.where(rng.random(n) < 0.6, 0.0, rng.exponential(size=n))),
    ("count", lambda rng, n: rng.poisson(3, n)),
    ("rounded", lambda rng, n: rng.normal(50, 20, n).round(-1)),
    ("gaps", lambda rng, n: np.where(rng.random(n) < 0.1, np.nan, rng.uniform(size=n))),
]

PLANTED: dict[str, tuple[str, Callable[[Any, Random], Any]]] = {
    "another unit: miles come as kilometres": ("skewed 8", lambda x, _: x * 1.609),
    "missing burst: 10 %": ("normal 2", lambda x, rng: np.where(rng.random(len(x)) < 0.1, np.nan, x)),
    "new category: 10 %": ("labels 13", lambda x, rng: np.where(rng.random(len(x)) < 0.1, "new", x)),
    "shift of half a sigma": ("normal 1", lambda x, _: x + 0.5),
    "heavy tail: scale times 3": ("skewed 11", lambda x, _: x * 3),
    "heavy tail: spread times 1.5": ("skewed 10", lambda x, _: np.exp(6 + 1.5 * (np.log(x) - 6))),
    "a third have one value": ("normal 3", lambda x, rng: np.where(rng.random(len(x)) < 1 / 3, 0.0, x)),
    "out of range: 8 %": ("normal 4", lambda x, rng: np.where(rng.random(len(x)) < 0.08, x * 1000, x)),
    "no gaps any more": ("gaps 19", lambda x, rng: np.where(np.isnan(x), rng.uniform(size=len(x)), x)),
}
QUARTER = "normal 1", 0.25
"""A shift that is proven and too small for the default threshold: what is not found."""


def alone(rng: Random, n: int) -> Window:
    return Window(rows(rng, n), rows=n)


def in_requests(rng: Random, n: int) -> Window:
    """Of `BATCH` equal rows each."""
    columns = {name: np.repeat(values, BATCH) for name, values in rows(rng, n // BATCH).items()}
    return Window(columns, rows=n // BATCH * BATCH, groups=np.repeat(np.arange(n // BATCH), BATCH))


def mixed(rng: Random, n: int) -> Window:
    """Requests of one row with a user, and of `BATCH` equal rows without; grouped as captured traffic is."""
    of = np.concatenate([np.arange(USERS), np.repeat(np.arange(USERS, USERS + n // BATCH), BATCH)])
    about = {
        "unit": [f"user {i}" if i < USERS else None for i in of],
        "request_id": [f"request {i}" for i in of],
        "row": np.arange(len(of)),
        "at": of,
        "digest": ["one"] * len(of),
    }
    columns = {name: values[of] for name, values in rows(rng, USERS + n // BATCH).items()}
    return Window(columns, rows=len(of), groups=groups(pa.table(about)))


def flags(profile: Profile, n: int, how: Callable[[Random, int], Window] = alone) -> int:
    """Windows of `WINDOWS` without drift in which some input is called drifting."""
    windows = (how(np.random.default_rng([1, n, seed]), n) for seed in range(WINDOWS))
    return sum(bool(compare(profile, window).drifted) for window in windows)


def finds(profile: Profile, n: int, name: str, change: Callable[[Any, Random], Any]) -> bool:
    """Whether that input is called drifting, and no other."""
    rng = np.random.default_rng([2, n])
    columns = rows(rng, n)
    columns[name] = change(columns[name], rng)
    drifted = compare(profile, Window(columns, rows=n)).drifted
    for of in drifted:
        print(f"    {n:6} rows: {of.says} (PSI {of.psi or 0:.3f}, {of.outcome})", file=sys.stderr)
    return [of.name for of in drifted] == [name]


def seconds(profile: Profile, n: int, columns: int) -> float:
    window = Window(rows(np.random.default_rng(3), n, columns), rows=n)
    taken = []
    for _ in range(5):
        began = time.perf_counter()
        compare(profile, window)
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--columns", type=int, default=20)
    asked = parser.parse_args()
    rng = np.random.default_rng(0)
    profile = profile_of(rows(rng, REFERENCE))
    wide = profile if asked.columns == 20 else profile_of(rows(rng, REFERENCE, asked.columns))
    found: dict[str, Any] = {"rows": asked.rows, "columns": asked.columns}
    found["seconds_10k"] = round(seconds(wide, 10_000, asked.columns), 3)
    found["seconds"] = round(seconds(wide, asked.rows, asked.columns), 2)
    found["rss_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    found["profile_kib"] = round(len(wide.to_json()) / 1024, 1)
    found["false_flags_of_200"] = {str(n): flags(profile, n) for n in SIZES}
    found["false_flags_of_200_in_requests_of_32_rows"] = {
        str(n): flags(profile, n, in_requests) for n in (5000, 10_000)
    }
    found["false_flags_of_200_where_some_name_their_user"] = {str(n): flags(profile, n, mixed) for n in (5000, 10_000)}
    small = profile_of(rows(rng, 500))
    found["false_flags_of_200_with_500_reference_rows"] = {str(n): flags(small, n) for n in (200, 5000)}
    by_change: dict[str, list[int]] = {}
    for what, (name, change) in PLANTED.items():
        print(what, file=sys.stderr)
        by_change[what] = [n for n in SIZES if finds(profile, n, name, change)]
    found["planted"] = len(PLANTED)
    found["planted_found"] = sum(CLAIMED in sizes for sizes in by_change.values())
    found["planted_found_in_windows_of"] = by_change
    shifted = (finds(profile, n, QUARTER[0], lambda x, _: x + QUARTER[1]) for n in SIZES)
    found["quarter_sigma_found_in"] = [n for n, is_found in zip(SIZES, shifted, strict=True) if is_found]
    found |= performance()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
