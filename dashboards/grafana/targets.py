"""What a panel asks Prometheus."""

from __future__ import annotations

from dataclasses import dataclass
from string import ascii_uppercase

from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.cog import variants
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models.dashboard import DataSourceRef
from grafana_foundation_sdk.models.prometheus import PromQueryFormat, QueryEditorMode

SOURCE = DataSourceRef("prometheus", "${datasource}")
"""Which Prometheus it is, the dashboard's reader chooses."""
NAME = 'name="$name"'


@dataclass(frozen=True, slots=True)
class Query:
    """`legend`: a series' name, with `{{label}}`. `latest`: only now's value. `table`: a row for each series."""

    expr: str
    legend: str = ""
    latest: bool = False
    table: bool = False
    buckets: bool = False


def now(expr: str, legend: str = "") -> Query:
    return Query(expr, legend, latest=True)


def rows(expr: str) -> Query:
    return Query(expr, latest=True, table=True)


def buckets(expr: str) -> Query:
    """Of a histogram, by `le`."""
    return Query(expr, "{{le}}", buckets=True)


def built(queries: tuple[Query, ...]) -> list[Builder[variants.Dataquery]]:
    """For Grafana, lettered from A."""
    return [_built(letter, query) for letter, query in zip(ascii_uppercase, queries, strict=False)]


def _built(letter: str, query: Query) -> Dataquery:
    out = Dataquery().ref_id(letter).expr(query.expr).datasource(SOURCE).editor_mode(QueryEditorMode.CODE)
    out = out.instant() if query.latest else out.range()
    if query.legend:
        out = out.legend_format(query.legend)
    kinds = {query.table: PromQueryFormat.TABLE, query.buckets: PromQueryFormat.HEATMAP}
    return out.format(kinds.get(True, PromQueryFormat.TIME_SERIES))
