"""One dashboard as what is checked in: Grafana's JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from grafana_foundation_sdk.builders import dashboard as sdk
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import DashboardCursorSync, DashboardLink, VariableModel

from lockgate.dashboards.grafana.annotations import Mark
from lockgate.dashboards.grafana.layout import Folded, Line, placed
from lockgate.dashboards.grafana.variables import TAG, beside, source


@dataclass(frozen=True, slots=True)
class Page:
    """`since`: how far back it shows at first, like 1h."""

    uid: str
    title: str
    description: str
    lines: Sequence[Line | Folded]
    variables: Sequence[Builder[VariableModel]] = ()
    marks: Sequence[Mark] = ()
    links: Sequence[DashboardLink] = field(default=())
    since: str = "1h"

    @property
    def file(self) -> str:
        return f"{self.uid.removeprefix('lockgate-')}.json"


def text(page: Page) -> str:
    """The JSON, with its keys in order, so that changes are seen."""
    return json.dumps(document(page), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def document(page: Page) -> dict[str, Any]:
    built = (
        sdk.Dashboard(page.title)
        .uid(page.uid)
        .description(page.description)
        .tags([TAG])
        .timezone("browser")
        .time(f"now-{page.since}", "now")
        .refresh("10s")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .variables([source(), *page.variables])
        .build()
    )
    built.panels = placed(page.lines)
    built.links = [beside(), *page.links]
    out: dict[str, Any] = json.loads(json.dumps(built, cls=JSONEncoder))
    out["annotations"] = {"list": [mark.to_json() for mark in page.marks]}
    _mend(out)
    return out


def _mend(out: dict[str, Any]) -> None:
    """What the SDK writes and Grafana's own types do not know, or miss."""
    for variable in out["templating"]["list"]:
        for name in ("auto", "auto_count", "auto_min"):  # of variables of another kind
            variable.pop(name, None)
    for panel in out["panels"]:
        if panel["type"] != "row":
            panel.setdefault("fieldConfig", {"defaults": {}, "overrides": []})
        if panel["type"] == "table":
            del panel["options"]["footer"]  # each column has its own since Grafana 12
