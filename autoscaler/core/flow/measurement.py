"""What one observation adds to what is known of a deployment: a sample, and the load by now."""

from msgspec.structs import replace

from autoscaler.core.flow.estimation import estimate
from autoscaler.core.flow.sampling import find_issues, sample
from autoscaler.core.state import DeploymentState
from autoscaler.core.values import DataIssue, DeploymentStats, LoadEstimate, Sample, Value

STALL_LIMIT_S = 600.0
"""Requests that have waited so long without any coming or going are an error of the count.

Some versions let the pending counter drift upwards for good (elastic/elasticsearch#154483); no
caller of `_infer` waits longer than this for an answer.
"""

_KEEPS_BASELINE = frozenset(
    {
        DataIssue.CLOCK,
        DataIssue.INCOMPLETE,
        DataIssue.INCONSISTENT,
        DataIssue.COUNTER_DECREASED,
        DataIssue.IMPLAUSIBLE,
    }
)
"""Flaws of an answer that the next one may still be compared around, with the one before."""

_RESTARTS_WINDOW = frozenset(
    {DataIssue.FIRST_OBSERVATION, DataIssue.OBSERVATION_GAP, DataIssue.NOT_STARTED}
)
"""Flaws after which the stabilisation window starts anew: what came before is not known."""


class Measurement(Value, frozen=True):
    """What one observation adds to what is known of a deployment."""

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
    """What happened since the last comparable answer, at most `longest_interval_s` ago."""
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
        peaks = _present(stats, at)
    baseline, baseline_at = stats, at
    if not _KEEPS_BASELINE.isdisjoint(measured.issues):
        baseline, baseline_at = known.baseline, known.baseline_at
    return Measurement(measured, load, samples, baseline, baseline_at, peaks, stalled_since)


def _begin(stats: DeploymentStats, issue: DataIssue, at: float) -> Measurement:
    """Start measuring."""
    measured = Sample(at=at, interval_s=0.0, issues=(*find_issues(stats), issue))
    return Measurement(measured, None, (), stats, at, _present(stats, at), None)


def _present(stats: DeploymentStats, at: float) -> tuple[tuple[float, int], ...]:
    """The present number counts as recommended, so that nothing falls for a whole window."""
    return ((at, stats.allocations),) if stats.allocations is not None else ()


def _within(window_s: float, samples: tuple[Sample, ...], latest: Sample) -> tuple[Sample, ...]:
    oldest = latest.at - window_s
    while samples and samples[0].at - samples[0].interval_s < oldest:
        samples = samples[1:]
    return (*samples, latest)
