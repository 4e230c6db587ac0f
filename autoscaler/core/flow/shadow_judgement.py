"""One interval of a dry run, judged: the allocations and late requests of its shadow, and of what
really ran."""

import math
from collections.abc import Sequence
from typing import Protocol

from msgspec.structs import replace

from autoscaler.core.flow.assessment import Assessment
from autoscaler.core.policies import AnyPolicy, Situation
from autoscaler.core.shadow import ShadowTotals
from autoscaler.core.state import PolicyMemory, ShadowPath
from autoscaler.core.values import STARTED, DeploymentStats


class LatenessModel(Protocol):
    """Computes the late requests of allocations that need not have run."""

    def after(
        self, backlog: float, requests: int, interval_s: float, per_node: Sequence[int]
    ) -> tuple[float, float]:
        """The late requests of an interval, and the backlog at its end.

        Args:
            backlog: queued requests at its beginning.
            requests: that arrive in it.
            per_node: the allocations of each node in it.
        """


def _lateness_of(
    policy: AnyPolicy, situation: Situation, memory: PolicyMemory | None
) -> LatenessModel | None:
    """How a policy computes late requests; None: it knows nothing of them now, or fails.

    A policy that knows it has a method `lateness` as well, with the arguments of `recommend`.

    Args:
        memory: that `recommend` returned.
    """
    lateness = getattr(policy, "lateness", None)
    if lateness is None or memory is None:
        return None
    try:
        model: LatenessModel | None = lateness(situation, memory.value)
    except Exception:  # of any kind: a defect here must not end the cycle
        return None
    return model


def judged(
    path: ShadowPath, dry: Assessment, at: float, max_interval_s: float
) -> tuple[ShadowPath, ShadowTotals]:
    """The backlogs at the end of the interval before `at`, and its totals.

    Args:
        path: up to the beginning of the interval.
        dry: the assessment of what really runs.
        max_interval_s: between two observations that may still be compared.
    """
    sample, elapsed_s = dry.measured.sample, at - path.at
    if not 0.0 < elapsed_s <= max_interval_s:
        return replace(path, backlog=0.0, recorded_backlog=0.0), ShadowTotals()
    if sample.issues or sample.overloaded:
        queued = (
            0.0 if sample.issues else max(0.0, sample.in_flight - running_allocations(dry.stats))
        )
        helps = sum(path.per_node) > sum(path.recorded_per_node)
        path = replace(path, backlog=0.0 if helps else queued, recorded_backlog=queued)
        return path, ShadowTotals(unknown_s=elapsed_s)
    totals = ShadowTotals(
        known_s=elapsed_s,
        recorded_s=elapsed_s * sum(path.recorded_per_node),
        shadow_s=elapsed_s * sum(path.per_node),
    )
    requests = max(0, sample.arrivals - sample.cache_hits)
    computed = _late_requests(path, _lateness(dry), requests, sample.interval_s)
    if computed is None:
        return replace(path, backlog=0.0, recorded_backlog=0.0), totals
    (recorded_late, recorded_backlog), (late, backlog) = computed
    return replace(path, backlog=backlog, recorded_backlog=recorded_backlog), replace(
        totals,
        judged_s=elapsed_s,
        requests=float(requests),
        recorded_late=recorded_late,
        shadow_late=late,
    )


def _late_requests(
    path: ShadowPath, model: LatenessModel | None, requests: int, interval_s: float
) -> tuple[tuple[float, float], tuple[float, float]] | None:
    """The late requests and the backlog of what ran, and those of the shadow; None: unknown."""
    if model is None or interval_s <= 0.0:
        return None
    try:
        recorded = model.after(path.recorded_backlog, requests, interval_s, path.recorded_per_node)
        shadow = model.after(path.backlog, requests, interval_s, path.per_node)
        (recorded_late, recorded_backlog), (late, backlog) = recorded, shadow
        figures = (recorded_late, recorded_backlog, late, backlog)
        known = all(math.isfinite(figure) and figure >= 0.0 for figure in figures)
    except Exception:  # of any kind: a defect here must not end the cycle
        return None
    return (recorded, shadow) if known else None


def _lateness(dry: Assessment) -> LatenessModel | None:
    situation = dry.recommendation.situation
    if situation is None:
        return None
    return _lateness_of(dry.rule.policy, situation, dry.recommendation.memory)


def running_allocations(stats: DeploymentStats) -> int:
    """The running allocations; 0 if that is unknown."""
    return stats.running_allocations or 0


def per_node(stats: DeploymentStats) -> tuple[int, ...]:
    """The running allocations by node."""
    found = tuple(
        [n.allocations for n in stats.nodes if n.routing_state == STARTED and n.allocations]
    )
    running = running_allocations(stats)
    return found if sum(found) == running or not running else (running,)
