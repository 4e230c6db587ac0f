"""The last increase: a count that was too few is not tried again while the load is about the same.

At a constant load, arrival counts vary by chance, and the violation weight falls while no request
is late. Without this, the policy would give up an allocation whenever that seems to pay, and add it
again soon after. So a count that was too few is not tried again at once.
"""

import math

from autoscaler.core.values import Value

HOLD_RATIO = 20.0
"""Time for which an increase is kept, as a multiple of the time for which the load is expected to
stay. 20: two hours at a constant load, whose allocations then change about twice an hour
at most; minutes after a load jump."""

LOWER_SIGMA = 2.5
"""Standard deviations of an arrival count by which the load must be lower to end the hold. 2.5: one
count in 160 by chance."""

COUNTED_S, MIN_COUNTED = 10.0, 16.0
"""The load is compared as if it were counted for 10 s, or until 16 requests had come: below, a
count may be anything."""


class PresentLoad(Value, frozen=True, kw_only=True):
    """The load now, as far as a change depends on it."""

    at: float
    rate_per_s: float
    service_time_s: float
    dispersion: float  # at least 1
    expected_duration_s: float  # for which it is expected to stay

    @property
    def load(self) -> float:
        """Erlangs."""
        return self.rate_per_s * self.service_time_s


class Increase(Value, frozen=True):
    """The last increase because more allocations cost less: not to drain a backlog, or for a
    forecast."""

    at: float
    load: float  # at that time, in erlangs
    expected_duration_s: float  # for which the load was expected to stay
    too_few: int  # allocations before it

    def is_kept(self, now: PresentLoad) -> bool:
        """Whether the load is about the same as at that time, and the increase is recent.

        An increase for a load that was uncertain then says little about it now. If counts vary
        more than by chance, the load itself varies, and the hold is shorter by the square of their
        dispersion.
        """
        duration_s = min(self.expected_duration_s, now.expected_duration_s)
        hold_s = HOLD_RATIO * duration_s / (now.dispersion * now.dispersion)
        counted = max(MIN_COUNTED, now.rate_per_s * COUNTED_S / now.dispersion)
        lower = self.load * (1.0 - LOWER_SIGMA / math.sqrt(counted))
        return now.at - self.at < hold_s and now.load >= lower


class KeptIncrease(Value, frozen=True):
    """The allocations to recommend, and the increase that is kept from now on."""

    allocations: int
    increase: Increase | None
    raised_s: float | None = None  # since the increase, if only that prevents a decrease


def with_increase_kept(
    known: Increase | None, current: int, cheapest: int, now: PresentLoad
) -> KeptIncrease:
    """The cheapest allocation count, but more than were too few at this load recently.

    >>> now = PresentLoad(
    ...     at=600.0, rate_per_s=40.0, service_time_s=0.1, dispersion=1.0, expected_duration_s=300.0
    ... )
    >>> kept = with_increase_kept(Increase(0.0, 4.1, 300.0, too_few=5), 8, 5, now)
    >>> kept.allocations, kept.raised_s
    (6, 600.0)
    >>> with_increase_kept(Increase(0.0, 8.0, 300.0, too_few=5), 8, 5, now).allocations
    5
    """
    if cheapest > current:
        return KeptIncrease(cheapest, Increase(now.at, now.load, now.expected_duration_s, current))
    if known is None or cheapest == current or not known.is_kept(now):
        return KeptIncrease(cheapest, known)
    kept = max(cheapest, min(current, known.too_few + 1))
    return KeptIncrease(kept, known, now.at - known.at if kept > cheapest else None)
