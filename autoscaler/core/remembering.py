"""What one decision leaves behind for the next one about the same deployment."""

from typing import Any

from msgspec.structs import replace

from autoscaler.core.feedback import INFEASIBLE_HOLD_S, follow, is_unsettled
from autoscaler.core.idleness import idle_since
from autoscaler.core.levers import lever_in_use
from autoscaler.core.measurement import Measurement
from autoscaler.core.moment import Moment
from autoscaler.core.selection import Rule
from autoscaler.core.state import DeploymentState, Infeasible, Pursuit, without
from autoscaler.core.usage import used
from autoscaler.core.values import DeploymentStats, Reason, Sample, Satisfied, Step

NATIVE_PATIENCE_S = 60.0
"""Within which the cluster's own scaler, which looks every ten seconds, has done what it can. What
it has not reached by then does not fit; it asks for all or nothing, again and again."""

_NO_RECOMMENDATION = frozenset({Reason.UNTRUSTED, Reason.NOT_MEASURED, Reason.POLICY_FAILED})


def remember(
    known: DeploymentState | None,
    stats: DeploymentStats,
    measured: Measurement,
    first: Step,
    rule: Rule,
    moment: Moment,
    memory: Any,
    usage: bytes,
) -> tuple[DeploymentState, Satisfied | None]:
    """All that is known now: the measurement, the window, the last update, the last refusal.

    Args:
        known: what was known before; None: nothing, or of another deployment of this name.
        first: what the policy recommends, and `memory` what it remembers.
        usage: at which times of the week it was used, as far as is known.

    Returns:
        That, and whether an accepted update has now been carried out.
    """
    at = moment.at
    if known is None:
        known = DeploymentState(seen_at=at, baseline=measured.baseline, baseline_at=at)
    service_time_s = measured.load.service_time_s if measured.load else None
    unsettled_since = None
    if is_unsettled(stats):
        unsettled_since = at if known.unsettled_since is None else known.unsettled_since
    pursuit, infeasible, news = known.pursuit, known.infeasible, None
    new_node_s = known.new_node_s
    if pursuit is not None:
        refused_by_native = _out_of_reach(pursuit, stats, moment)
        pursuit, news = follow(pursuit, stats, at)
        if refused_by_native is not None:
            pursuit, infeasible = None, refused_by_native
        if news is not None and news.new_node:
            new_node_s = news.took_s if new_node_s is None else (new_node_s + news.took_s) / 2.0
    if infeasible is not None and without(moment.capacity, stats).exceeds(infeasible.capacity):
        infeasible = None
    return replace(
        known,
        seen_at=at,
        baseline=measured.baseline,
        baseline_at=measured.baseline_at,
        samples=measured.samples,
        service_time_s=service_time_s or known.service_time_s,
        peaks=_peaks(measured.peaks, first, rule, at),
        policy=rule.policy.name,
        memory=memory,
        beyond_burst_s=_beyond_burst(known, measured, first, rule, at),
        stalled_since=measured.stalled_since,
        unsettled_since=unsettled_since,
        infeasible=infeasible,
        pursuit=pursuit,
        new_node_s=new_node_s,
        lever=lever_in_use(rule, stats, known.lever),
        idle_since=None if rule.zero is None else idle_since(known.idle_since, measured.sample),
        usage=usage if rule.zero is None else _usage(usage, known, measured.sample),
    ), news


def _usage(usage: bytes, known: DeploymentState, sample: Sample) -> bytes:
    return used(usage, sample.at, since=known.seen_at, requests=sample.arrivals > 0)


def _out_of_reach(pursuit: Pursuit, stats: DeploymentStats, moment: Moment) -> Infeasible | None:
    """A minimum that the cluster's own scaler has not reached: it was refused, and does not say."""
    waited_s = moment.at - pursuit.asked_at
    reached = (stats.allocations or 0) >= pursuit.allocations
    if not pursuit.at_least or reached or waited_s <= NATIVE_PATIENCE_S:
        return None
    return Infeasible(
        allocations=pursuit.allocations,
        capacity=without(moment.capacity, stats),
        hold_s=INFEASIBLE_HOLD_S,
        until=moment.at + INFEASIBLE_HOLD_S,
    )


def _beyond_burst(
    known: DeploymentState, measured: Measurement, first: Step, rule: Rule, at: float
) -> float | None:
    """How long more than the burst ceiling has been wanted. Cycles without an opinion do not
    count, in either direction; measuring that begins anew begins this anew."""
    if rule.burst_maximum is None:
        return None
    before_s = known.beyond_burst_s
    if _has_no_opinion(first):
        return before_s if measured.samples else None
    if first.after <= rule.burst_maximum:
        return None
    return 0.0 if before_s is None else before_s + at - known.seen_at


def _has_no_opinion(first: Step) -> bool:
    """Whether it holds the number, and recommends none."""
    return first.stands_off or first.reason in _NO_RECOMMENDATION


def _peaks(
    peaks: tuple[tuple[float, int], ...], first: Step, rule: Rule, at: float
) -> tuple[tuple[float, int], ...]:
    oldest = at - rule.stabilisation_window_s
    while peaks and peaks[0][0] <= oldest:
        peaks = peaks[1:]
    if _has_no_opinion(first):
        return peaks
    while peaks and peaks[-1][1] <= first.after:
        peaks = peaks[:-1]
    return (*peaks, (at, first.after))
