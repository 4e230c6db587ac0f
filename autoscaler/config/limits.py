"""What narrows the bounds of a rule at times: its burst ceiling and its schedules."""

from collections.abc import Iterator

from autoscaler.config.document import ScalingTable
from autoscaler.config.mode_settings import safe_allocations_of
from autoscaler.core.values import Schedule


def schedules_of(scaling: ScalingTable) -> tuple[Schedule, ...]:
    return tuple(
        Schedule(
            name=table.name,
            cron=table.cron,
            timezone=table.timezone,
            length_s=table.length,
            min_allocations=table.min_allocations,
            max_allocations=table.max_allocations,
        )
        for table in scaling.schedules
    )


def out_of_bounds(
    scaling: ScalingTable, minimum: int, maximum: int
) -> Iterator[tuple[tuple[str | int, ...], int]]:
    """The keys, as paths within the table, whose numbers the bounds would overrule."""
    numbers: dict[tuple[str | int, ...], int | None] = {
        ("burst_max_allocations",): scaling.burst_max_allocations,
        ("safe_allocations",): safe_allocations_of(scaling),
    }
    for position, table in enumerate(scaling.schedules):
        numbers["schedules", position, "min_allocations"] = table.min_allocations
        numbers["schedules", position, "max_allocations"] = table.max_allocations
    for path, number in numbers.items():
        if number is not None and not minimum <= number <= maximum:
            yield path, number
