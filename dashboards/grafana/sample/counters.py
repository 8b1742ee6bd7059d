"""What only grows, of one story: what the router and the replicas would have counted."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from random import Random

from lockgate.dashboards.grafana.sample.stories import Side, Stage, Story

MILLISECONDS = (0.5, 1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 25, 30, 40, 60, 100, 250, 500, 1000, math.inf)
SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, math.inf)
ROWS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, math.inf)
_ROUTER = 0.0012
"""Seconds that the way through the router adds."""
_WIDE = 0.42
"""Of the latencies' logarithm: how much they scatter."""

Key = tuple[str, str, str]
"""Of a count: its series, variant and traffic or replica."""


class Counters:
    """`counts` by series, side and what else tells it apart; `buckets` the same of histograms, cumulative."""

    def __init__(self, story: Story, seed: int) -> None:
        self._story, self._random = story, Random(seed)  # noqa: S311 - a sample, not a secret
        self.counts: Counter[Key] = Counter()
        self.buckets: dict[Key, Counter[float]] = {}
        self.sums: Counter[Key] = Counter()
        self.in_step: Counter[str] = Counter()
        self._step = -1

    def advance(self, at: float, seconds: float) -> None:
        """By what comes in `seconds` at the moment `at` of the story."""
        stage, story = self._story.stage(at), self._story
        if stage.step != self._step:
            self.in_step.clear()
            self._step = stage.step
        coming = story.rate * seconds * (1 + 0.18 * math.sin(9 * at)) * self._random.uniform(0.94, 1.06)
        for variant, side, traffic, share in _sides(story, stage):
            many = self._many(coming * share)
            self._route(variant, side, traffic, many)
            self._serve(variant, side, many, at)
            if traffic == "live" or not stage.weight:
                self.in_step[variant] += many
        self._clients(self._many(coming))

    def _many(self, expected: float) -> int:
        return max(0, round(self._random.gauss(expected, math.sqrt(expected + 1e-9))))

    def _route(self, variant: str, side: Side, traffic: str, many: int) -> None:
        failed = self._many(many * side.errors)
        rescued = failed if variant == "candidate" and traffic == "live" else 0
        for name, value in {
            "completed": many,
            "2xx": many - failed + rescued,
            "5xx": failed - rescued,
            "retry_success": rescued,
            "timeout": 0,
            "max_duration_reached": 0,
            "pending_overflow": 0,
        }.items():
            self.counts[name, variant, traffic] += value
        self._observe(("time", variant, traffic), MILLISECONDS, 1000 * (side.latency + _ROUTER), many)

    def _serve(self, variant: str, side: Side, many: int, at: float) -> None:
        """Two replicas of each; a busy disk between two thirds and three quarters of the story drops some captures."""
        for replica in ("0", "1"):
            part = many // 2 + (replica == "0") * (many % 2)
            failed = self._many(part * side.errors)
            rows = part * 4
            dropped = self._many(part * 0.02) if 0.66 < at < 0.72 else 0
            for name, value in {
                "200": part - failed,
                "422": self._many(part * 0.0004),
                "500": failed,
                "rows": rows,
                "captured_rows": rows - 4 * dropped,
                "captured_bytes": 61 * (rows - 4 * dropped),
                "capture_dropped": dropped,
                "capture_failures": 0,
            }.items():
                self.counts[name, variant, replica] += value
            self._observe(("request", variant, replica), SECONDS, side.latency, part)
            self._observe(("engine", variant, replica), SECONDS, side.latency * 0.7, part)
            self._observe(("batch", variant, replica), ROWS, 9.0, part // 3, 0.8)

    def _clients(self, many: int) -> None:
        self.counts["clients 2xx", "", ""] += many
        self.counts["clients 5xx", "", ""] += self._many(many * self._story.stable.errors / 2)
        self.counts["clients 4xx", "", ""] += self._many(many * 0.0004)
        self._observe(("clients", "", ""), MILLISECONDS, 1000 * (self._story.stable.latency + 2 * _ROUTER), many)

    def _observe(self, key: Key, edges: tuple[float, ...], median: float, many: int, wide: float = _WIDE) -> None:
        """So many around the median, with a tail: every two-hundredth takes four times as long."""
        buckets = self.buckets.setdefault(key, Counter())
        for edge in edges:
            below = 0.995 * _share(edge, median, wide) + 0.005 * _share(edge, 4 * median, wide)
            buckets[edge] += round(many * below)
        self.sums[key] += round(many * median * 1.1)


def _sides(story: Story, stage: Stage) -> Iterator[tuple[str, Side, str, float]]:
    """Variant, how it answers, traffic, and share of the requests."""
    yield "stable", story.stable, "live", 1 - stage.weight
    if stage.phase != "building":
        yield "candidate", story.candidate, "live", stage.weight
        yield "candidate", story.candidate, "shadow", stage.mirror


def _share(edge: float, median: float, wide: float) -> float:
    """Of a lognormal, that is at most `edge`."""
    if math.isinf(edge):
        return 1.0
    return 0.5 * (1 + math.erf(math.log(edge / median) / wide / math.sqrt(2)))
