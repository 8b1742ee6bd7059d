"""What the reader of a dashboard chooses at its top, and the links beside it."""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import DatasourceVariable, QueryVariable, TextBoxVariable
from grafana_foundation_sdk.models.dashboard import (
    DashboardLink,
    DashboardLinkType,
    VariableHide,
    VariableOption,
    VariableRefresh,
    VariableSort,
)

from lockgate.dashboards.grafana.targets import SOURCE

TAG = "lockgate"
MLFLOW, PREFECT = "http://127.0.0.1:5000", "http://127.0.0.1:4200"
"""Addresses until the reader writes their own."""


def source() -> DatasourceVariable:
    """Which Prometheus."""
    return DatasourceVariable("datasource").label("Data source").type("prometheus")


def label(name: str, text: str, of: str) -> QueryVariable:
    """One value of a label. `of`: a series with it, and with what narrows it."""
    return _query(name, f"label_values({of}, {name})").label(text)


def labels(name: str, text: str, of: str) -> QueryVariable:
    """Several values, or all. Used as `=~"$name"`."""
    every = VariableOption(selected=True, text=["All"], value=["$__all"])
    return label(name, text, of).multi(multi=True).include_all(include_all=True).all_value(".*").current(every)


def hidden(name: str, of: str, wanted: str) -> QueryVariable:
    """The label `wanted` of the one series `of` as it is now: for links."""
    found = _query(name, f"query_result({of})").regex(f'/{wanted}="([^"]*)"/')
    return found.hide(VariableHide.HIDE_VARIABLE)


def address(name: str, text: str, default: str) -> TextBoxVariable:
    chosen = VariableOption(selected=True, text=default, value=default)
    return TextBoxVariable(name).label(text).default_value(default).current(chosen).options([chosen])


def _query(name: str, query: str) -> QueryVariable:
    return (
        QueryVariable(name)
        .datasource(SOURCE)
        .query({"query": query, "refId": f"variable-{name}"})
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.ALPHABETICAL_ASC)
    )


def beside() -> DashboardLink:
    """The other dashboards, with the same choices and times."""
    return DashboardLink(
        title="Lockgate", type_val=DashboardLinkType.DASHBOARDS, tags=[TAG], include_vars=True, keep_time=True
    )


def away(title: str, url: str, tooltip: str) -> DashboardLink:
    """To another server, in a tab of its own."""
    return DashboardLink(
        title=title,
        type_val=DashboardLinkType.LINK,
        url=url,
        tooltip=tooltip,
        icon="external link",
        target_blank=True,
    )
