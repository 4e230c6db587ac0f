"""Panels, variables and dashboards of Grafana, from a few words each.

Every query is answered by the data source of the variable `datasource`. The widths of a row add up
to 24.
"""

from typing import Any, NamedTuple

from grafana_foundation_sdk.builders import (
    common as common_builders,
)
from grafana_foundation_sdk.builders import (
    dashboard as builders,
)
from grafana_foundation_sdk.builders import (
    prometheus,
    stat,
    statetimeline,
    table,
    timeseries,
)
from grafana_foundation_sdk.models import common, dashboard

JOB = 'job=~"$job"'
"""The label of the scrape jobs that are selected. No other label of a target is the same in all
installations: `cluster` is there only where the autoscaler or Prometheus sets it."""

DATASOURCE = dashboard.DataSourceRef(type_val="prometheus", uid="${datasource}")

GREEN, YELLOW, RED, BLUE = "green", "yellow", "red", "blue"

Thresholds = tuple[tuple[float | None, str], ...]
"""The colour from each value on; None: below all others."""

GOOD_IF_ZERO: Thresholds = ((None, GREEN), (1.0, RED))
GOOD_IF_ONE: Thresholds = ((None, RED), (1.0, GREEN))


class Query(NamedTuple):
    """A query in PromQL, and the name of its series."""

    expr: str
    name: str = ""


class Column(NamedTuple):
    """A column of a table: the value of a query for each deployment."""

    name: str
    expr: str
    unit: str


def number(
    title: str, description: str, expr: str, *, unit: str, width: int, colours: Thresholds
) -> stat.Panel:
    """One figure of now, coloured by its value."""
    return (
        stat.Panel()
        .title(title)
        .description(description)
        .datasource(DATASOURCE)
        .with_target(_target(0, Query(expr, title)).instant())
        .unit(unit)
        .thresholds(_thresholds(colours))
        .color_mode(common.BigValueColorMode.VALUE)
        .graph_mode(common.BigValueGraphMode.NONE)
        .reduce_options(common_builders.ReduceDataOptions().calcs(["lastNotNull"]))
        .no_value("unknown")
        .span(width)
        .height(4)
    )


def lines(
    title: str,
    description: str,
    *queries: Query,
    unit: str,
    width: int = 12,
    steps: bool = False,
    stacked: bool = False,
    band: tuple[str, str] | None = None,
    dashed: tuple[str, ...] = (),
) -> timeseries.Panel:
    """Figures over time.

    Args:
        steps: the figures jump, as allocation counts do.
        stacked: the figures of all series add up.
        band: the names of an upper and a lower series, with the space between them filled.
        dashed: the names of series that are limits.
    """
    panel = (
        timeseries.Panel()
        .title(title)
        .description(description)
        .datasource(DATASOURCE)
        .unit(unit)
        .axis_soft_min(0.0)
        .line_width(1.0)
        .fill_opacity(20.0 if stacked else 0.0)
        .show_points(common.VisibilityMode.NEVER)
        .legend(
            common_builders.VizLegendOptions()
            .display_mode(common.LegendDisplayMode.LIST)
            .placement(common.LegendPlacement.BOTTOM)
            .show_legend(True)
        )
        .tooltip(
            common_builders.VizTooltipOptions()
            .mode(common.TooltipDisplayMode.MULTI)
            .sort(common.SortOrder.DESCENDING)
        )
        .span(width)
        .height(8)
    )
    if steps:
        panel.line_interpolation(common.LineInterpolation.STEP_AFTER)
    if stacked:
        panel.stacking(common_builders.StackingConfig().mode(common.StackingMode.NORMAL))
    if band is not None:
        upper, lower = band
        panel.override_by_name(
            upper, [_property("custom.fillBelowTo", lower), *_line(0.0), _property(*_FILLED)]
        )
        panel.override_by_name(lower, _line(0.0))
    for name in dashed:
        panel.override_by_name(name, [_property(*_DASHED)])
    for index, query in enumerate(queries):
        panel.with_target(_target(index, query).range())
    return panel


_FILLED = ("custom.fillOpacity", 15)
_DASHED = ("custom.lineStyle", {"fill": "dash", "dash": [6, 6]})


def states(title: str, description: str, *queries: Query, width: int = 24) -> statetimeline.Panel:
    """Which states were in effect, over time: each query has the value 1 while its is."""
    panel = (
        statetimeline.Panel()
        .title(title)
        .description(description)
        .datasource(DATASOURCE)
        .unit("bool_yes_no")
        .show_value(common.VisibilityMode.NEVER)
        .merge_values(True)
        .thresholds(_thresholds(((None, "transparent"), (1.0, BLUE))))
        .color_scheme(
            builders.FieldColor().mode(dashboard.FieldColorModeId.THRESHOLDS),
        )
        .legend(common_builders.VizLegendOptions().show_legend(False))
        .span(width)
        .height(6)
    )
    for index, query in enumerate(queries):
        panel.with_target(_target(index, query).range())
    return panel


def by_deployment(
    title: str, description: str, *columns: Column, link: str, width: int = 24
) -> table.Panel:
    """A row for each deployment.

    Args:
        link: the address of its own dashboard.
    """
    letters = [_letter(index) for index in range(len(columns))]
    panel = (
        table.Panel()
        .title(title)
        .description(description)
        .datasource(DATASOURCE)
        .unit("short")
        .with_transformation(
            dashboard.DataTransformerConfig(
                id_val="joinByField", options={"byField": "deployment", "mode": "outer"}
            )
        )
        .with_transformation(
            dashboard.DataTransformerConfig(
                id_val="filterFieldsByName",
                options={"include": {"pattern": "^(deployment|Value #.*)$"}},
            )
        )
        .with_transformation(
            dashboard.DataTransformerConfig(
                id_val="organize",
                options={
                    "renameByName": {
                        "deployment": "Deployment",
                        **{
                            f"Value #{letter}": column.name
                            for letter, column in zip(letters, columns, strict=True)
                        },
                    }
                },
            )
        )
        .override_by_name(
            "Deployment",
            [_property("links", [{"title": "Open its dashboard", "url": link}])],
        )
        .span(width)
        .height(10)
    )
    for index, column in enumerate(columns):
        query = _target(index, Query(column.expr)).instant()
        panel.with_target(query.format(_TABLE))
        panel.override_by_name(column.name, [_property("unit", column.unit)])
    return panel


_TABLE: Any = "table"


def datasource() -> builders.DatasourceVariable:
    return builders.DatasourceVariable("datasource").label("Data source").type("prometheus")


def labels(
    name: str, label: str, query: str, *, several: bool, description: str
) -> builders.QueryVariable:
    """A variable with the values of a label.

    Args:
        several: all are selected at first, and any number can be.
    """
    variable = (
        builders.QueryVariable(name)
        .label(label)
        .description(description)
        .datasource(DATASOURCE)
        .query(query)
        .refresh(dashboard.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(dashboard.VariableSort.ALPHABETICAL_ASC)
    )
    if several:
        variable.multi(True).include_all(True).all_value(".*")
        variable.current(dashboard.VariableOption(selected=True, text="All", value="$__all"))
    return variable


def job() -> builders.QueryVariable:
    return labels(
        "job",
        "Job",
        "label_values(autoscaler_build_info, job)",
        several=True,
        description="The scrape jobs of the autoscaler.",
    )


def new_dashboard(title: str, uid: str, description: str) -> builders.Dashboard:
    return (
        builders.Dashboard(title)
        .uid(uid)
        .description(description)
        .tags(["autoscaler", "elasticsearch"])
        .link(
            builders.DashboardLink("Autoscaler")
            .type(dashboard.DashboardLinkType.DASHBOARDS)
            .tags(["autoscaler"])
            .as_dropdown(True)
            .include_vars(True)
            .keep_time(True)
        )
        .tooltip(dashboard.DashboardCursorSync.CROSSHAIR)
        .time("now-6h", "now")
        .refresh("30s")
        .timezone("browser")
        .with_variable(datasource())
    )


def row(title: str) -> builders.Row:
    return builders.Row(title)


def _target(index: int, query: Query) -> prometheus.Dataquery:
    target = prometheus.Dataquery().ref_id(_letter(index)).expr(query.expr)
    target.datasource(DATASOURCE)
    return target.legend_format(query.name) if query.name else target


def _letter(index: int) -> str:
    return chr(ord("A") + index)


def _thresholds(colours: Thresholds) -> builders.ThresholdsConfig:
    return (
        builders.ThresholdsConfig()
        .mode(dashboard.ThresholdsMode.ABSOLUTE)
        .steps([dashboard.Threshold(value, colour) for value, colour in colours])
    )


def _property(name: str, value: object) -> dashboard.DynamicConfigValue:
    return dashboard.DynamicConfigValue(id_val=name, value=value)


def _line(width: float) -> list[dashboard.DynamicConfigValue]:
    return [_property("custom.lineWidth", width)]
