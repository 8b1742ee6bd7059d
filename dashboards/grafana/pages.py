"""All dashboards."""

from __future__ import annotations

from lockgate.dashboards.grafana import drift, fleet, rollout, serving
from lockgate.dashboards.grafana.dashboard import Page, text


def pages() -> tuple[Page, ...]:
    return fleet.page(), rollout.page(), serving.page(), drift.page()


def files() -> dict[str, str]:
    """What is checked in, by the name of its file."""
    return {page.file: text(page) for page in pages()}
