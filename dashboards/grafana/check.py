"""Whether every panel of every dashboard has something to show in a Prometheus that scraped a rollout."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lockgate.dashboards.grafana.ask import Prometheus
from lockgate.dashboards.grafana.errors import Unanswered
from lockgate.dashboards.grafana.queries import Times, asked, marked, panels

_LABELLED = (
    "Performance",
    "Performance by labels",
    "Coverage",
    "Coverage over time",
    "Labels come within",
    "Labelled",
    "Latest label",
)
_SAID = ("Time to first token", "Tokens")
_ON_A_GPU = ("GPU", "GPU memory", "GPU temperature and power")
EMPTY = {
    ("lockgate-rollout", "Step's time left"): "the step has no timeout, or no rollout is open",
    ("lockgate-rollout", "Approval: time left"): "nobody is asked to approve",
    ("lockgate-rollout", "Effect"): "there is no A/B test",
    ("lockgate-rollout", "Approvals"): "the present step is no approval",
    ("lockgate-rollout", "Approval asked"): "nobody was asked to approve",
    ("lockgate-rollout", "Rolling back"): "nothing was rolled back",
    ("lockgate-rollout", "Ended"): "no rollout has ended",
    ("lockgate-drift", "Approval asked"): "nobody was asked to approve",
    ("lockgate-drift", "Rolling back"): "nothing was rolled back",
    ("lockgate-drift", "Ended"): "no rollout has ended",
    ("lockgate-fleet", "Requests to a decision"): "no rollout has ended",
    **{("lockgate-drift", title): "the spec asks for no performance, or nothing was labelled" for title in _LABELLED},
    **{("lockgate-serving", title): "no server of a language model is scraped: `--model-server`" for title in _SAID},
    **{("lockgate-serving", title): "NVIDIA's driver tells of no GPU on this machine" for title in _ON_A_GPU},
}
"""Panels and annotations that may be empty, and what it means when they are."""
UNUSED = {
    "lockgate_rollout_steps": "the timeline shows those that began; how many come, the spec says",
    "lockgate_controller_lease_timestamp_seconds": "lockgate_controller_driven says it for people",
    "lockgate_restarts_total": "what a restart costs clients is drawn already; this tells what died, for whoever asks",
}
"""Series of the exporter that no dashboard shows, and why."""


@dataclass(frozen=True, slots=True)
class Found:
    """How many series each query of a panel, or of an annotation, has; or why it has none."""

    dashboard: str
    panel: str
    series: Mapping[str, int]
    error: str = ""

    @property
    def empty(self) -> bool:
        return not any(self.series.values())

    @property
    def explained(self) -> str:
        """What it means that it is empty, where that is no fault."""
        return "" if self.error else EMPTY.get((self.dashboard, self.panel), "")

    @property
    def wrong(self) -> bool:
        return bool(self.error) or (self.empty and not self.explained)


def checked(
    documents: Mapping[str, Mapping[str, Any]], prometheus: Prometheus, values: Mapping[str, str], times: Times
) -> Iterator[Found]:
    """Of every panel and annotation. `values`: of the dashboards' variables, like name."""
    for document in documents.values():
        every = [(panel["title"], asked(document, panel, values, times)) for panel in panels(document)]
        every += [(query.panel, [query]) for query in marked(document, values, times)]
        for title, queries in every:
            try:
                series = {query.letter: len(prometheus.series(query, times)) for query in queries}
                yield Found(document["uid"], title, series)
            except Unanswered as reason:
                yield Found(document["uid"], title, {}, str(reason))
