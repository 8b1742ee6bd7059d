"""What dashboards ask, read from their JSON, with Grafana's variables replaced as Grafana replaces them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

_VARIABLE = re.compile(r"\$(?:\{(\w+)(?::\w+)?\}|(\w+))")
_WIDEST = 24


@dataclass(frozen=True, slots=True)
class Times:
    """What a dashboard shows, in unix seconds. `every`: Prometheus's scrape interval in seconds."""

    start: float
    end: float
    every: float = 15.0

    def step(self, points: int) -> int:
        """Seconds between two of at most `points` points, whole and no shorter than a scrape."""
        return max(1, round(self.every), round((self.end - self.start) / points))

    def values(self, step: int) -> dict[str, str]:
        rate = max(step + self.every, 4 * self.every)
        whole = self.end - self.start
        return {"__interval": f"{step}s", "__rate_interval": f"{rate:.0f}s", "__range": f"{whole:.0f}s"}


@dataclass(frozen=True, slots=True)
class Asked:
    """One query as Prometheus gets it. `latest`: only its value at the end; else a point each `step` seconds."""

    dashboard: str
    panel: str
    letter: str
    expr: str
    latest: bool
    step: int


def panels(document: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Those that are drawn, also those that are folded away."""
    for panel in document["panels"]:
        yield from panel["panels"] if panel["type"] == "row" else (panel,)


def asked(
    document: Mapping[str, Any], panel: Mapping[str, Any], values: Mapping[str, str], times: Times
) -> list[Asked]:
    """The panel's queries. `values`: of the dashboard's variables; all, where one is not given."""
    step = times.step(panel.get("maxDataPoints", 400))
    every = {**everything(document), **values, **times.values(step)}
    return [
        Asked(document["uid"], panel["title"], of["refId"], filled(of["expr"], every), bool(of["instant"]), step)
        for of in panel["targets"]
    ]


def marked(document: Mapping[str, Any], values: Mapping[str, str], times: Times) -> list[Asked]:
    """What the annotations ask."""
    step = times.step(100)
    every = {**everything(document), **values, **times.values(step)}
    return [
        Asked(document["uid"], of["name"], "Anno", filled(of["target"]["expr"], every), latest=False, step=step)
        for of in document["annotations"]["list"]
    ]


def everything(document: Mapping[str, Any]) -> dict[str, str]:
    """The dashboard's variables that may be all of theirs."""
    return {of["name"]: of["allValue"] for of in document["templating"]["list"] if of.get("includeAll")}


def filled(expr: str, values: Mapping[str, str]) -> str:
    """With the variables' values; those without one stay."""

    def value(match: re.Match[str]) -> str:
        return values.get(match[1] or match[2], match[0])

    return _VARIABLE.sub(value, expr)


def repeated(panel: Mapping[str, Any], values: list[str]) -> list[dict[str, Any]]:
    """The panel once for each value of the variable that it repeats, side by side, as Grafana places it."""
    many = min(len(values), panel["maxPerRow"])
    out = []
    for i, value in enumerate(values):
        one = deepcopy(dict(panel))
        width, place = _WIDEST / many, one["gridPos"]
        one["gridPos"] = {**place, "w": width, "x": width * (i % many), "y": place["y"] + place["h"] * (i // many)}
        one["title"] = filled(one["title"], {panel["repeat"]: value})
        for target in one["targets"]:
            target["expr"] = filled(target["expr"], {panel["repeat"]: value})
        out.append(one)
    return out
