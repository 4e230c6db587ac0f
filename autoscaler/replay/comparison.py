"""What really ran, simulated, beside what was observed."""

from collections.abc import Iterator, Sequence

import numpy as np
from msgspec import Struct

from autoscaler.replay.estimates import (
    Observed,
    Spread,
    count_interval_of,
    interval_of,
)
from autoscaler.replay.record import DeploymentRecord, Floats
from autoscaler.replay.recorded_run import IntervalStatistics

LEVEL = 0.998
"""Level of the intervals outside of which the simulation misses what was observed. 99.8 %: there
are several of them, and a true simulation should not be rejected."""

MIN_LATE_EFFECT = 0.1
"""Fraction of the error budget, or of the late requests of what really ran if they are more, from
which on a difference of late requests matters."""

MIN_RUNNING_EFFECT = 0.03
"""Fraction of the running allocation-hours from which on a difference of them matters."""

INFLATION = 1.5
"""Factor on the standard deviations of what is simulated, as in the intervals of policies."""

LEAST_REQUESTS = 5.0
"""A standard deviation, in requests, that the statistic of late requests has at least."""


class Compared(Struct, frozen=True, kw_only=True, eq=False):
    """IntervalStatistics by hour, of the intervals in which both sides are known."""

    queue_late: Observed
    failed: Observed
    running_s: Observed  # allocation-seconds

    @property
    def late(self) -> Observed:
        """Late in a queue, or failed."""
        failed = np.nan_to_num(self.failed.observed)
        return Observed(
            simulated=self.queue_late.simulated + self.failed.simulated,
            observed=self.queue_late.observed + failed,
        )


def compared(
    record: DeploymentRecord, observed: IntervalStatistics, simulated: Sequence[IntervalStatistics]
) -> Compared:
    lengths_s = record.lengths_s

    def of(name: str, factor: Floats) -> Observed:
        recorded = getattr(observed, name) * factor
        both = record.known & ~np.isnan(recorded)
        seen = record.by_hour(np.ones(len(both)), both) > 0.0
        return Observed(
            simulated=np.array(
                [record.by_hour(getattr(each, name) * factor, both) for each in simulated]
            ),
            observed=np.where(seen, record.by_hour(recorded, both), np.nan),
        )

    ones = np.ones(len(lengths_s))
    return Compared(
        queue_late=of("queue_late", ones),
        failed=of("failed", ones),
        running_s=of("running", lengths_s),
    )


def misses(found: Compared, budget_requests: float) -> Iterator[str]:
    """Where the simulation of what really ran misses what was observed.

    Args:
        budget_requests: the error budget of the record.
    """
    late = float(np.nansum(found.late.observed))
    matters = MIN_LATE_EFFECT * max(budget_requests, late)
    for name, statistic, sentence in (
        ("queue", found.queue_late, "requests would have become late in the simulated queues"),
        ("failures", found.failed, "requests would have failed in the simulation"),
    ):
        total = float(np.nansum(statistic.observed))
        expected = count_interval_of(
            _simulated(statistic), LEAST_REQUESTS, inflation=INFLATION, level=LEVEL
        )
        off = abs(total - expected.value)
        if off > matters and not (expected.low <= total <= expected.high):
            yield (
                f"{name}: {expected.low:,.0f} to {expected.high:,.0f} {sentence}, and "
                f"{total:,.0f} did as the statistics show"
            )
    total = float(np.nansum(found.running_s.observed))
    running = interval_of(_simulated(found.running_s), inflation=INFLATION, level=LEVEL)
    if abs(total - running.value) > MIN_RUNNING_EFFECT * total and not (
        running.low <= total <= running.high
    ):
        yield (
            f"loading time: {running.value / 3600.0:,.1f} allocation-hours would have been running "
            f"in the simulation, and {total / 3600.0:,.1f} were: processes take longer or shorter "
            "to start than assumed, or the nodes had no free capacity"
        )


def _simulated(statistic: Observed) -> Spread:
    """The total of one more draw, where it was observed as well."""
    known = ~np.isnan(statistic.observed)
    values = statistic.simulated[:, known]
    draws = len(values)
    variances = values.var(axis=0, ddof=1) if draws > 1 else values.var(axis=0)
    total = float(variances.sum())
    freedom = (draws - 1) * total**2 / float((variances**2).sum()) if total > 0.0 else float(draws)
    return Spread(
        value=float(values.mean(axis=0).sum()),
        deviation=float(np.sqrt(total * (1.0 + 1.0 / draws))),
        freedom=max(1.0, freedom),
    )
