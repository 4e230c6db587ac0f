"""What the arithmetic of all peers comes down to."""

import math

from autoscaler.core.policies import Situation
from autoscaler.core.values import Reason, Step

_ROUNDING = 1e-9
"""What binary fractions add to a whole number is no reason for a further allocation."""


def round_up(allocations: float) -> int:
    """The fewest whole allocations that are so many.

    >>> round_up(4.9 / 0.7), round_up(7.01)
    (7, 8)
    """
    return math.ceil(allocations - _ROUNDING)


def utilisation(situation: Situation) -> float | None:
    """The part of their time that the allocations serving now were busy since the last look.

    None if none serves, so that there is nothing to measure.
    """
    available_s = situation.running * situation.sample.interval_s
    return situation.sample.busy_s / available_s if available_s > 0.0 else None


def hold(situation: Situation) -> Step:
    """Leave the number alone, for nothing was measured."""
    return Step(Reason.NOT_MEASURED, situation.current, situation.current)
