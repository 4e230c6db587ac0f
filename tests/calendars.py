"""A calendar whose windows a test opens. `tests/contracts/` holds it to the same promises."""

from collections.abc import Iterable

from autoscaler.core.values import Schedule


class FakeCalendar:
    """Opens each schedule at the instants given for its name, each for the schedule's length."""

    def __init__(self, **opens_at: Iterable[float]) -> None:
        self.opens_at = opens_at
        self.asked = 0

    def utc_offset_s(self, at: float, timezone: str) -> float:
        return 0.0

    def open_at(self, at: float, schedules: Iterable[Schedule]) -> frozenset[Schedule]:
        self.asked += 1
        return frozenset(
            schedule
            for schedule in schedules
            if any(0 <= at - start < schedule.length_s for start in self.opens_at[schedule.name])
        )
