"""All simulations of one size, on all cores."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TimeElapsedColumn

from benchmarks.detection.cases import FAULT_WEIGHTS, OFTEN, RARE, Size
from benchmarks.detection.rows import Row
from benchmarks.detection.sections import dependent, every_second, false_alarms, fault
from benchmarks.detection.small import bound, passing

Job = Callable[[], list[Row]]


def jobs(size: Size) -> list[Job]:
    """In the order of their sections."""
    weights = [weight for weight in FAULT_WEIGHTS if any(cell.weight == weight for cell in size.fault_cells)]
    return [
        *(partial(false_alarms, size, cell) for cell in size.cells),
        *(partial(every_second, size, cell) for cell in size.second_cells),
        *(
            partial(dependent, size, cell, kind, shadow)
            for index, shadow in enumerate(size.shadows)
            for kind in size.kinds
            for cell in (size.second_cells if index else size.dependent_cells)
        ),
        *(partial(bound, size, weight, name) for name in size.harm if name.startswith("errors") for weight in weights),
        *(partial(fault, size, cell, name) for name in size.harm for cell in size.fault_cells),
        *(partial(passing, size, weight, share) for share in (RARE, OFTEN) for weight in weights),
    ]


def run(size: Size, workers: int | None = None) -> list[Row]:
    """The rows of all jobs, in their order. `workers`: processes; without them all cores are used, 0 is this one."""
    todo = jobs(size)
    with Progress(*Progress.get_default_columns(), MofNCompleteColumn(), TimeElapsedColumn(), console=_STDERR) as bar:
        task = bar.add_task("Simulating", total=len(todo))
        rows: list[Row] = []
        for found in _results(todo, len(os.sched_getaffinity(0)) if workers is None else workers):
            rows += found
            bar.advance(task)
    return rows


_STDERR = Console(stderr=True)


def _results(todo: list[Job], workers: int) -> Iterator[list[Row]]:
    if workers < 1:
        yield from (job() for job in todo)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for future in [pool.submit(job) for job in todo]:
            yield future.result()
