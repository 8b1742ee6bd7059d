"""Kill anything, at any moment, under live load, and lose nothing: python -m benchmarks.chaos.

Without --matrix: real bentos behind a real Envoy, rolled out by `lockgate run`; the candidate is killed whenever it
answers half of the requests. With --matrix: faults at every site of a rollout, several to a rollout, with replicas of
plain Python. The last line is JSON; the exit code is 1 where a request failed that need not, or an invariant is broken.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from benchmarks.chaos import kills, table
from benchmarks.chaos.faults import UP, Point, planned, possible
from benchmarks.chaos.matrix import GATES, STEPS, Found, under_load
from benchmarks.chaos.rounds import Played
from benchmarks.chaos.stage import opened

_say = Console(stderr=True, highlight=False, width=None if sys.stderr.isatty() else 160)
_SPARE = 2
"""Points that are planned for each that is struck: some sites are not come by again."""


def main() -> int:
    asked = _arguments()
    line = matrix(asked) if asked.matrix else kills.run(asked.requests, asked.kills, asked.rate, _say)
    print(json.dumps(line))
    return int(bool(line["broken_invariants"] or line.get("client_failures")))


def matrix(asked: argparse.Namespace) -> dict[str, Any]:
    """Points that `--results` has already are left out, and are in the last line."""
    results = Path(asked.results)
    done = [json.loads(row) for row in results.read_text().splitlines()] if results.exists() else []
    seen = {row["number"] for row in done}
    with opened({"steps": STEPS[UP], "gates": GATES}) as stage:
        if asked.servers:
            stage.serve()
        with under_load(stage) as it:
            it.learn()
            faults = possible(disk=stage.own_disk, servers=asked.servers)
            plan = planned(it.catalogue, asked.points * _SPARE, asked.seed, faults)
            _play(it, [point for point in plan if point.number not in seen], results, asked.points - len(done))
    for breach in it.found.breaches:
        _say.print(breach, style="red", markup=False)
    everything = [*done, *it.found.struck]
    _say.print(table.of(everything))
    return {**it.found.line(), "seed": asked.seed, "points_in_all": len(everything)}


def _play(it: Any, plan: list[Point], results: Path, enough: int) -> None:
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=_say) as progress, results.open("a", encoding="utf-8") as kept:
        bar = progress.add_task("points", total=enough)
        written = 0

        def seen(_played: Played, _struck: int) -> None:
            nonlocal written
            found: Found = it.found
            for row in found.struck[written:]:
                kept.write(json.dumps(row) + "\n")
            kept.flush()
            written = len(found.struck)
            progress.update(bar, completed=written, description=f"{len(found.breaches)} broken")

        it.strike(plan, seen, enough)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=100_000, help="at least so many, through rollouts")
    parser.add_argument("--kills", type=int, default=10, help="of the candidate, at half of the traffic")
    parser.add_argument("--rate", type=float, default=400.0, help="requests per second")
    parser.add_argument("--matrix", action="store_true", help="the crash matrix instead")
    parser.add_argument("--points", type=int, default=1000, help="of the crash matrix")
    servers = "of the matrix: MLflow, Prefect and Prometheus are servers, which are killed and frozen"
    parser.add_argument("--servers", action="store_true", help=servers)
    parser.add_argument("--seed", type=int, default=1, help="of the plan of points")
    parser.add_argument("--results", default="chaos.jsonl", help="a line per point; what is in it is not played again")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
