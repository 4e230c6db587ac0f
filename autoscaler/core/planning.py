"""The one entry point: from an observation to a plan."""

from typing import NamedTuple

from msgspec.structs import replace

from autoscaler.core.constraints import Context, constrain, words
from autoscaler.core.estimation import estimate
from autoscaler.core.feedback import follow, is_unsettled
from autoscaler.core.sampling import find_flaws, sample
from autoscaler.core.selection import Rule, select
from autoscaler.core.state import Capacity, DeploymentState, State, capacity_of, without
from autoscaler.core.values import (
    Cluster,
    Decision,
    DeploymentStats,
    Flaw,
    LoadEstimate,
    Observation,
    Plan,
    Reason,
    Sample,
    Satisfied,
    Step,
    Unmanaged,
    Value,
)

FORGET_AFTER_S = 900.0
"""How long a deployment that is no longer reported is remembered."""

STALL_LIMIT_S = 600.0
"""Requests that have waited so long without any coming or going are an error of the count.

Some versions let the pending counter drift upwards for good (elastic/elasticsearch#154483); no
caller of `_infer` waits longer than this for an answer.
"""

_INCOMPARABLE = frozenset(
    {Flaw.CLOCK, Flaw.INCOMPLETE, Flaw.CONTRADICTORY, Flaw.BACKWARDS, Flaw.IMPOSSIBLE}
)
"""Flaws of an answer that the next one may still be compared around, with the one before."""


_DAMAGED = frozenset(
    {Flaw.NOT_STARTED, Flaw.CLOCK, Flaw.CONTRADICTORY, Flaw.BACKWARDS, Flaw.IMPOSSIBLE}
)
"""Flaws that cast doubt on the reported number itself, so that not even bounds are enforced."""

_BEGINNINGS = frozenset({Flaw.FIRST_SIGHT, Flaw.OVERDUE, Flaw.NOT_STARTED})
"""Flaws after which the stabilisation window starts anew: what came before is not known."""


class Policy(Value, frozen=True, kw_only=True):
    """How to decide, settled: no defaults, nothing left to look up."""

    rules: tuple[Rule, ...]  # the first that matches a deployment governs it
    longest_interval_s: float  # between observations that may still be compared


def plan(state: State, observation: Observation, policy: Policy) -> tuple[Plan, State]:
    """Decide every managed deployment's allocations.

    Pure: the result depends on the arguments alone, and `observation.at` is the only time there
    is. A deployment that cannot be measured is held, and its first step says so.

    Returns:
        The plan, with decisions in order of deployment id, and the state for the next call.
    """
    at = observation.at
    after = State(
        deployments=_remembered(state, observation),
        capacity=capacity_of(observation),
        forbidden=state.forbidden,
    )
    deployments = dict(after.deployments)
    maintenance = _maintenance(observation.cluster)
    decisions: list[Decision] = []
    unmanaged: dict[str, Unmanaged] = {}
    satisfied: list[Satisfied] = []
    for name in sorted(observation.deployments):
        stats = observation.deployments[name]
        rule = select(policy.rules, stats)
        if isinstance(rule, Unmanaged):
            unmanaged[name] = rule
            continue
        known = state.deployments.get(name)
        if known is not None and known.baseline.server_created_at != stats.server_created_at:
            known = None  # stopped and started again: another deployment of the same name
        measured = _measure(known, stats, rule, at, policy.longest_interval_s)
        first = _recommend(stats, measured, rule)
        known, news = _remember(known, stats, measured, first, rule, after.capacity, at)
        if news is not None:
            satisfied.append(news)
        decisions.append(
            Decision(
                deployment_id=name,
                model_id=stats.model_id,
                at=at,
                rule=rule.name,
                dry_run=rule.dry_run,
                current=first.before,
                minimum=rule.minimum,
                maximum=rule.maximum,
                steps=_limit(first, stats, measured.sample, known, rule, after, maintenance),
                sample=measured.sample,
                load=measured.load,
            )
        )
        deployments[name] = known
    planned = Plan(
        at=at, decisions=tuple(decisions), unmanaged=unmanaged, satisfied=tuple(satisfied)
    )
    return planned, replace(after, deployments=deployments)


def _remembered(state: State, observation: Observation) -> dict[str, DeploymentState]:
    """Those that this answer does not mention: one answer may leave a deployment out."""
    oldest = observation.at - FORGET_AFTER_S
    return {
        name: known
        for name, known in state.deployments.items()
        if name not in observation.deployments and known.seen_at > oldest
    }


def _maintenance(cluster: Cluster | None) -> str:
    if cluster is None:
        return ""
    if cluster.upgrade_mode:
        return "machine-learning upgrade mode is on"
    return "nodes run different versions" if cluster.mixed_versions else ""


class _Measured(NamedTuple):
    """What one observation adds to what is known of a deployment."""

    sample: Sample
    load: LoadEstimate | None
    samples: tuple[Sample, ...]
    baseline: DeploymentStats
    baseline_at: float
    peaks: tuple[tuple[float, int], ...]
    stalled_since: float | None


def _measure(
    known: DeploymentState | None,
    stats: DeploymentStats,
    rule: Rule,
    at: float,
    longest_interval_s: float,
) -> _Measured:
    """What happened since the last comparable answer."""
    if known is None:
        return _begin(stats, Flaw.FIRST_SIGHT, at)
    interval_s = at - known.baseline_at
    if interval_s > longest_interval_s:
        return _begin(stats, Flaw.OVERDUE, at)
    measured = sample(known.baseline, stats, at=at, interval_s=interval_s)
    samples, service_time_s = known.samples, known.service_time_s
    if not measured.flaws:
        samples = _within(rule.policy.load_window_s, samples, measured)
        return _Measured(
            measured, estimate(samples, service_time_s), samples, stats, at, known.peaks, None
        )
    stalled_since = None
    if Flaw.STALLED in measured.flaws:
        stalled_since = at if known.stalled_since is None else known.stalled_since
        if at - stalled_since >= STALL_LIMIT_S:
            flaws = tuple(flaw for flaw in measured.flaws if flaw is not Flaw.STALLED)
            measured = replace(measured, flaws=flaws)
            if not flaws:
                samples = _within(rule.policy.load_window_s, samples, measured)
    load = estimate(samples, service_time_s) if samples else None
    peaks = known.peaks
    if not _BEGINNINGS.isdisjoint(measured.flaws):
        peaks = _present(stats, at)
    baseline, baseline_at = stats, at
    if not _INCOMPARABLE.isdisjoint(measured.flaws):
        baseline, baseline_at = known.baseline, known.baseline_at
    return _Measured(measured, load, samples, baseline, baseline_at, peaks, stalled_since)


def _begin(stats: DeploymentStats, flaw: Flaw, at: float) -> _Measured:
    """Start measuring."""
    measured = Sample(at=at, interval_s=0.0, flaws=(*find_flaws(stats), flaw))
    return _Measured(measured, None, (), stats, at, _present(stats, at), None)


def _present(stats: DeploymentStats, at: float) -> tuple[tuple[float, int], ...]:
    """The present number counts as recommended, so that nothing falls for a whole window."""
    return ((at, stats.allocations),) if stats.allocations is not None else ()


def _within(window_s: float, samples: tuple[Sample, ...], latest: Sample) -> tuple[Sample, ...]:
    oldest = latest.at - window_s
    while samples and samples[0].at - samples[0].interval_s < oldest:
        samples = samples[1:]
    return (*samples, latest)


def _remember(
    known: DeploymentState | None,
    stats: DeploymentStats,
    measured: _Measured,
    first: Step,
    rule: Rule,
    capacity: Capacity,
    at: float,
) -> tuple[DeploymentState, Satisfied | None]:
    """All that is known now: the measurement, the window, the last update, the last refusal."""
    service_time_s = measured.load.service_time_s if measured.load else None
    unsettled_since = at if is_unsettled(stats) else None
    pursuit, infeasible, refused, news = None, None, None, None
    if known is not None:
        service_time_s = service_time_s or known.service_time_s
        pursuit, infeasible, refused = known.pursuit, known.infeasible, known.refused
        if unsettled_since is not None and known.unsettled_since is not None:
            unsettled_since = known.unsettled_since
        if pursuit is not None:
            pursuit, news = follow(pursuit, stats, at)
        if infeasible is not None and without(capacity, stats).exceeds(infeasible.capacity):
            infeasible = None
    return DeploymentState(
        seen_at=at,
        baseline=measured.baseline,
        baseline_at=measured.baseline_at,
        samples=measured.samples,
        service_time_s=service_time_s,
        peaks=_peaks(measured.peaks, first, rule, at),
        stalled_since=measured.stalled_since,
        unsettled_since=unsettled_since,
        infeasible=infeasible,
        pursuit=pursuit,
        refused=refused,
    ), news


def _recommend(stats: DeploymentStats, measured: _Measured, rule: Rule) -> Step:
    current = stats.allocations
    if current is None:
        number = stats.target_allocations or 0
        return Step(Reason.UNTRUSTED, number, number, {"flaws": words(measured.sample.flaws)})
    if stats.native is not None and stats.native.enabled:
        return Step(Reason.NATIVE_SCALING, current, current)
    if measured.sample.flaws or measured.load is None:
        return Step(Reason.UNTRUSTED, current, current, {"flaws": words(measured.sample.flaws)})
    return rule.policy.recommend(measured.load, current)


def _peaks(
    peaks: tuple[tuple[float, int], ...], first: Step, rule: Rule, at: float
) -> tuple[tuple[float, int], ...]:
    oldest = at - rule.stabilisation_window_s
    while peaks and peaks[0][0] <= oldest:
        peaks = peaks[1:]
    if first.reason in _NO_RECOMMENDATION:
        return peaks
    while peaks and peaks[-1][1] <= first.after:
        peaks = peaks[:-1]
    return (*peaks, (at, first.after))


_NO_RECOMMENDATION = frozenset({Reason.UNTRUSTED, Reason.NATIVE_SCALING, Reason.NOT_MEASURED})


def _limit(
    first: Step,
    stats: DeploymentStats,
    measured: Sample,
    known: DeploymentState,
    rule: Rule,
    state: State,
    maintenance: str,
) -> tuple[Step, ...]:
    if first.reason is Reason.NATIVE_SCALING or (
        measured.flaws and not _DAMAGED.isdisjoint(measured.flaws)
    ):
        return (first,)
    at = measured.at
    infeasible = known.infeasible
    refused = known.refused
    if state.forbidden is not None and (refused is None or refused.until < state.forbidden.until):
        refused = state.forbidden
    return constrain(
        first,
        Context(
            at=at,
            current=first.before,
            stats=stats,
            flaws=measured.flaws,
            highest=known.peaks[0][1] if known.peaks else first.after,
            minimum=rule.minimum,
            maximum=rule.maximum,
            stabilisation_window_s=rule.stabilisation_window_s,
            growth_factor=rule.growth_factor,
            shrink_factor=rule.shrink_factor,
            unsettled_s=None if known.unsettled_since is None else at - known.unsettled_since,
            infeasible=infeasible.allocations if infeasible and at < infeasible.until else None,
            maintenance=maintenance,
            back_off_s=refused.until - at if refused else 0.0,
            back_off_because=refused.because if refused else "",
        ),
    )
