"""What a month would cost, in the unit of the operator."""

from collections.abc import Iterator

from autoscaler.config.values import ReportSettings
from autoscaler.replay.presentation.figures import (
    hours_text,
    hours_with_interval,
    money_text,
    signed_hours,
)
from autoscaler.replay.results import Estimate
from autoscaler.replay.totals import Totals, times


def cost_lines(totals: Totals, settings: ReportSettings) -> Iterator[tuple[str, str, str, str]]:
    """Lines of a table: what, as recorded, with the rules, and the difference."""
    yield (
        "allocation-hours of a month",
        hours_text(totals.month_recorded_hours),
        hours_with_interval(totals.month_hours),
        signed_hours(totals.month_difference),
    )
    if settings.cost_per_allocation_hour is not None:
        price, unit = settings.cost_per_allocation_hour, settings.currency
        recorded = Estimate(*[totals.month_recorded_hours * price] * 3)
        yield (
            "cost of a month",
            money_text(recorded, unit),
            money_text(times(totals.month_hours, price), unit),
            money_text(times(totals.month_difference, price), unit, signs=True),
        )
