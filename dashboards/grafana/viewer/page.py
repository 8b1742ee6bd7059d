"""What the viewer's page draws: the dashboard, and Prometheus's answers to all that it asks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lockgate.dashboards.grafana.ask import Prometheus
from lockgate.dashboards.grafana.queries import Times, asked, marked, repeated

WIDTH = 1600


@dataclass(frozen=True, slots=True)
class Sight:
    """What is looked at. `mode`: dark or light."""

    values: Mapping[str, str]
    times: Times
    mode: str = "dark"


def page(document: Mapping[str, Any], prometheus: Prometheus, sight: Sight) -> dict[str, Any]:
    """For `window.lockgate`."""
    return {
        "page": {
            "title": document["title"],
            "width": WIDTH,
            "mode": sight.mode,
            "from": sight.times.start,
            "to": sight.times.end,
            "raw": document["time"],
            "choices": _choices(document, sight.values),
            "links": [link["title"] for link in document["links"]],
            "marks": list(_marks(document, prometheus, sight)),
            "marked": [[of["name"], of["iconColor"]] for of in document["annotations"]["list"]],
        },
        "panels": [
            {"panel": panel, "answers": _answers(document, panel, prometheus, sight)}
            for panel in _shown(document, prometheus, sight)
        ],
    }


def _choices(document: Mapping[str, Any], values: Mapping[str, str]) -> list[list[str]]:
    visible = [of for of in document["templating"]["list"] if of["type"] == "query" and not of.get("hide")]
    return [[of["label"], values.get(of["name"], "All")] for of in visible]


def _shown(document: Mapping[str, Any], prometheus: Prometheus, sight: Sight) -> Iterator[dict[str, Any]]:
    lower = 0
    for panel in document["panels"]:
        panel["gridPos"]["y"] += lower
        name = panel.get("repeat")
        if not name:
            yield panel
            continue
        series = next(of for of in document["templating"]["list"] if of["name"] == name)["query"]["query"]
        of = series.removeprefix("label_values(").rpartition(",")[0].replace("$name", sight.values.get("name", ""))
        each = repeated(panel, prometheus.values(name, of, sight.times))
        lower += max(one["gridPos"]["y"] for one in each) - panel["gridPos"]["y"]
        yield from each


def _answers(
    document: Mapping[str, Any], panel: Mapping[str, Any], prometheus: Prometheus, sight: Sight
) -> list[dict[str, Any]]:
    if panel["type"] == "row":
        return []
    queries = asked(document, panel, sight.values, sight.times)
    return [
        {"target": target, "step": query.step, "result": prometheus.series(query, sight.times)}
        for target, query in zip(panel["targets"], queries, strict=True)
    ]


def _marks(document: Mapping[str, Any], prometheus: Prometheus, sight: Sight) -> Iterator[dict[str, Any]]:
    """Each moment once; of values that follow one another closely, the first."""
    for of, query in zip(document["annotations"]["list"], marked(document, sight.values, sight.times), strict=True):
        for series in prometheus.series(query, sight.times):
            last = 0.0
            for at, value in series["values"]:
                time = float(value) if of["useValueForTime"] else at * 1000
                if float(value) > 0 and time > last + query.step * 1000:
                    yield {"time": time, "color": of["iconColor"]}
                    last = time
