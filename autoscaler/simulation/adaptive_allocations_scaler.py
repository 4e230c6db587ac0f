"""The arithmetic of adaptive allocations: an emulated API, and a baseline for comparison.

Pure: measurements in, allocation counts out. Source: elastic/elasticsearch,
ml/inference/adaptiveallocations/{AdaptiveAllocationsScaler,KalmanFilter1d}.java.
"""

import math

from msgspec import Struct

SCALE_UP_ABOVE = 0.9
"""Load per allocation above which allocations are added."""

SCALE_DOWN_BELOW = 0.85
"""Load per remaining allocation below which allocations are removed."""

MAXIMUM_IF_UNSET = 32
"""Maximum allocations of a deployment without a maximum."""

UNKNOWN_TIME_S = 1.0
"""Inference time assumed before the first measurement, in seconds."""

_SMOOTHING = 100.0
_CHANGE_DEVIATIONS_SQUARED = 100.0


class Thresholds(Struct, frozen=True, kw_only=True):
    """Loads per allocation at which allocations change. No version has a setting for them."""

    up_above: float = SCALE_UP_ABOVE
    down_below: float = SCALE_DOWN_BELOW


SHIPPED = Thresholds()


class Filter(Struct, frozen=True, kw_only=True):
    """A one-dimensional Kalman filter of a value that is constant except for sudden changes."""

    value: float | None = None
    variance: float = math.inf
    changed: bool = False  # the last measurement was treated as a change

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
        """The filter after a measurement with this variance.

        `changed`: the value is known to have changed. `detect`: a measurement that is ten standard
        deviations off is treated as a change.
        """
        if self.value is None:
            return Filter(value=measured, variance=variance, changed=True)
        off = (measured - self.value) ** 2 / (self.variance + variance)
        change = changed or (detect and off > _CHANGE_DEVIATIONS_SQUARED)
        # Two measurements are needed to confirm a change, so the next one gets the same weight.
        process = measured**2 if change or self.changed else variance / _SMOOTHING
        gain = (self.variance + process) / (self.variance + process + variance)
        return Filter(
            value=self.value + gain * (measured - self.value),
            variance=(1.0 - gain) * (self.variance + process),
            changed=change,
        )


class Interval(Struct, frozen=True, kw_only=True):
    """The requests of a deployment between two polls."""

    duration_s: float
    success: float  # these three: increases, 0 if there was none
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
    scale_to_zero_s: float | None = None  # None: this version never scales to zero
    thresholds: Thresholds = SHIPPED


class AdaptiveAllocationsScaler(Struct, frozen=True, kw_only=True):
    """The state of the scaler for one deployment."""

    rate: Filter = Filter()
    time: Filter = Filter()
    just_scaled: bool = False  # the last decision changed the allocations
    idle_s: float = 0.0  # since the last request

    def after(self, interval: Interval) -> "AdaptiveAllocationsScaler":
        """The scaler after an interval."""
        return AdaptiveAllocationsScaler(
            rate=self._rate_after(interval),
            time=self._time_after(interval),
            idle_s=0.0 if interval.requests > 0 else self.idle_s + interval.duration_s,
        )

    def _rate_after(self, interval: Interval) -> Filter:
        measured = interval.requests / interval.duration_s
        estimate = measured if self.rate.value is None else self.rate.value
        # Poisson: the variance of a count is its mean, which is assumed to be at least 1.
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
        """Allocations before bounds: the count nearest to `current` that meets the thresholds."""
        low, high = self.load
        needed = current
        while low > 0.0 if needed == 0 else low / needed > thresholds.up_above:
            needed += 1
        while needed > 1 and high / (needed - 1) < thresholds.down_below:
            needed -= 1
        return needed

    def decide(self, current: int, limits: Limits) -> tuple[int, "AdaptiveAllocationsScaler"]:
        """The desired number of allocations, and the scaler after this decision."""
        desired = self.needed(current, limits.thresholds)
        if limits.maximum is None:
            desired = min(desired, MAXIMUM_IF_UNSET)
        if limits.minimum is not None:
            desired = max(desired, limits.minimum)
        if limits.maximum is not None:
            desired = min(desired, limits.maximum)
        may_idle = limits.scale_to_zero_s is not None and not limits.minimum
        if may_idle and limits.scale_to_zero_s is not None and self.idle_s > limits.scale_to_zero_s:
            desired = 0
        decided = AdaptiveAllocationsScaler(
            rate=self.rate, time=self.time, just_scaled=desired != current, idle_s=self.idle_s
        )
        return desired, decided

    def not_idle(self) -> "AdaptiveAllocationsScaler":
        """The scaler after a request that no process has counted."""
        return AdaptiveAllocationsScaler(
            rate=self.rate, time=self.time, just_scaled=self.just_scaled
        )
