"""A number for ever, which is what most deployments have."""

from typing import ClassVar

from autoscaler.backtest.baselines.sizing import round_up
from autoscaler.core.policies import Situation
from autoscaler.core.values import Reason, Step, Value

POLL_INTERVAL_S = 60.0

AT_PEAK, AT_MEAN = 0.9, 0.7
"""Utilisation in the busiest minute, or in the mean, that people size a fixed number for."""


def for_load(load: float, utilisation: float) -> int:
    """The fewest allocations, at least one, that a load in erlangs keeps so busy at most.

    >>> for_load(9.1, AT_PEAK)
    11
    """
    return max(1, round_up(load / utilisation))


class Static(Value, frozen=True, kw_only=True):
    """Always so many allocations."""

    name: ClassVar[str] = "static"
    poll_interval_s: ClassVar[float] = POLL_INTERVAL_S
    sampling_s: ClassVar[float] = POLL_INTERVAL_S
    load_window_s: ClassVar[float] = POLL_INTERVAL_S

    allocations: int

    def begin(self) -> None:
        """There is nothing to know."""

    def recommend(self, situation: Situation, memory: None) -> tuple[Step, None]:
        """The number that it is."""
        return Step(Reason.RECOMMENDATION, situation.current, self.allocations), None
