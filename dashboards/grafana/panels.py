"""Panels in Lockgate's manner. Each takes a title, a description and its queries; the caller chains what is special."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from grafana_foundation_sdk.builders import bargauge, heatmap, stat, statetimeline, table, timeseries
from grafana_foundation_sdk.builders.common import (
    ReduceDataOptions,
    ScaleDistributionConfig,
    StackingConfig,
    VizLegendOptions,
    VizTextDisplayOptions,
    VizTooltipOptions,
)
from grafana_foundation_sdk.builders.dashboard import FieldColor, ThresholdsConfig
from grafana_foundation_sdk.models import common
from grafana_foundation_sdk.models.dashboard import (
    DataTransformerConfig,
    DynamicConfigValue,
    FieldColorModeId,
    Threshold,
    ThresholdsMode,
)
from grafana_foundation_sdk.models.heatmap import HeatmapColorMode, HeatmapColorScale

from lockgate.dashboards.grafana.look import GREY, steps
from lockgate.dashboards.grafana.targets import SOURCE, Query, built

_FINEST = 400
"""Points of one line: enough for half a screen."""


def graph(title: str, description: str, *queries: Query) -> timeseries.Panel:
    """Lines over time."""
    return (
        timeseries.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .targets(built(queries))
        .max_data_points(_FINEST)
        .legend(_legend())
        .tooltip(VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI).sort(common.SortOrder.DESCENDING))
        .color_scheme(FieldColor().mode(FieldColorModeId.PALETTE_CLASSIC))
        .thresholds(thresholds(steps(GREY)))
        .draw_style(common.GraphDrawStyle.LINE)
        .line_width(2)
        .fill_opacity(6)
        .show_points(common.VisibilityMode.NEVER)
    )


def stacked(panel: timeseries.Panel) -> timeseries.Panel:
    """Parts of a whole: areas one upon the other."""
    return panel.stacking(StackingConfig().mode(common.StackingMode.NORMAL).group("A")).fill_opacity(55).line_width(1)


def logarithmic(panel: timeseries.Panel) -> timeseries.Panel:
    return panel.scale_distribution(ScaleDistributionConfig().type(common.ScaleDistribution.LOG).log(10))


def number(title: str, description: str, *queries: Query) -> stat.Panel:
    """The latest value, large, on its colour."""
    return (
        stat.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .targets(built(queries))
        .reduce_options(_latest())
        .graph_mode(common.BigValueGraphMode.NONE)
        .color_mode(common.BigValueColorMode.VALUE)
        .justify_mode(common.BigValueJustifyMode.CENTER)
        .text(VizTextDisplayOptions().value_size(24).title_size(12))
        .orientation(common.VizOrientation.AUTO)
        .thresholds(thresholds(steps("text")))
    )


def bars(title: str, description: str, *queries: Query) -> bargauge.Panel:
    """A bar for each series, in the order of the answer."""
    return (
        bargauge.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .targets(built(queries))
        .reduce_options(_latest())
        .orientation(common.VizOrientation.HORIZONTAL)
        .display_mode(common.BarGaugeDisplayMode.BASIC)
        .value_mode(common.BarGaugeValueMode.TEXT)
        .name_placement(common.BarGaugeNamePlacement.LEFT)
        .sizing(common.BarGaugeSizing.MANUAL)
        .min_viz_height(14)
        .max_viz_height(24)
        .show_unfilled(show_unfilled=True)
        .text(VizTextDisplayOptions().title_size(12).value_size(13))
        .thresholds(thresholds(steps(GREY)))
    )


def timeline(title: str, description: str, *queries: Query) -> statetimeline.Panel:
    """What held when: a line of coloured spans for each series."""
    return (
        statetimeline.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .targets(built(queries))
        .max_data_points(_FINEST)
        .legend(_legend().show_legend(show_legend=False))
        .merge_values(merge_values=True)
        .show_value(common.VisibilityMode.AUTO)
        .align_value(common.TimelineValueAlignment.LEFT)
        .row_height(0.85)
        .line_width(0)
        .fill_opacity(90)
        .color_scheme(FieldColor().mode(FieldColorModeId.THRESHOLDS))
        .thresholds(thresholds(steps(GREY)))
    )


def heat(title: str, description: str, *queries: Query) -> heatmap.Panel:
    """Dark where there is little. Cividis is a scheme in which everybody sees values grow."""
    colours = (
        heatmap.HeatmapColorOptions()
        .mode(HeatmapColorMode.SCHEME)
        .scheme("Cividis")
        .scale(HeatmapColorScale.EXPONENTIAL)
        .exponent(0.5)
        .fill("dark-orange")
        .steps(64)
        .reverse(reverse=False)
    )
    return (
        heatmap.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .targets(built(queries))
        .max_data_points(60)
        .calculate(calculate=False)
        .color(colours)
        .cell_gap(1)
        .show_value(common.VisibilityMode.NEVER)
        .show_legend()
        .exemplars_color("rgba(255,0,255,0.7)")
        .mode(common.TooltipDisplayMode.SINGLE)
    )


def listing(title: str, description: str, *queries: Query) -> table.Panel:
    """A row for each series; several queries are joined where their labels are equal."""
    return (
        table.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .targets(built(queries))
        .show_header(show_header=True)
        .cell_height(common.TableCellHeight.SM)
        .min_width(60)
        .thresholds(thresholds(steps("text")))
    )


def joined(panel: table.Panel, names: Mapping[str, str], hide: Sequence[str] = ()) -> table.Panel:
    """One row for equal labels. `names`: what the columns are called, in their order; `hide`: which are left out."""
    order = {column: i for i, column in enumerate(names)}
    left_out = dict.fromkeys(("Time", *hide), True)
    organised = {"renameByName": dict(names), "indexByName": order, "excludeByName": left_out}
    return panel.transformations(
        [DataTransformerConfig(id_val="merge", options={}), DataTransformerConfig(id_val="organize", options=organised)]
    )


def thresholds(of: Sequence[Threshold]) -> ThresholdsConfig:
    return ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(list(of))


def background(panel: stat.Panel) -> stat.Panel:
    """The whole panel in the value's colour: for what should be seen from afar."""
    return panel.color_mode(common.BigValueColorMode.BACKGROUND_SOLID)


CELL, BAR = (
    DynamicConfigValue("custom.cellOptions", of)
    for of in ({"type": "color-background", "mode": "basic"}, {"type": "gauge", "mode": "basic"})
)
"""For an override of a column: its cells in the colour of their value, or as bars."""


def column(id_: str, value: object) -> DynamicConfigValue:
    """For an override of a column."""
    return DynamicConfigValue(id_, value)


def _legend() -> VizLegendOptions:
    out = VizLegendOptions().display_mode(common.LegendDisplayMode.LIST).placement(common.LegendPlacement.BOTTOM)
    return out.show_legend(show_legend=True).calcs([])


def _latest() -> ReduceDataOptions:
    return ReduceDataOptions().calcs(["lastNotNull"]).fields("").values(values=False)
