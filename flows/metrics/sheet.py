"""Samples on their way to Prometheus: each is of a series in the catalog, with just its labels, and once."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from lockgate.monitoring import catalog

_LONGEST = 120
"""Characters of a label's value: names of features come from outside."""


class Sheet:
    def __init__(self) -> None:
        self._samples: dict[str, dict[tuple[str, ...], float]] = {}

    def put(self, series: str, value: float | None, **labels: str) -> None:
        """None is no sample. Raises `KeyError` for what is not in the catalog, and `ValueError` for other labels."""
        of = catalog.CATALOG[series]
        if set(labels) != set(of.labels):
            raise ValueError(f"{series} has the labels {', '.join(of.labels) or '(none)'}, not {', '.join(labels)}")
        if value is not None:
            self._samples.setdefault(series, {})[tuple(labels[key][:_LONGEST] for key in of.labels)] = float(value)

    def add(self, other: Sheet) -> None:
        for series, samples in other._samples.items():
            self._samples.setdefault(series, {}).update(samples)

    def families(self) -> Iterator[Metric]:
        """In the catalog's order."""
        for series in catalog.of("exporter"):
            if samples := self._samples.get(series.name):
                family = CounterMetricFamily if series.kind == "counter" else GaugeMetricFamily
                made = family(series.name, series.help, labels=series.labels)
                for labels, value in samples.items():
                    made.add_metric(labels, value)
                yield made
