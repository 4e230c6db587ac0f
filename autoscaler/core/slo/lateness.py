"""The late requests of an interval for an allocation count that need not have run.

The queue model is that of the cost (`cost_model`, `queueing`). It gets the requests that really
came in the interval, and a backlog: the requests that the interval before has left, which follow
from the arrivals and the allocations. So a load beyond the allocations is late until it is served,
also after it has ended. Within the interval, arrivals are taken as Poisson: how much the counts of
intervals vary is in the counts themselves, and added to them it doubled the late requests.
"""

import math
from collections.abc import Sequence

from autoscaler.core.slo import queueing
from autoscaler.core.values import Value


class Lateness(Value, frozen=True, kw_only=True):
    """What the late requests depend on, apart from arrivals and allocations."""

    service_time_s: float
    max_wait: float  # queue wait that the SLO allows, in mean service times
    variability: float  # see `autoscaler.core.slo.queueing`
    max_backlog_wait: float = math.inf  # in mean service times; callers give up then

    def after(
        self, backlog: float, requests: int, interval_s: float, per_node: Sequence[int]
    ) -> tuple[float, float]:
        """The late requests of an interval, and the backlog at its end.

        Args:
            backlog: queued requests at its beginning.
            requests: that arrive in it.
            per_node: the allocations of each node in it.
        """
        allocations, horizon = sum(per_node), interval_s / self.service_time_s
        if allocations <= 0 or horizon <= 0.0:
            return float(requests), 0.0
        load = requests / horizon
        late, sizes = 0.0, dict[int, int]()
        for servers in per_node:
            sizes[servers] = sizes.get(servers, 0) + 1
        for servers, nodes in sizes.items():
            share = servers / allocations
            fraction = self._late_fraction(load * share, servers, backlog * share, horizon)
            late += nodes * share * fraction
        left = max(0.0, backlog + requests - allocations * horizon)
        return requests * min(1.0, late), min(left, allocations * self.max_backlog_wait)

    def _late_fraction(self, load: float, servers: int, backlog: float, horizon: float) -> float:
        """Of the requests of one node."""
        at_end = backlog + (load - servers) * horizon
        if min(backlog, at_end) > self.max_wait * servers:
            return 1.0  # those before a request take longer, whenever it arrives
        fraction = queueing.violation_fraction_within(
            servers, load, self.max_wait, self.variability, horizon
        )
        if backlog > 0.0:
            fraction += queueing.violation_fraction_by_backlog(
                servers, load, self.max_wait, self.variability, horizon, backlog
            )
        return min(1.0, fraction)
