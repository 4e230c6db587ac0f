"""Values of policies and of what really ran, as results."""

from collections.abc import Sequence

import numpy as np
from msgspec import Struct

from autoscaler.replay.changes import change_instants
from autoscaler.replay.comparison import Compared
from autoscaler.replay.estimates import (
    Spread,
    adjusted,
    count_interval_of,
    difference_of,
    interval_of,
    narrowed,
)
from autoscaler.replay.record import HOUR_S, DeploymentRecord, Floats
from autoscaler.replay.results import Estimate, HourResult, PolicyResult
from autoscaler.replay.runs import DrawOutcome
from autoscaler.replay.service_times import MeasuredServiceTimes

HOURS_INFLATION = 1.3
LATE_INFLATION = 2.0
"""Factors on the standard deviations of hours and of late requests, chosen by rehearsals: see
`benchmarks.rehearsals`. Above 1, because the dispersion is not the same in all seconds, and because
a policy that decides by thresholds is more uncertain than a few draws show. That of late requests
is larger: when callers try again decides how long a queue stands."""

LEAST_LATE_REQUESTS = 5.0
"""A standard deviation, in requests, that late requests have at least."""


class Judge(Struct, frozen=True, kw_only=True):
    """Values and their intervals, from the outcomes of all draws."""

    record: DeploymentRecord
    found: Compared
    recorded: list[DrawOutcome]
    seed: int

    @property
    def requests(self) -> float:
        """That arrived, second attempts included."""
        return max(1.0, float(self._attempts.sum()))

    @property
    def _attempts(self) -> Floats:
        """By hour."""
        return self.record.by_hour(self.record.arrivals)

    def late(self, outcomes: Sequence[DrawOutcome]) -> Floats:
        """Late requests, draws x hours, as if there were as many requests as attempts.

        How many of the attempts were second ones is unknown and differs between the draws, so that
        only fractions can be compared.
        """
        requests = by_draw(outcomes, "requests").sum(axis=1, keepdims=True)
        late: Floats = by_draw(outcomes, "late") * self.requests / np.maximum(requests, 1.0)
        return late

    def policy(self, name: str, title: str, tried: Sequence[DrawOutcome]) -> PolicyResult:
        late = self.late(tried)
        hours = by_draw(tried, "hours")
        late_difference = _scaled(
            difference_of(
                adjusted(late - self.late(self.recorded), self.found.late, self.seed),
                inflation=LATE_INFLATION,
            ),
            self.requests,
        )
        late_fraction = self._late(late)
        recorded_late = self._late(self.late(self.recorded))
        return PolicyResult(
            policy=name,
            title=title,
            hours=self._hours(hours),
            late_fraction=late_fraction,
            changes=round(float(np.mean([each.changes for each in tried]))),
            max_allocations=max(each.max_allocations for each in tried),
            hours_difference=difference_of(
                adjusted(hours - self._recorded_hours, self.found.late, self.seed),
                inflation=HOURS_INFLATION,
            ),
            late_difference=narrowed(late_difference, late_fraction, recorded_late),
        )

    def observed(self) -> PolicyResult:
        """What really ran: its hours are known, and its late requests follow from statistics."""
        hours = float(self._recorded_hours.sum())
        requested = self.record.requested
        return PolicyResult(
            policy="recorded",
            title="what really ran",
            hours=Estimate(hours, hours, hours),
            late_fraction=self._late(self.late(self.recorded)),
            changes=int(np.count_nonzero(np.diff(requested))),
            max_allocations=int(requested.max()),
        )

    def simulated(self) -> PolicyResult:
        """The same as the draws alone have it."""
        late = self.late(self.recorded).sum(axis=1)
        hours = by_draw(self.recorded, "hours").sum(axis=1)
        return PolicyResult(
            policy="simulated",
            title="what really ran, simulated",
            hours=_between_draws(hours),
            late_fraction=_scaled(_between_draws(late), self.requests),
            changes=round(float(np.mean([each.changes for each in self.recorded]))),
            max_allocations=max(each.max_allocations for each in self.recorded),
        )

    def hours(
        self, tried: Sequence[DrawOutcome], times: MeasuredServiceTimes
    ) -> tuple[HourResult, ...]:
        record = self.record
        load = record.arrivals * times.by_interval_s / record.lengths_s
        requests = self._attempts
        recorded_late = self.late(self.recorded).mean(axis=0) + self.found.late.lacking
        none = np.zeros(record.hours)
        hours = by_draw(tried, "hours").mean(axis=0) if tried else none
        late = self.late(tried).mean(axis=0) if tried else none
        return tuple(
            HourResult(
                at=record.since + HOUR_S * hour,
                requests=round(float(requests[hour])),
                recorded_hours=float(self._recorded_hours[hour]),
                recorded_late=float(np.clip(recorded_late[hour], 0.0, requests[hour])),
                replayed_hours=float(hours[hour]),
                replayed_late=float(late[hour]),
                peak_load=float(load[record.hour_of == hour].max(initial=0.0)),
            )
            for hour in range(record.hours)
        )

    def _hours(self, hours: Floats) -> Estimate:
        # Both allocate the same in every draw of what really ran, so nothing is to be added.
        return interval_of(self.spread(hours), inflation=HOURS_INFLATION)

    def spread(self, values: Floats) -> Spread:
        """A quantity of a policy, draws x hours, corrected by what the simulation lacks."""
        return adjusted(values, self.found.late, self.seed)

    def _late(self, late: Floats) -> Estimate:
        spread = self.spread(late)
        return _scaled(
            count_interval_of(spread, LEAST_LATE_REQUESTS, inflation=LATE_INFLATION), self.requests
        )

    @property
    def _recorded_hours(self) -> Floats:
        """By hour, from the recorded numbers."""
        record = self.record
        requested, lengths_s = record.requested.astype(np.float64), record.lengths_s
        before = np.concatenate([requested[:1], requested[:-1]])
        changes = np.nan_to_num(change_instants(record) - record.edges[:-1])
        used_s = before * changes + requested * (lengths_s - changes)
        return record.by_hour(used_s) / HOUR_S


def by_draw(outcomes: Sequence[DrawOutcome], name: str) -> Floats:
    return np.array([getattr(each, name) for each in outcomes])


def _between_draws(totals: Floats) -> Estimate:
    low, high = np.quantile(totals, [0.025, 0.975])
    return Estimate(float(totals.mean()), float(low), float(high))


def _scaled(counts: Estimate, requests: float) -> Estimate:
    """Counts as fractions of the requests, at most all of them."""
    value, low, high = (
        min(1.0, each / requests) for each in (counts.value, counts.low, counts.high)
    )
    return Estimate(value, low, high)
