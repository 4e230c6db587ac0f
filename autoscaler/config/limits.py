"""The limits of a rule within its bounds: the burst maximum and schedules."""

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
    """Keys outside the bounds of the rule, as paths within the table, and their allocations."""
    values: dict[tuple[str | int, ...], int | None] = {
        ("burst_max_allocations",): scaling.burst_max_allocations,
        ("blind_allocations",): scaling.blind_allocations,
        ("safe_allocations",): safe_allocations_of(scaling),
    }
    for position, table in enumerate(scaling.schedules):
        values["schedules", position, "min_allocations"] = table.min_allocations
        values["schedules", position, "max_allocations"] = table.max_allocations
    for path, allocations in values.items():
        if allocations is not None and not minimum <= allocations <= maximum:
            yield path, allocations
