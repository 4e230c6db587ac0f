"""What one observation adds to the state of a deployment: a sample, and the load estimate."""

from msgspec.structs import replace

from autoscaler.core.flow.estimation import estimate
from autoscaler.core.flow.sampling import find_issues, sample
from autoscaler.core.state import DeploymentState
from autoscaler.core.values import DataIssue, DeploymentStats, LoadEstimate, Sample, Value

STALL_LIMIT_S = 600.0
"""Seconds after which queued requests that neither complete nor change count as an error of the
counter. 10 min, because no caller of `_infer` waits longer; in some versions the counter drifts
upwards permanently (elastic/elasticsearch#154483)."""

_KEEPS_BASELINE = frozenset(
    {
        DataIssue.CLOCK,
        DataIssue.INCOMPLETE,
        DataIssue.INCONSISTENT,
        DataIssue.COUNTER_DECREASED,
        DataIssue.IMPLAUSIBLE,
    }
)
"""Issues of a response because of which the next one is compared with the one before it."""

_RESTARTS_WINDOW = frozenset(
    {DataIssue.FIRST_OBSERVATION, DataIssue.OBSERVATION_GAP, DataIssue.NOT_STARTED}
)
"""Issues after which the stabilisation window starts again: the loads before are not known."""


class Measurement(Value, frozen=True):
    """What one observation adds to the state of a deployment."""

    sample: Sample
    load: LoadEstimate | None
    samples: tuple[Sample, ...]
    baseline: DeploymentStats
    baseline_at: float
    peaks: tuple[tuple[float, int], ...]
    stalled_since: float | None


def measure(
    known: DeploymentState | None,
    stats: DeploymentStats,
    *,
    at: float,
    load_window_s: float,
    max_interval_s: float,
) -> Measurement:
    """Compare with the last comparable statistics, if they are at most `max_interval_s` old."""
    if known is None:
        return _begin(stats, DataIssue.FIRST_OBSERVATION, at)
    interval_s = at - known.baseline_at
    if interval_s > max_interval_s:
        return _begin(stats, DataIssue.OBSERVATION_GAP, at)
    measured = sample(known.baseline, stats, at=at, interval_s=interval_s)
    samples, service_time_s = known.samples, known.service_time_s
    if not measured.issues:
        samples = _within(load_window_s, samples, measured)
        return Measurement(
            measured, estimate(samples, service_time_s), samples, stats, at, known.peaks, None
        )
    stalled_since = None
    if DataIssue.STALLED in measured.issues:
        stalled_since = at if known.stalled_since is None else known.stalled_since
        if at - stalled_since >= STALL_LIMIT_S:
            issues = tuple(issue for issue in measured.issues if issue is not DataIssue.STALLED)
            measured = replace(measured, issues=issues)
            if not issues:
                samples = _within(load_window_s, samples, measured)
    load = estimate(samples, service_time_s) if samples else None
    peaks = known.peaks
    if not _RESTARTS_WINDOW.isdisjoint(measured.issues):
        peaks = _current(stats, at)
    baseline, baseline_at = stats, at
    if not _KEEPS_BASELINE.isdisjoint(measured.issues):
        baseline, baseline_at = known.baseline, known.baseline_at
    return Measurement(measured, load, samples, baseline, baseline_at, peaks, stalled_since)


def _begin(stats: DeploymentStats, issue: DataIssue, at: float) -> Measurement:
    """Start to measure: there is nothing to compare with."""
    measured = Sample(at=at, interval_s=0.0, issues=(*find_issues(stats), issue))
    return Measurement(measured, None, (), stats, at, _current(stats, at), None)


def _current(stats: DeploymentStats, at: float) -> tuple[tuple[float, int], ...]:
    """The current allocations count as a recommendation, so that nothing is scaled down for a whole
    window."""
    return ((at, stats.allocations),) if stats.allocations is not None else ()


def _within(window_s: float, samples: tuple[Sample, ...], latest: Sample) -> tuple[Sample, ...]:
    oldest = latest.at - window_s
    while samples and samples[0].at - samples[0].interval_s < oldest:
        samples = samples[1:]
    return (*samples, latest)
