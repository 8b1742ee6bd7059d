"""A series of Prometheus as a value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["gauge", "counter", "histogram"]
Source = Literal["exporter", "envoy", "replica", "rule"]


@dataclass(frozen=True, slots=True)
class Series:
    """`name`: of a counter with its `_total`, where it has one; of a histogram without `_bucket`, `_sum`, `_count`."""

    name: str
    kind: Kind
    unit: str
    labels: tuple[str, ...]
    help: str
    source: Source = "exporter"

    @property
    def samples(self) -> tuple[str, ...]:
        """The names under which Prometheus keeps it."""
        return tuple(f"{self.name}_{end}" for end in _PARTS) if self.kind == "histogram" else (self.name,)


_PARTS = ("bucket", "sum", "count")


def gauge(name: str, unit: str, labels: tuple[str, ...], help_: str) -> Series:
    return Series(name, "gauge", unit, labels, help_)
