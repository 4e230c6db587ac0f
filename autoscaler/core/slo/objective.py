"""What is promised to callers, as the longest wait for an allocation that keeps the promise."""

import math
from functools import lru_cache
from statistics import NormalDist

from autoscaler.core.values import Value

DEFAULT_WAIT_SERVICE_TIMES = 2.0
"""The wait allowed where nothing is said: who waits so long sees three service times in all."""

SERVICE_TIME_BUDGET_FRACTION = 0.5
"""Of the requests that may be late, the share that may be so for their service time alone."""


class SloObjective(Value, frozen=True, kw_only=True):
    """A service-level objective: a share of the requests, and how long they may take."""

    target: float = 0.99  # share of the requests that must be in time, in (0, 1)
    wait_s: float | None = None  # they may wait so long for an allocation; or
    latency_s: float | None = None  # wait plus service; both None: two mean service times of wait

    def max_queue_wait_s(self, service_time_s: float, service_cv: float) -> float | None:
        """The wait that the share `percentile` of the requests must not exceed.

        Of a latency, what a long request leaves. Let the share 1 - percentile be the budget. The
        service time that only `SERVICE_SHARE` of the budget exceeds is set aside, under a
        log-normal law with the mean and the coefficient of variation given.

        Then no more requests are late than 1 + `SERVICE_SHARE` budgets, whatever the law of the
        waits: the sum of those that wait too long and of those that take too long. In a queue,
        whose waits have an exponential tail, fewer than one budget are, since hardly a request
        has both a long wait and a long service; but for a latency that exceeds what is set aside
        by less than a quarter.

        Args:
            service_time_s: mean, in seconds, above 0.
            service_cv: standard deviation of the service time divided by its mean.

        Returns:
            Seconds. 0 if next to no request may wait. None if the latency cannot be kept: a whole
            budget of the requests takes longer even without a wait.

        >>> Objective().wait_limit_s(0.040, 1.0)
        0.08
        >>> within_250_ms = Objective(percentile=0.95, latency_s=0.250)
        >>> round(within_250_ms.wait_limit_s(0.040, 0.5), 3)
        0.16
        >>> within_250_ms.wait_limit_s(0.200, 0.5) is None
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
"""Of the standard normal law. Two for each objective that is configured."""
