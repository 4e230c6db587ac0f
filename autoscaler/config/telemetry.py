"""The tables [logging] and [metrics]: what the daemon writes about itself."""

from typing import Literal

from pydantic import Field

from autoscaler.config.table import Table


class LoggingTable(Table):
    """The log, which is written to standard error."""

    format: Literal["auto", "console", "json", "ecs"] = Field(
        default="auto", description="auto: console on a terminal, JSON elsewhere."
    )
    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="The lowest level of events that are written."
    )


class MetricsTable(Table):
    """The metrics."""

    per_node: bool | None = Field(
        default=None,
        description="Export the metrics of each deployment on each node; default: with at most "
        "200 deployments.",
    )
