"""What one observation adds to the state of a deployment: a sample, and the load estimate."""

from collections.abc import Collection
from typing import TypedDict

from msgspec.structs import replace

from autoscaler.core.flow.disagreement import accepted_at, disagreement_of
from autoscaler.core.flow.estimation import estimate
from autoscaler.core.flow.load_window import within
from autoscaler.core.flow.sampling import find_issues, sample
from autoscaler.core.flow.saturation import (
    with_least_service_time,
    with_service_time_of_totals,
)
from autoscaler.core.state import DeploymentState, Disagreement
from autoscaler.core.values import DataIssue, DeploymentStats, LoadEstimate, Sample, Value

MAX_UNCERTAINTY = 0.05
"""Fraction of an interval by which its length may be uncertain. 5%, the relative error of 400
arrivals: such an error is no larger than the random error, and the next sample has the opposite
error. Responses that take up to half a second do not exceed it in intervals of 10 s."""

STALL_LIMIT_S = 600.0
"""Seconds after which queued requests that neither complete nor change count as an error of the
counter. 10 min, because no caller of `_infer` waits longer; in some versions the counter drifts
upwards permanently (elastic/elasticsearch#154483)."""

FROZEN_LIMIT_S = 180.0
"""Seconds without a completed request after which the throughput of the last minute must be zero.
3 min: the last complete minute ends up to 60 s before a response and begins 60 s earlier, and
responses of slow clusters are up to a minute old."""

_KEEPS_BASELINE = frozenset(
    {
        DataIssue.CLOCK,
        DataIssue.NOT_REPORTED,
        DataIssue.INCOMPLETE,
        DataIssue.INCONSISTENT,
        DataIssue.COUNTER_DECREASED,
        DataIssue.IMPLAUSIBLE,
    }
)
"""Issues of a response because of which the next one is compared with the one before it."""

_SLOW = frozenset({DataIssue.SLOW_RESPONSE, DataIssue.STALLED})
"""Issues because of which the interval has to grow, if there is no other."""

_RESTARTS_WINDOW = frozenset(
    {DataIssue.FIRST_OBSERVATION, DataIssue.OBSERVATION_GAP, DataIssue.NOT_STARTED}
)
"""Issues after which the stabilisation window starts again: the loads before are not known."""


class SampleAndLoad(TypedDict):
    sample: Sample
    load: LoadEstimate


class Measurement(Value, frozen=True):
    """What one observation adds to the state of a deployment."""

    sample: Sample
    load: LoadEstimate | None
    samples: tuple[Sample, ...]
    baseline: DeploymentStats
    baseline_at: float
    baseline_span_s: float
    peaks: tuple[tuple[float, int], ...]
    stalled_since: float | None
    service_time_s: float | None = None  # last known before
    disagreement: Disagreement | None = None

    def with_interval(self, interval_s: float) -> SampleAndLoad:
        """The sample and the load if the interval was of this length."""
        earlier = self.samples
        if earlier and earlier[-1] is self.sample:
            earlier = earlier[:-1]
        sample = replace(self.sample, interval_s=interval_s, uncertainty_s=0.0)
        load = estimate((*earlier, sample), self.service_time_s)
        return SampleAndLoad(sample=sample, load=load)


def measure(
    known: DeploymentState | None,
    stats: DeploymentStats,
    *,
    at: float,
    span_s: float = 0.0,
    load_window_s: float,
    max_interval_s: float,
    ml_nodes: Collection[str] | None = None,
) -> Measurement:
    """Compare with the last comparable statistics, if they are at most `max_interval_s` old.

    The counters were read at an unknown instant of `span_s` seconds before `at`, and so were those
    of the baseline. The interval is the one between the middles of the two spans. The slower the
    responses, the longer it has to be, and the older the baseline may be.
    """
    before, disagreed = (stats, None) if known is None else (known.baseline, known.disagreement)
    disagreement = disagreement_of(disagreed, before, stats, at, ml_nodes)
    if known is None:
        return _begin(stats, DataIssue.FIRST_OBSERVATION, at, span_s, disagreement)
    elapsed_s = at - known.baseline_at
    uncertainty_s = (span_s + known.baseline_span_s) / 2.0
    if (
        at - known.seen_at > max_interval_s
        or elapsed_s > max_interval_s + uncertainty_s / MAX_UNCERTAINTY
    ):
        begun = _begin(stats, DataIssue.OBSERVATION_GAP, at, span_s, disagreement)
        since = known.stalled_since if _is_frozen(known.baseline, stats) else None
        return replace(begun, stalled_since=since)
    measured = sample(
        known.baseline,
        stats,
        at=at,
        interval_s=elapsed_s - (span_s - known.baseline_span_s) / 2.0,
        uncertainty_s=uncertainty_s,
        accepted=accepted_at(disagreement, at),
    )
    stalled_since = None
    frozen = _is_frozen(known.baseline, stats) and (
        known.stalled_since is not None or any(each.completed for each in known.samples)
    )
    if frozen or DataIssue.STALLED in measured.issues:
        stalled_since = at if known.stalled_since is None else known.stalled_since
        if frozen and at - stalled_since >= FROZEN_LIMIT_S:
            measured = replace(measured, issues=(*measured.issues, DataIssue.INCONSISTENT))
    if measured.uncertainty_s > MAX_UNCERTAINTY * measured.interval_s:
        measured = replace(measured, issues=(*measured.issues, DataIssue.SLOW_RESPONSE))
    samples, service_time_s = known.samples, known.service_time_s
    if not measured.issues:
        of_totals = None
        if service_time_s is None:
            if measured.overloaded:
                of_totals = with_service_time_of_totals(measured, known.baseline, stats)
            elif measured.timed:
                samples = _untimed(samples)
        measured = of_totals or with_least_service_time(
            measured, known.baseline, stats, service_time_s
        )
        samples = within(load_window_s, samples, measured)
        known_load = estimate(samples, service_time_s)
        if of_totals is not None:
            known_load = replace(known_load, from_totals=True)
        return Measurement(
            measured,
            known_load,
            samples,
            stats,
            at,
            span_s,
            known.peaks,
            stalled_since,
            service_time_s,
            disagreement,
        )
    if (
        DataIssue.STALLED in measured.issues
        and stalled_since is not None
        and at - stalled_since >= STALL_LIMIT_S
    ):
        issues = tuple(issue for issue in measured.issues if issue is not DataIssue.STALLED)
        measured = replace(measured, issues=issues)
        if not issues:
            samples = within(load_window_s, samples, measured)
    load = estimate(samples, service_time_s) if samples else None
    peaks = known.peaks
    if not _RESTARTS_WINDOW.isdisjoint(measured.issues):
        peaks = _current(stats, at)
    if _keeps_baseline(known, measured, span_s, elapsed_s):
        stats, at, span_s = known.baseline, known.baseline_at, known.baseline_span_s
    return Measurement(
        measured,
        load,
        samples,
        stats,
        at,
        span_s,
        peaks,
        stalled_since,
        service_time_s,
        disagreement,
    )


def _is_frozen(before: DeploymentStats, now: DeploymentStats) -> bool:
    """Whether a process reports a throughput, and as many completed requests as before.

    That lasts for two minutes after the last request. Beyond, totals that have changed before are
    old ones, such as those of a cache, or of a node that no longer updates them.
    """
    earlier = {node.node_id: node for node in before.nodes}
    for node in now.nodes:
        known = earlier.get(node.node_id)
        if (
            known is not None
            and known.completed == node.completed
            and node.throughput_last_minute
            and known.server_started_at == node.server_started_at
        ):
            return True
    return False


def _keeps_baseline(
    known: DeploymentState, measured: Sample, span_s: float, elapsed_s: float
) -> bool:
    """Whether the next statistics are compared with those before these.

    While responses are slow, the baseline stays, so that the interval grows until its uncertainty
    is a small part of it. It is replaced where the instant of these statistics is so much more
    certain that the next reliable sample comes earlier with them.
    """
    if not _KEEPS_BASELINE.isdisjoint(measured.issues):
        return True
    if not _SLOW.issuperset(measured.issues) or DataIssue.SLOW_RESPONSE not in measured.issues:
        return False
    return known.baseline_span_s - span_s <= 2.0 * MAX_UNCERTAINTY * elapsed_s


def _begin(
    stats: DeploymentStats,
    issue: DataIssue,
    at: float,
    span_s: float,
    disagreement: Disagreement | None,
) -> Measurement:
    """Start to measure: there is nothing to compare with."""
    issues = find_issues(stats, accepted_at(disagreement, at))
    measured = Sample(at=at, interval_s=0.0, issues=(*issues, issue))
    peaks = _current(stats, at)
    return Measurement(
        measured, None, (), stats, at, span_s, peaks, None, disagreement=disagreement
    )


def _current(stats: DeploymentStats, at: float) -> tuple[tuple[float, int], ...]:
    """The current allocations count as a recommendation, so that nothing is scaled down for a whole
    window."""
    return ((at, stats.allocations),) if stats.allocations is not None else ()


def _untimed(samples: tuple[Sample, ...]) -> tuple[Sample, ...]:
    """The samples of an overload without the service times that it showed, since one is measured
    now."""
    return tuple(
        [
            replace(sample, timed=0, timed_busy_s=0.0) if sample.overloaded else sample
            for sample in samples
        ]
    )


def working_allocations(stats: DeploymentStats, sample: Sample) -> int | None:
    """The running allocations, without those that no process acknowledges."""
    running = stats.running_allocations
    return None if running is None else running - min(running, sample.unacknowledged)


def is_another(before: DeploymentStats, now: DeploymentStats) -> bool:
    """Whether the times of creation are known and differ."""
    created_at = now.server_created_at
    return created_at is not None and before.server_created_at not in (created_at, None)
