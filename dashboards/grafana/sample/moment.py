"""One sample, and the moment of a story that it is of."""

from __future__ import annotations

from dataclasses import dataclass

from lockgate.monitoring.catalog import CATALOG

_PARTS = ("_bucket", "_sum", "_count")


@dataclass(frozen=True, slots=True)
class Sample:
    """One line of what Prometheus scrapes."""

    name: str
    labels: tuple[tuple[str, str], ...]
    value: float

    def __str__(self) -> str:
        labels = ",".join(f'{name}="{value}"' for name, value in self.labels)
        return f"{self.name}{{{labels}}} {self.value!r}".replace(" inf", " +Inf")


def sample(name: str, value: float, /, **labels: str) -> Sample:
    """Raises `KeyError` and `ValueError` where the catalog knows no such series, or other labels."""
    family = next((name.removesuffix(part) for part in _PARTS if name.removesuffix(part) in CATALOG), name)
    wanted = {*CATALOG[family].labels, *(["le"] if name.endswith("_bucket") else [])}
    if wanted != set(labels):
        raise ValueError(f"{name} has the labels {sorted(labels)}; the catalog says {sorted(wanted)}")
    return Sample(name, tuple(sorted(labels.items())), float(value))


@dataclass(frozen=True, slots=True)
class Moment:
    """`at`: of the story, 0 to 1; `now`: unix seconds; `length`: of the whole story in seconds."""

    at: float
    now: float
    length: float

    def when(self, at: float) -> float:
        return self.now + (at - self.at) * self.length
