"""The simulations. Each function is one job: a cell, many rollouts at once, look by look."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.detection.cases import FAULTS, OFTEN, RARE, Size
from benchmarks.detection.field import MINUTE, MOST_ERRORS, MOST_MS, Field
from benchmarks.detection.ours import ALL, GATES, TIGHT, Judge, spec
from benchmarks.detection.rows import Row, seeded, summarised
from benchmarks.detection.traffic import Cell, Kind, Law, Traffic

LOOK, SHADOW = 10.0, 600.0
TIGHTER = "Lockgate default, margin 5 %"


def false_alarms(size: Size, cell: Cell) -> list[Row]:
    """Equal sides, a look every 10 s, the default profile: every gate alone, all together, and the rivals."""
    rare = _alarms(size, cell, ("errors",), RARE)
    often = _alarms(size, cell, (*GATES, ALL), OFTEN)
    return [*rare, *often]


def _alarms(size: Size, cell: Cell, gates: tuple[str, ...], share: float) -> list[Row]:
    latency = len(gates) > 1
    traffic = Traffic(cell, (Law(share), Law(share)), size.aa, latency=latency)
    traffic.begin(seeded("aa", cell, share), size.minutes * MINUTE)
    judges = {gate: Judge(spec(gate, (cell.weight,), "default"), size.aa) for gate in gates}
    field = Field(latency=latency)
    for _ in range(round(size.minutes * MINUTE / LOOK)):
        split = traffic.take(LOOK)
        field.add(split, LOOK)
        for judge in judges.values():
            judge.look(split)
    row = Row("false alarms", "", "", cell.rps, cell.weight, 0, 0)
    of = f"errors {share:.1%}"
    rows = [
        summarised(replace(row, case=of if gate == "errors" else gate, rule="Lockgate default"), judge.failed)
        for gate, judge in judges.items()
    ]
    found = [(of, field.errors(MOST_ERRORS[share]))] + ([("p99", field.latency(MOST_MS))] if latency else [])
    rows += [summarised(replace(row, case=case, rule=rule), at) for case, by in found for rule, at in by.items()]
    return rows


def every_second(size: Size, cell: Cell) -> list[Row]:
    """Equal sides, a look every second, all gates."""
    traffic = Traffic(cell, (Law(OFTEN), Law(OFTEN)), size.aa)
    traffic.begin(seeded("second", cell), size.minutes * MINUTE)
    judge = Judge(spec(ALL, (cell.weight,), "default"), size.aa)
    for _ in range(round(size.minutes * MINUTE)):
        judge.look(traffic.take(1.0))
    row = Row("false alarms", "all, look a second", "Lockgate default", cell.rps, cell.weight, 0, 0)
    return [summarised(row, judge.failed)]


def dependent(size: Size, cell: Cell, kind: Kind, shadow: str) -> list[Row]:
    """Equal sides whose requests are not independent, after ten minutes of a shadow step.

    `shadow`: stable is seen `alone`, the candidate answers copies (`mirrored`), or there is no such step (`none`).
    """
    traffic = Traffic(cell, (Law(OFTEN), Law(OFTEN)), size.dependent, kind)
    before = 0.0 if shadow == "none" else SHADOW
    length = size.minutes * MINUTE
    traffic.begin(seeded("dependent", cell, kind.name, shadow), before + length, quiet=before)
    judges = {
        gate: Judge(spec(gate, (cell.weight,), "default", shadow=before > 0), size.dependent)
        for gate in ("errors", "p99", ALL)
    }
    shares = (1.0, 1.0 if shadow == "mirrored" else 0.0)
    for index in range(round((before + length) / LOOK)):
        shadowed = index * LOOK < before
        split = traffic.take(LOOK, shares if shadowed else None)
        for judge in judges.values():
            judge.look(split, 0 if shadowed or not before else 1, replicas=True)
    row = Row("dependent", kind.name, "", cell.rps, cell.weight, 0, 0)
    return [summarised(replace(row, rule=f"{gate}; {shadow}"), judge.failed) for gate, judge in judges.items()]


def fault(size: Size, cell: Cell, name: str) -> list[Row]:
    """One fault from the first request on: ours looks every second in the first minute, then every 2 to 10 s."""
    sides = FAULTS[name]
    latency = name.startswith("p99")
    traffic = Traffic(cell, sides, size.faults, latency=latency)
    traffic.begin(seeded("fault", cell, name), size.minutes * MINUTE)
    gate = "p99" if latency else "errors"
    judges = {f"Lockgate {name}": Judge(spec(gate, (cell.weight,), name), size.faults) for name in size.profiles}
    if latency:
        judges[TIGHTER] = Judge(spec(TIGHT, (cell.weight,), "default"), size.faults)
    field = Field(latency=latency)
    elapsed = 0.0
    while elapsed < size.minutes * MINUTE:
        waiting = [judge for judge in judges.values() if not judge.done]
        seconds = _until_look(elapsed) if waiting else MINUTE - elapsed % MINUTE
        split = traffic.take(seconds)
        field.add(split, seconds)
        for judge in waiting:
            judge.look(split)
        elapsed += seconds
    by = field.latency(MOST_MS) if latency else field.errors(MOST_ERRORS[sides[0].errors])
    ours = {rule: judge.failed for rule, judge in judges.items()}
    row = Row("faults", name, "", cell.rps, cell.weight, 0, 0)
    return [summarised(replace(row, rule=rule), at) for rule, at in {**ours, **by}.items()]


def _until_look(elapsed: float) -> float:
    """At most 4 % of what has gone by, and never across a minute's end."""
    longest = max(1.0, 0.04 * elapsed)
    return min(next(step for step in (10.0, 5.0, 2.0, 1.0) if step <= longest), MINUTE - elapsed % MINUTE)
