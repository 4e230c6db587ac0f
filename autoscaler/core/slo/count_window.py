"""Arrival counts of equal windows: what a decrease is judged by, however often is polled."""

import math

from msgspec.structs import replace

from autoscaler.core.slo.service_time import dispersion_after
from autoscaler.core.slo.short_counts import ShortCounts
from autoscaler.core.values import Value

WINDOW_S = 10.0
"""Seconds of a window. Of longer poll intervals, each is a window."""

_NEARLY = 0.95  # of a window is one: poll intervals vary a little


class CountWindow(Value, frozen=True, kw_only=True):
    """The requests since the last complete window."""

    requests: int = 0
    time_s: float = 0.0
    before: int | None = None  # requests of the window before; None: unknown
    before_s: float = 0.0
    dispersion: float = 1.0  # variance of the counts over their mean
    jumped: bool = False  # whether the load jumped within it
    short: ShortCounts = ShortCounts()  # of intervals that are a part of a window

    @property
    def is_complete(self) -> bool:
        return self.time_s >= _NEARLY * WINDOW_S

    def after(self, requests: int, interval_s: float, *, exact: bool = True) -> "CountWindow":
        """The window after another interval. A complete one is followed by the next.

        Args:
            exact: whether the length of the interval is known well enough to compare its count.
        """
        if exact and interval_s < _NEARLY * WINDOW_S:
            short = self.short.after(requests, interval_s)
        else:
            short = self.short.interrupted()
        if not self.is_complete:
            return CountWindow(
                requests=self.requests + requests,
                time_s=self.time_s + interval_s,
                before=self.before,
                before_s=self.before_s,
                dispersion=self.dispersion,
                jumped=self.jumped,
                short=short,
            )
        return CountWindow(
            requests=requests,
            time_s=interval_s,
            before=self.requests,
            before_s=self.time_s,
            dispersion=self.dispersion,
            short=short.older(),
        )

    def with_dispersion(self) -> "CountWindow":
        """The same with the dispersion after this window, which is complete."""
        if self.before is None:
            return self
        longer = _ratio(self.time_s, self.before_s)
        return replace(
            self, dispersion=dispersion_after(self.dispersion, self.before, self.requests, longer)
        )

    def with_jump(self) -> "CountWindow":
        """The same after a load jump, with which a complete window ends."""
        return self if self.is_complete else replace(self, jumped=True)

    def restarted(self) -> "CountWindow":
        """The same dispersion, and a new window, which is compared with none before it."""
        return CountWindow(dispersion=self.dispersion, short=self.short.interrupted())


def _ratio(time_s: float, before_s: float) -> float:
    """The ratio of two lengths; 1 for the rounding errors of equal ones, or without the other."""
    if before_s <= 0.0 or math.isclose(time_s, before_s, rel_tol=1e-6):
        return 1.0
    return time_s / before_s
