"""The sample as text: scraped now, or with its times, for `promtool tsdb create-blocks-from openmetrics`."""

from __future__ import annotations

from collections.abc import Iterator

from lockgate.dashboards.grafana.sample.counted import counted
from lockgate.dashboards.grafana.sample.counters import Counters
from lockgate.dashboards.grafana.sample.moment import Moment, Sample
from lockgate.dashboards.grafana.sample.series import exporter, samples
from lockgate.dashboards.grafana.sample.stories import stories


class Feed:
    """`length`: of the story in seconds. Its moments come one after another."""

    def __init__(self, length: float) -> None:
        self._length = length
        self._each = [(story, Counters(story, seed)) for seed, story in enumerate(stories())]
        self._last = 0.0

    def at(self, seconds: float, now: float) -> Iterator[Sample]:
        """Everything, `seconds` after the beginning: not before the last call's; after the end it stays so."""
        moment = Moment(min(1.0, seconds / self._length), now, self._length)
        for story, counters in self._each:
            counters.advance(moment.at, seconds - self._last)
            yield from samples(story, counters, moment)
            yield from counted(story, counters)
        self._last = seconds
        yield from exporter()


def scraped(feed: Feed, seconds: float, now: float) -> str:
    """As an endpoint answers it."""
    return "".join(f"{of}\n" for of in feed.at(seconds, now))


def backfilled(length: float, end: float, every: float) -> Iterator[str]:
    """A whole story that is at its end at `end`, in unix seconds, with a moment each `every` seconds; OpenMetrics."""
    feed = Feed(length)
    for i in range(int(length / every) + 1):
        now = end - length + i * every
        for of in feed.at(i * every, now):
            yield f"{of} {now:.3f}\n"
    yield "# EOF\n"
