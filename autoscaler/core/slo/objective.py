"""The SLO, as the longest queue wait that meets it."""

import math
from functools import lru_cache
from statistics import NormalDist

from autoscaler.core.values import Value

DEFAULT_WAIT_SERVICE_TIMES = 2.0
"""Max queue wait without a configured one, in mean service times. 2: the latency is then at most
three service times."""

SERVICE_TIME_BUDGET_FRACTION = 0.5
"""Fraction of the error budget of a latency SLO that long service times alone may use."""


class SloObjective(Value, frozen=True, kw_only=True):
    """A service-level objective: a fraction of the requests, and their longest queue wait or
    latency."""

    target: float = 0.99  # fraction of the requests that must meet the SLO, in (0, 1)
    wait_s: float | None = None  # longest queue wait; or
    latency_s: float | None = None  # longest latency; both None: a wait of two mean service times

    def max_queue_wait_s(self, service_time_s: float, service_cv: float) -> float | None:
        """The queue wait that the fraction `target` of the requests must not exceed.

        For a latency SLO, it is the rest of the latency after a long service time, which only the
        fraction `SERVICE_TIME_BUDGET_FRACTION` of the error budget (1 - target) exceeds.
        Service times are assumed to be log-normal, with the given mean and coefficient of
        variation.

        Then at most 1 + `SERVICE_TIME_BUDGET_FRACTION` error budgets of the requests are late,
        for any distribution of queue waits: requests with too long a wait plus requests with too
        long a service time. In a queue, whose waits have an exponential tail, it is less than one
        error budget, because few requests have both a long wait and a long service time. The
        exception is a latency that exceeds the assumed service time by less than a quarter.

        Args:
            service_time_s: mean, in seconds, above 0.
            service_cv: standard deviation of the service time divided by its mean.

        Returns:
            Seconds. 0 if almost no request may wait. None if the latency is unreachable: the
            service time alone exceeds it for a whole error budget of the requests.

        >>> SloObjective().max_queue_wait_s(0.040, 1.0)
        0.08
        >>> within_250_ms = SloObjective(target=0.95, latency_s=0.250)
        >>> round(within_250_ms.max_queue_wait_s(0.040, 0.5), 3)
        0.16
        >>> within_250_ms.max_queue_wait_s(0.200, 0.5) is None
        True
        """
        if self.wait_s is not None:
            return self.wait_s
        if self.latency_s is None:
            return DEFAULT_WAIT_SERVICE_TIMES * service_time_s
        budget = 1.0 - self.target
        variance = math.log1p(service_cv * service_cv)  # of the logarithm of the service time
        deviation, median_s = math.sqrt(variance), service_time_s * math.exp(-variance / 2.0)
        if self.latency_s < median_s * math.exp(deviation * _normal_quantile(self.target)):
            return None
        level = _normal_quantile(1.0 - SERVICE_TIME_BUDGET_FRACTION * budget)
        return max(0.0, self.latency_s - median_s * math.exp(deviation * level))


_normal_quantile = lru_cache(maxsize=256)(NormalDist().inv_cdf)
"""Quantiles of the standard normal distribution. Each SLO in the configuration needs two."""
