"""Whatever the order in which traffic, feedback, looks and restarts come: the looks add up to what happened."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lockgate.monitoring.feedback.exposures import SETTLING
from lockgate.monitoring.feedback.ledger import Came, Ledger, Measure, Told, Traffic
from lockgate.monitoring.feedback.store import Row, Store

DIGESTS = {"stable": "5" * 64, "candidate": "c" * 64, "small": "a" * 64, "v14": "b" * 64}
VARIANTS = list(DIGESTS)
BEGAN = 1_700_000_000.0
CHANGE = 40.0
SHARES = {
    "candidate": [(BEGAN, 0.5), (BEGAN + CHANGE, 0.25)],
    "small": [(BEGAN, 0.4), (BEGAN + CHANGE, 0.2)],
    "v14": [(BEGAN, 0.3)],
}
MEASURES = {
    "bought": Measure("binary", 10.0),
    "spent": Measure("continuous", 25.0, lowest=-4.0, highest=6.0),
    "rated": Measure("continuous", 15.0, "mean", lowest=0.0, highest=5.0),
}
LAST = 200.0
Counts = dict[tuple[Any, ...], tuple[float, ...]]


@dataclass(frozen=True)
class Request:
    at: float
    user: str | None
    variant: str
    delay: float

    @property
    def name(self) -> str:
        return f"{self.user}@{self.at}"

    @property
    def unit(self) -> str:
        return self.user or self.name


@dataclass(frozen=True)
class Feedback:
    at: float
    metric: str
    value: float
    user: str | None
    request: int | None
    delay: float


@dataclass(frozen=True)
class Look:
    at: float
    then: str


seconds = st.integers(0, 800).map(lambda tenths: tenths / 10)
delays = st.integers(0, 40).map(lambda tenths: tenths / 10)
users = st.sampled_from("abcd")
requests = st.builds(Request, seconds, st.none() | users, st.sampled_from(VARIANTS), delays)
feedback = st.builds(
    Feedback,
    seconds.map(lambda at: at + 0.05),  # captured times are rounded to microseconds
    st.sampled_from(sorted(MEASURES)),
    st.integers(-3, 5).map(float),
    st.none() | users,
    st.none() | st.integers(0, 30),
    delays,
)
looks = st.builds(Look, seconds, st.sampled_from(["record", "record", "forget", "die"]))


def expected(asked: Sequence[Request], told: Sequence[tuple[Feedback, str]]) -> Counts:
    counts: Counts = defaultdict(lambda: (0.0, 0.0, 0.0))

    def count(key: tuple[Any, ...], value: float) -> None:
        units, total, squares = counts[key]
        counts[key] = units + 1, total + value, squares + value * value

    of: dict[str, list[Request]] = defaultdict(list)
    for request in asked:
        if not any(change <= request.at < change + SETTLING for change in (0.0, CHANGE)):
            of[request.unit].append(request)
    for unit, mine in of.items():
        first = min(mine, key=lambda request: (request.at, VARIANTS.index(request.variant)))
        for pair in VARIANTS[1:]:
            if first.variant not in ("stable", pair):
                continue
            share = [chance for at, chance in SHARES[pair] if BEGAN + first.at >= at][-1]
            count((pair, "arrivals", share, first.variant), 0.0)
            if {"stable", pair} <= {request.variant for request in mine}:
                count((pair, "crossed", share), 0.0)
            for name, value in did(unit, first.at, told).items():
                count((pair, name, share, first.variant), value)
    return dict(counts)


def did(unit: str, first: float, told: Sequence[tuple[Feedback, str]]) -> dict[str, float]:
    """The user's value of each metric."""
    found = {}
    for name, measure in MEASURES.items():
        values = [row.value for row, whose in told if row.metric == name and whose == unit
                  and first <= row.at <= first + measure.window]  # fmt: skip
        value = float(max(values, default=0) > 0) if measure.kind == "binary" else sum(values)
        if measure.take == "mean":
            if not values:
                continue
            value /= len(values)
        low, high = measure.lowest, measure.highest
        found[name] = value if low is None or high is None else min(max(value, low), high)
    return found


def add(counts: Counts, pair: str, came: Came | Told) -> None:
    def plus(key: tuple[Any, ...], values: tuple[float, float, float]) -> None:
        if values[0]:
            counts[key] = tuple(a + b for a, b in zip(counts.get(key, (0.0, 0.0, 0.0)), values, strict=True))

    for arrivals in came.arrivals:
        plus((pair, "arrivals", arrivals.share, "stable"), (arrivals.stable, 0.0, 0.0))
        plus((pair, "arrivals", arrivals.share, pair), (arrivals.candidate, 0.0, 0.0))
        plus((pair, "crossed", arrivals.share), (arrivals.crossed, 0.0, 0.0))
    for name, groups in came.rewards.items():
        for group in groups:
            for variant, arm in (("stable", group.stable), (pair, group.candidate)):
                plus((pair, name, group.share, variant), (arm.units, arm.total, arm.squares))


def rounded(counts: Counts) -> Counts:
    return {key: tuple(round(value, 6) for value in values) for key, values in counts.items()}


def drive(folder: Path, events: Sequence[tuple[float, int, Any]], make: Callable[..., Any], records: Any) -> Counts:
    """What the recorded looks add up to. Requests go to two files of their variant in turn."""
    counts: Counts = {}
    files = {(variant, turn): make(digest, f"r{turn}") for variant, digest in DIGESTS.items() for turn in (0, 1)}
    traffic = Traffic(folder, DIGESTS["stable"], DIGESTS["candidate"], DIGESTS)
    others = {name: SHARES[name] for name in VARIANTS[2:]}

    def opened() -> Ledger:
        return Ledger(folder / "ledger.db", folder / "feedback.db", traffic, MEASURES, BEGAN, others=VARIANTS[2:])

    ledger, since = opened(), BEGAN
    with Store(folder / "feedback.db") as store:
        for turn, (at, _, event) in enumerate(events):
            if isinstance(event, Request):
                about = {"variant": event.variant, "digest": DIGESTS[event.variant], "unit": [event.user], "seconds": 0}
                writer = files[event.variant, turn % 2]
                writer.write(records([event.name], {}, at=BEGAN + event.at, **about))
            elif isinstance(event, Row):
                store.add([event], BEGAN + at)
            else:
                now = BEGAN + at
                came = ledger.came(since, now, SHARES["candidate"], others)
                assert came.blind == ""
                if event.then == "record":
                    told: dict[str, Came | Told] = {"candidate": came, **came.others}
                    for pair, of in told.items():
                        add(counts, pair, of)
                    since = max(since, now)
                elif event.then == "die":
                    ledger.__exit__(None, None, None)
                    ledger = opened()
    ledger.__exit__(None, None, None)
    return counts


@settings(deadline=None, max_examples=25, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    asked=st.lists(requests, min_size=1, max_size=14, unique_by=lambda request: (request.at, request.user)),
    told=st.lists(feedback, max_size=12),
    looked=st.lists(looks, max_size=12),
)
def test_the_looks_add_up(
    asked: list[Request],
    told: list[Feedback],
    looked: list[Look],
    records: Callable[..., Any],
    replica: Callable[..., Any],
) -> None:
    kind = type(replica())  # the fixture's folder is one for all examples
    whose: list[tuple[Feedback, str]] = []
    events: list[tuple[float, int, Any]] = [(request.at + request.delay, 0, request) for request in asked]
    for row in told:
        of = asked[(row.request or 0) % len(asked)]
        if not row.user:  # nobody knows a request's id before it was answered
            row = replace(row, at=max(row.at, of.at + 0.05))  # noqa: PLW2901
        named = {"unit": row.user} if row.user else {"request_id": of.name}
        whose.append((row, row.user or of.unit))
        events.append((row.at + row.delay, 1, Row(row.metric, row.value, BEGAN + row.at, **named)))
    events += [(look.at, 2, look) for look in looked] + [(LAST, 2, Look(LAST, "record"))]
    with tempfile.TemporaryDirectory() as folder, ExitStack() as files:

        def made(digest: str, name: str) -> Any:
            found = kind(Path(folder), digest, name)
            files.enter_context(found.sink)
            return found

        counts = drive(Path(folder), sorted(events, key=lambda event: event[:2]), made, records)
    assert rounded(counts) == rounded(expected(asked, whose))
