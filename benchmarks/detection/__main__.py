"""Our judge beside the field's rules on simulated rollouts: python -m benchmarks.detection [--quick].

False rollbacks of equal candidates, requests until a fault is rolled back, and until a healthy candidate passes. Every
number comes from the product's own code, or from the rivals' rules in rivals.py. The last line is JSON.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path

from rich.console import Console

from benchmarks.detection import picture
from benchmarks.detection.cases import FULL, QUICK, Size
from benchmarks.detection.field import LIMITS, RULES
from benchmarks.detection.jobs import run
from benchmarks.detection.ours import GATES
from benchmarks.detection.rows import Row
from benchmarks.detection.sections import LOOK, SHADOW
from benchmarks.detection.summary import summary
from benchmarks.detection.tables import Sheet, sheets
from benchmarks.detection.traffic import MEDIAN, P99
from lockgate.rollout.profile import PROFILES


def main(arguments: Sequence[str] | None = None) -> None:
    asked = _asked(arguments)
    size = QUICK if asked.quick else FULL
    if asked.rollouts:
        size = replace(size, aa=asked.rollouts, dependent=asked.rollouts, faults=asked.rollouts)
    report(size, asked.output)


def report(size: Size, output: Path | None = None, workers: int | None = None) -> None:
    """Simulates, prints the tables, writes them to `output`, and prints the last line."""
    began = time.monotonic()
    rows = run(size, workers)
    pages = [*_settings(size), *sheets(rows)]
    console = Console(width=None if sys.stdout.isatty() else _WIDTH)
    for page in pages:
        console.print(page.title, style="bold")
        console.print(page.rich())
    if output:
        _write(output, pages, rows)
    print(json.dumps({**summary(rows), "seconds": round(time.monotonic() - began, 1)}))


_WIDTH = 210


def _settings(size: Size) -> list[Sheet]:
    """What was compared, and with which numbers."""
    lines = [
        *((f"Lockgate {name}", str(PROFILES[name])) for name in size.profiles),
        ("Lockgate's gates", f"{', '.join(GATES)}, each with the spec's default margin"),
        *RULES.items(),
        ("Limits", LIMITS),
        ("Traffic", f"lognormal latencies, median {MEDIAN:g} ms, p99 {P99:g} ms; slow: only the slowest 5 %"),
        ("Rollouts", f"{size.aa} equal, {size.dependent} dependent, {size.faults} with each fault; {size.minutes} min"),
        ("Looks", f"equal ones every {LOOK:g} s; faults every second at first, then at most 4 % of what has gone by"),
        ("Dependent", f"after a shadow step of {SHADOW:g} s; {', '.join(kind.name for kind in size.kinds)}"),
    ]
    return [Sheet("What is compared", ("", "by"), tuple(lines), numbers=False)]


def _write(output: Path, pages: Sequence[Sheet], rows: Sequence[Row]) -> None:
    output.mkdir(parents=True, exist_ok=True)
    (output / "detection.md").write_text("\n".join(page.markdown() for page in pages), encoding="utf-8")
    with (output / "detection.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Row)])
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)
    picture.draw(rows, output / "detection.png")


def _asked(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.detection", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rollouts and cells: ten minutes instead of 17")
    parser.add_argument("--rollouts", type=int, help="simulated in each cell, in place of the size's own numbers")
    parser.add_argument("--output", type=Path, help="a folder for the tables (Markdown, CSV) and a picture")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
