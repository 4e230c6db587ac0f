"""Arithmetic that all baselines share."""

import math

from autoscaler.core.policies import Situation
from autoscaler.core.values import Reason, Step

_ROUNDING = 1e-9
"""Allocations by which binary fractions may exceed a whole number without being rounded up."""


def round_up(allocations: float) -> int:
    """Round up to whole allocations.

    >>> round_up(4.9 / 0.7), round_up(7.01)
    (7, 8)
    """
    return math.ceil(allocations - _ROUNDING)


def utilisation(situation: Situation) -> float | None:
    """The fraction of time for which the running allocations were busy since the last poll.

    None if none runs: then it cannot be measured.
    """
    available_s = situation.running * situation.sample.interval_s
    return situation.sample.busy_s / available_s if available_s > 0.0 else None


def hold(situation: Situation) -> Step:
    """Keep the current allocations, because nothing was measured."""
    return Step(Reason.NOT_MEASURED, situation.current, situation.current)
