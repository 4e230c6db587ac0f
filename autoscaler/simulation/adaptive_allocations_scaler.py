"""The arithmetic of Elasticsearch's own scaler, `adaptive_allocations`: a baseline, and a rival.

Pure: measurements in, numbers out. Source: elastic/elasticsearch,
ml/inference/adaptiveallocations/{AdaptiveAllocationsScaler,KalmanFilter1d}.java.
"""

import math

from msgspec import Struct

SCALE_UP_ABOVE = 0.9
SCALE_DOWN_BELOW = 0.85
MAXIMUM_IF_UNSET = 32
UNKNOWN_TIME_S = 1.0
"""What a request is taken to cost before any was measured."""

_SMOOTHING = 100.0
_CHANGE_DEVIATIONS_SQUARED = 100.0


class Thresholds(Struct, frozen=True, kw_only=True):
    """Loads of each allocation at which the number changes. No version can be told others."""

    up_above: float = SCALE_UP_ABOVE
    down_below: float = SCALE_DOWN_BELOW


SHIPPED = Thresholds()


class Filter(Struct, frozen=True, kw_only=True):
    """A one-dimensional Kalman filter of a value that is constant but for sudden changes."""

    value: float | None = None
    variance: float = math.inf
    changed: bool = False  # whether the last measurement was taken for a change

    @property
    def lower(self) -> float | None:
        """One standard deviation below the value; None before the first measurement."""
        return None if self.value is None else self.value - math.sqrt(self.variance)

    @property
    def upper(self) -> float | None:
        return None if self.value is None else self.value + math.sqrt(self.variance)

    def after(
        self, measured: float, variance: float, *, changed: bool = False, detect: bool = False
    ) -> "Filter":
        """The filter once it has seen a measurement of that variance.

        `changed` says that the value is known to have changed, `detect` that a measurement ten
        standard deviations off is to be taken for a change.
        """
        if self.value is None:
            return Filter(value=measured, variance=variance, changed=True)
        off = (measured - self.value) ** 2 / (self.variance + variance)
        change = changed or (detect and off > _CHANGE_DEVIATIONS_SQUARED)
        # A change takes two measurements to be believed, so the one after it is trusted as much.
        process = measured**2 if change or self.changed else variance / _SMOOTHING
        gain = (self.variance + process) / (self.variance + process + variance)
        return Filter(
            value=self.value + gain * (measured - self.value),
            variance=(1.0 - gain) * (self.variance + process),
            changed=change,
        )


class Interval(Struct, frozen=True, kw_only=True):
    """What a deployment did between two looks at it."""

    duration_s: float
    success: float  # each a growth, and 0 where there was none
    in_flight: float
    failed: float
    inference_time_s: float | None  # mean; None: undefined

    @property
    def requests(self) -> float:
        return self.success + self.in_flight + self.failed


class Limits(Struct, frozen=True, kw_only=True):
    """The settings of one deployment."""

    minimum: int | None = None
    maximum: int | None = None
    scale_to_zero_s: float | None = None  # None: this version never does
    thresholds: Thresholds = SHIPPED


class AdaptiveAllocationsScaler(Struct, frozen=True, kw_only=True):
    """All that the scaler remembers of one deployment."""

    rate: Filter = Filter()
    time: Filter = Filter()
    just_scaled: bool = False  # whether the last decision changed the number
    idle_s: float = 0.0  # since the last request

    def after(self, interval: Interval) -> "AdaptiveAllocationsScaler":
        """The scaler once it has seen an interval."""
        return AdaptiveAllocationsScaler(
            rate=self._rate_after(interval),
            time=self._time_after(interval),
            idle_s=0.0 if interval.requests > 0 else self.idle_s + interval.duration_s,
        )

    def _rate_after(self, interval: Interval) -> Filter:
        measured = interval.requests / interval.duration_s
        estimate = measured if self.rate.value is None else self.rate.value
        # Poisson: a count varies as much as its mean, which is taken to be one at least.
        variance = max(1.0, estimate * interval.duration_s) / interval.duration_s**2
        return self.rate.after(measured, variance, detect=True)

    def _time_after(self, interval: Interval) -> Filter:
        measured = interval.inference_time_s
        if interval.requests <= 0 or measured is None:
            return self.time
        estimate = measured if self.time.value is None else self.time.value
        variance = estimate**2 / interval.requests
        return self.time.after(measured, variance, changed=self.just_scaled)

    @property
    def load(self) -> tuple[float, float]:
        """Lower and upper bound of the offered load, in allocations."""
        low = UNKNOWN_TIME_S if self.time.lower is None else self.time.lower
        high = UNKNOWN_TIME_S if self.time.upper is None else self.time.upper
        return max(0.0, self.rate.lower or 0.0) * max(0.0, low), (self.rate.upper or 0.0) * high

    def needed(self, current: int, thresholds: Thresholds = SHIPPED) -> int:
        """Allocations wanted before bounds: the nearest to `current` of those that would do."""
        low, high = self.load
        needed = current
        while low > 0.0 if needed == 0 else low / needed > thresholds.up_above:
            needed += 1
        while needed > 1 and high / (needed - 1) < thresholds.down_below:
            needed -= 1
        return needed

    def decide(self, current: int, limits: Limits) -> tuple[int, "AdaptiveAllocationsScaler"]:
        """The number of allocations to have, and the scaler having decided so."""
        number = self.needed(current, limits.thresholds)
        if limits.maximum is None:
            number = min(number, MAXIMUM_IF_UNSET)
        if limits.minimum is not None:
            number = max(number, limits.minimum)
        if limits.maximum is not None:
            number = min(number, limits.maximum)
        may_idle = limits.scale_to_zero_s is not None and not limits.minimum
        if may_idle and limits.scale_to_zero_s is not None and self.idle_s > limits.scale_to_zero_s:
            number = 0
        decided = AdaptiveAllocationsScaler(
            rate=self.rate, time=self.time, just_scaled=number != current, idle_s=self.idle_s
        )
        return number, decided

    def scaled_from_zero(self) -> "AdaptiveAllocationsScaler":
        """The scaler after a scale-up from zero: whoever asked counts as a request."""
        return AdaptiveAllocationsScaler(
            rate=self.rate, time=self.time, just_scaled=self.just_scaled
        )
