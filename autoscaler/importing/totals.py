"""Intervals of deployments whose metrics are not exported by node.

The totals of a deployment are sums over the nodes that responded: they fall when one does not, and
rise when it responds again. Neither is load.
"""

from collections.abc import Mapping

from msgspec import Struct

from autoscaler.core.values import DataIssue
from autoscaler.importing.observations import DeploymentReading
from autoscaler.wire.intervals import LoadInterval

_FAILED = ("errors", "rejections", "timeouts")


class TotalsMemory(Struct):
    """What is remembered of one deployment."""

    fallen_from: float | None = None  # the total before it fell, until it is reached again


def totals_interval(
    before: DeploymentReading, after: DeploymentReading, memory: TotalsMemory
) -> LoadInterval:
    """The deployment between two readings. Counts are unknown where a total fell, and where it
    returns to what it was."""
    stats, figures = after.stats, after.figures
    adaptive = stats.adaptive
    completed = _gained(before.figures, figures, "completed")
    issues: tuple[str, ...] = ()
    if completed is not None and completed < 0.0:
        memory.fallen_from = max(memory.fallen_from or 0.0, before.figures["completed"])
        completed, issues = None, (str(DataIssue.COUNTER_DECREASED),)
    elif memory.fallen_from is not None and figures.get("completed", 0.0) >= memory.fallen_from:
        memory.fallen_from = None
        completed, issues = None, (str(DataIssue.COUNTER_DECREASED),)
    failures = [_gained(before.figures, figures, name) for name in _FAILED]
    known = [each for each in failures if each is not None and each >= 0.0]
    failed = round(sum(known)) if completed is not None and len(known) == len(failures) else None
    growth = _gained(before.figures, figures, "in_flight") or 0.0
    service_time_s = figures.get("service_time_s")
    return LoadInterval(
        deployment=stats.deployment_id,
        at=after.at,
        interval_s=after.at - before.at,
        model=stats.model_id,
        created_at=stats.server_created_at,
        arrivals=None if completed is None else max(0, round(completed + growth) + (failed or 0)),
        completed=None if completed is None else round(completed),
        failed=failed,
        busy_s=None if completed is None or service_time_s is None else completed * service_time_s,
        in_flight=None if "in_flight" not in figures else round(figures["in_flight"]),
        requested=stats.allocations,
        running=stats.running_allocations,
        threads=stats.threads_per_allocation,
        queue_capacity=stats.queue_capacity,
        adaptive=adaptive.enabled if adaptive else None if stats.allocations is None else False,
        adaptive_minimum=adaptive.minimum if adaptive else None,
        adaptive_maximum=adaptive.maximum if adaptive else None,
        issues=issues,
    )


def _gained(before: Mapping[str, float], after: Mapping[str, float], name: str) -> float | None:
    if name not in before or name not in after:
        return None
    return after[name] - before[name]
