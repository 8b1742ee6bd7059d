"""Rollouts in a store of their own, and what an exporter says of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from lockgate.flows.approval.words import plain
from lockgate.flows.home import Home
from lockgate.flows.metrics.collector import RolloutCollector
from lockgate.monitoring.drift.words import Compared, Comparison, Distance, Share
from lockgate.monitoring.measurement import Histogram, Tally
from lockgate.monitoring.performance.words import Performance
from lockgate.rollout.analysis.analysis import Analysis
from lockgate.rollout.analysis.words import Look
from lockgate.rollout.progress import Progress
from lockgate.rollout.spec import RolloutSpec
from lockgate.rollout.store import Rollout, Store, opened
from lockgate.rollout.words import Counts

NOW = 2000.0
EDGES = (1.0, 2.0, float("inf"))
WELL = Tally(5000, 0, Histogram(EDGES, (4900, 5000, 5000)))
BROKEN = Tally(500, 100, Histogram(EDGES, (490, 500, 500)))
GATES = {"errors": {"metric": "error_rate", "margin": "1%"}, "latency": {"metric": "latency"}}
STEPS = (
    {"shadow": {"percent": 50}},
    {"canary": {"weight": 12.5, "timeout": "2h"}},
    {"approval": {"role": "risk-leads", "required": 2, "expires": "1h"}},
)
FACTS = {
    "stable_bento": "toy:a",
    "stable_digest": "aa",
    "stable_version": "1",
    "stable_target": "eager",
    "candidate_bento": "toy:b",
    "candidate_digest": "bb",
    "candidate_version": "2",
    "candidate_target": "xla",
}

Samples = dict[tuple[str, ...], float]


@dataclass
class Shown:
    """A scrape: the samples by their names and the values of their labels, in the labels' order."""

    samples: dict[str, Samples]

    def __getitem__(self, series: str) -> Samples:
        return self.samples.get(series, {})

    @property
    def count(self) -> int:
        return sum(len(of) for of in self.samples.values())


@dataclass
class Exporter:
    """A store, and the collector that reads it."""

    home: Home
    store: Store
    collector: RolloutCollector

    def open(self, name: str = "toy", rollout: str = "toy-1", at: float = 1000.0, **spec: Any) -> Rollout:
        made = RolloutSpec.model_validate({"steps": STEPS, "gates": GATES, **spec})
        subject = {"model": f"{name}-model", "stable": "1", "candidate": "2", "blue": "3"}
        one = Rollout(rollout, name, made, subject, {"monitoring": {"drift": {"threshold": 0.2}}}, at, None)
        self.store.open(one, at)
        return one

    def happen(self, rollout: Rollout, *happened: Any) -> None:
        for one in happened:
            last = self.store.last(rollout.id)
            self.store.append(rollout, last, one, last.at + 1)

    def look(self, rollout: Rollout, stable: Tally, candidate: Tally, step: int = 0) -> Progress:
        """Three looks at the same traffic, kept as the controller keeps them."""
        analysis = Analysis(rollout.spec)
        evidence = analysis.begin()
        for at in (1.0, 2.0, 3.0):
            evidence = analysis.look(evidence, Look(step, at, stable, candidate))
        counts = Counts(stable=stable, candidate=candidate, shadow=candidate)
        made = Progress(step, 3.0, evidence, step=counts, verdict=analysis.verdict(evidence, step))
        self.store.save_progress(rollout.id, made)
        return made

    def scrape(self) -> Shown:
        found: dict[str, Samples] = {}
        for family in self.collector.collect():
            for sample in family.samples:
                of = found.setdefault(sample.name, {})
                key = tuple(sample.labels.values())
                assert key not in of, f"{sample.name}{key} is there twice"
                of[key] = sample.value
        return Shown(found)


def feature(name: str, psi: float, outcome: Any = "same", role: Any = "input") -> Compared:
    distances = (Distance("values", psi, psi, 0.5, 300),)
    return Compared(name, role, "number", outcome, 300, Share(0.25, 0.0), distances)


def comparison(*features: Compared) -> Any:
    found = Comparison(features, drifting=True, severe=False, undecided=False, share=0.5, rows=300, reference_rows=900,
                       says="", until=1900.0)  # fmt: skip
    return plain(asdict(found))


def build(folder: Path, tag: str, digest: str) -> None:
    timings = [{"batch": 1, "p50": 0.001, "p99": 0.004, "rounds": 1, "calls": 1}]
    row = {"digest": digest, "compile_seconds": 12.5, "timings": timings}
    parity = {"max_abs_error": 2e-6, "agreement": 0.999}
    folder.mkdir(exist_ok=True)
    made = {"bento": {"tag": tag, "digest": digest}, "parity": parity, "rows": [row]}
    (folder / f"{digest}.json").write_text(json.dumps(made))


def performance(home: Home, name: str = "toy", **given: Any) -> None:
    """As the last look left it."""
    found = Performance("accuracy", "fraud", drifting=True, undecided=False, says="", labelled=1000, value=0.86)
    found = replace(found, baseline=0.92, limit=0.874, received=1900.0, lag=60.0, coverage=0.5, version="7")
    folder = home.root / name
    folder.mkdir(exist_ok=True)
    (folder / "performance.json").write_text(json.dumps(plain(asdict(replace(found, **given)))))


@pytest.fixture
def exporter(tmp_path: Path) -> Iterator[Exporter]:
    home = Home(tmp_path, f"sqlite:///{tmp_path / 'state.db'}")
    with opened(home.store_url) as store:
        collector = RolloutCollector(home, clock=lambda: NOW)
        yield Exporter(home, store, collector)
        collector.close()


@pytest.fixture
def words() -> Any:
    """This file's values: test modules cannot import one another."""
    import sys

    return sys.modules[__name__]
