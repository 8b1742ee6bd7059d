"""The folder that Prometheus reads: `prometheus.yml`, `rules/` and `targets/`. It may be mounted into a container."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from lockgate.dashboards.rules.files import rules
from lockgate.flows.observing.scraping import RULES, TARGETS, configuration

_HEAD = "# Written by `lockgate observe`, anew at each start.\n"


@dataclass(frozen=True, slots=True)
class Wanted:
    """`exporter`, `alertmanagers`: addresses. `scrape`: seconds. `objective`: percent of requests without error."""

    exporter: str
    scrape: float
    objective: float
    alertmanagers: Sequence[str] = ()


def written(at: Path, wanted: Wanted) -> Path:
    """Write everything but the targets. The folder of these. Raises `ValueError` for an objective that is none."""
    for folder in (TARGETS, RULES):
        (at / folder).mkdir(parents=True, exist_ok=True)
    for name, text in rules(wanted.objective).items():
        (at / RULES / name).write_text(text, encoding="utf-8")
    document = configuration(wanted.exporter, wanted.scrape, wanted.alertmanagers)
    text = _HEAD + yaml.safe_dump(document, sort_keys=False, width=120)
    (at / "prometheus.yml").write_text(text, encoding="utf-8")
    return at / TARGETS
