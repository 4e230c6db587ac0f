"""The one entry point: from an observation to a plan."""

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
        measured, load, known = _measure(
            state.deployments.get(name), stats, rule, at, policy.longest_interval_s
        )
        first = _recommend(stats, measured, load, rule)
        known, news = _remember(known, stats, first, rule, after.capacity, at)
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
                steps=_limit(first, stats, measured, known, rule, after, maintenance),
                sample=measured,
                load=load,
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


def _measure(
    known: DeploymentState | None,
    stats: DeploymentStats,
    rule: Rule,
    at: float,
    longest_interval_s: float,
) -> tuple[Sample, LoadEstimate | None, DeploymentState]:
    """What happened since the last comparable answer, and what to remember of it."""
    if known is None or known.baseline.server_created_at != stats.server_created_at:
        return _begin(None, stats, Flaw.FIRST_SIGHT, at)
    interval_s = at - known.baseline_at
    if interval_s > longest_interval_s:
        return _begin(known, stats, Flaw.OVERDUE, at)
    measured = sample(known.baseline, stats, at=at, interval_s=interval_s)
    stalled_since = None
    if Flaw.STALLED in measured.flaws:
        stalled_since = at if known.stalled_since is None else known.stalled_since
        if at - stalled_since >= STALL_LIMIT_S:
            flaws = tuple(flaw for flaw in measured.flaws if flaw is not Flaw.STALLED)
            measured = replace(measured, flaws=flaws)
    samples = known.samples
    if not measured.flaws:
        oldest = at - rule.policy.load_window_s
        samples = (*[s for s in samples if s.at - s.interval_s >= oldest], measured)
    load = estimate(samples, known.service_time_s) if samples else None
    peaks = known.peaks
    if not _BEGINNINGS.isdisjoint(measured.flaws) and stats.allocations is not None:
        peaks = ((at, stats.allocations),)
    keep = not _INCOMPARABLE.isdisjoint(measured.flaws)
    return (
        measured,
        load,
        replace(
            known,
            seen_at=at,
            baseline=known.baseline if keep else stats,
            baseline_at=known.baseline_at if keep else at,
            samples=samples,
            service_time_s=load.service_time_s if load else known.service_time_s,
            peaks=peaks,
            stalled_since=stalled_since,
        ),
    )


def _begin(
    known: DeploymentState | None, stats: DeploymentStats, flaw: Flaw, at: float
) -> tuple[Sample, None, DeploymentState]:
    """Start measuring; the present number counts as recommended, so nothing falls for a window."""
    measured = Sample(at=at, interval_s=0.0, flaws=(*find_flaws(stats), flaw))
    peaks = ((at, stats.allocations),) if stats.allocations is not None else ()
    fresh = DeploymentState(seen_at=at, baseline=stats, baseline_at=at, peaks=peaks)
    if known is None:
        return measured, None, fresh
    return (
        measured,
        None,
        replace(
            fresh,
            service_time_s=known.service_time_s,
            unsettled_since=known.unsettled_since,
            infeasible=known.infeasible,
            pursuit=known.pursuit,
            refused=known.refused,
        ),
    )


def _remember(
    known: DeploymentState,
    stats: DeploymentStats,
    first: Step,
    rule: Rule,
    capacity: Capacity,
    at: float,
) -> tuple[DeploymentState, Satisfied | None]:
    """Bring up to date what is under way: the window, the last update, the last refusal."""
    pursuit, news, infeasible, unsettled_since = known.pursuit, None, known.infeasible, None
    if pursuit is not None:
        pursuit, news = follow(pursuit, stats, at)
    if is_unsettled(stats):
        unsettled_since = at if known.unsettled_since is None else known.unsettled_since
    if infeasible is not None and without(capacity, stats).exceeds(infeasible.capacity):
        infeasible = None
    peaks = _peaks(known.peaks, first, rule, at)
    return replace(
        known, pursuit=pursuit, infeasible=infeasible, unsettled_since=unsettled_since, peaks=peaks
    ), news


def _recommend(
    stats: DeploymentStats, measured: Sample, load: LoadEstimate | None, rule: Rule
) -> Step:
    current = stats.allocations
    if current is None:
        number = stats.target_allocations or 0
        return Step(Reason.UNTRUSTED, number, number, {"flaws": words(measured.flaws)})
    if stats.native is not None and stats.native.enabled:
        return Step(Reason.NATIVE_SCALING, current, current)
    if measured.flaws:
        return Step(Reason.UNTRUSTED, current, current, {"flaws": words(measured.flaws)})
    if load is None:
        return Step(Reason.NOT_MEASURED, current, current)
    return rule.policy.recommend(load, current)


def _peaks(
    peaks: tuple[tuple[float, int], ...], first: Step, rule: Rule, at: float
) -> tuple[tuple[float, int], ...]:
    oldest = at - rule.stabilisation_window_s
    kept = [peak for peak in peaks if peak[0] > oldest]
    if first.reason in _NO_RECOMMENDATION:
        return tuple(kept)
    return (*[peak for peak in kept if peak[1] > first.after], (at, first.after))


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
    if first.reason is Reason.NATIVE_SCALING or not _DAMAGED.isdisjoint(measured.flaws):
        return (first,)
    at = measured.at
    infeasible = known.infeasible
    refused = max((known.refused, state.forbidden), key=lambda r: r.until if r else 0.0)
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
