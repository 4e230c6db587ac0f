"""The table [report]: what an allocation-hour costs, for `autoscaler report`."""

from collections.abc import Iterator
from typing import Annotated

from pydantic import Field

from autoscaler.config.fields import Line
from autoscaler.config.table import Table
from autoscaler.config.values import ReportSettings
from autoscaler.connection import Problem


class ReportTable(Table):
    """What `autoscaler report` says of costs."""

    cost_per_allocation_hour: Annotated[float, Field(gt=0.0, le=100_000.0)] | None = Field(
        default=None,
        description="What one allocation costs in one hour. Default: costs are not shown.",
    )
    currency: Line | None = Field(
        default=None, description="Unit of that cost, in any words, such as EUR or credits."
    )


def report_of(table: ReportTable) -> ReportSettings:
    return ReportSettings(
        cost_per_allocation_hour=table.cost_per_allocation_hour, currency=table.currency or ""
    )


def report_problems(table: ReportTable) -> Iterator[Problem]:
    """Everything that is wrong with a table."""
    if table.currency is not None and table.cost_per_allocation_hour is None:
        yield "currency", "has no effect without cost_per_allocation_hour; set that, or remove this"
