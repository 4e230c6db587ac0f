"""The shadows of dry runs: what they would have done, judged as they go.

A dry run decides in each cycle from the allocations that really run, so its decisions are no path:
the third increase in a row may be the same one. For each deployment in dry run, the planner
therefore decides a second time, as if its decisions had been carried out: from statistics with the
allocations of the shadow, with a state of its own, and with all the limits of a plan. What fits is
what would be free if all shadows were real.

An update of the shadow is accepted. Its allocations run at the next poll on the nodes that the
deployment would use, and after the lead time of a new node on others.
"""

from collections.abc import Collection, Generator, Iterable, Mapping, Sequence

from msgspec.structs import replace

from autoscaler.core.capacity import free_capacity_of
from autoscaler.core.decision import Mode
from autoscaler.core.flow.arbitration import Claim
from autoscaler.core.flow.assessment import Assessment, assess_measured, decided
from autoscaler.core.flow.constraint_context import Grant
from autoscaler.core.flow.measurement import Measurement
from autoscaler.core.flow.plan_context import PlanContext, with_left_out
from autoscaler.core.flow.shadow_judgement import judged, per_node, running_allocations
from autoscaler.core.flow.shadow_stats import FreeThreads, placed, shadow_stats, slots_in_use
from autoscaler.core.flow.update_rate import with_update
from autoscaler.core.shadow import ShadowAccount, ShadowStatus, ShadowTotals
from autoscaler.core.slo.new_node import MAX_NEW_NODE_S, NEW_NODE_S
from autoscaler.core.state import FORGET_AFTER_S, DeploymentState, Shadow, ShadowPath, State
from autoscaler.core.values import DeploymentStats, Observation, Value

KEPT_S = 366.0 * 86_400.0
"""Seconds for which the totals of a deployment that is no dry run any more are kept. 366 d, because
by a clock that is wrong by months all would be too old, and a month of totals has 2 kB."""


class ShadowAssessment(Value, frozen=True):
    """One shadow before arbitration."""

    assessment: Assessment
    account: ShadowAccount  # up to the observation before
    path: ShadowPath  # up to this observation
    latest: ShadowTotals  # since the one before


def _has_shadow(assessment: Assessment) -> bool:
    """Whether the deployment has a shadow: a dry run, or one that the cluster would refuse, that
    sets the number of allocations itself, and could.

    What adaptive allocations would make of other bounds is not known.
    """
    rule, stats = assessment.rule, assessment.stats
    return (
        not rule.sends
        and rule.mode is Mode.DIRECT
        and not assessment.steps[0].externally_controlled
        and stats.allocations is not None
        and stats.running_allocations is not None
    )


def assess_shadows(
    state: State,
    observation: Observation,
    assessments: Iterable[Assessment],
    context: PlanContext,
    max_interval_s: float,
) -> Generator[None, None, tuple[list[ShadowAssessment], PlanContext]]:
    """The shadows at an observation, and the context in which they would be; with a yield before
    each of them.

    Args:
        state: before the plan.
        assessments: of all deployments.
        max_interval_s: between two observations that may still be compared.
    """
    dry = [each for each in assessments if _has_shadow(each)]
    if not dry:
        return [], context
    paths = {each.stats.deployment_id: _path_at(state, each, context.at) for each in dry}
    # Decreases first, since they free what others use.
    free = FreeThreads(context.free_capacity.free_threads)
    by_node = {}
    for each in sorted(
        dry, key=lambda a: paths[a.stats.deployment_id].running - running_allocations(a.stats)
    ):
        name = each.stats.deployment_id
        by_node[name] = placed(each.stats, paths[name].running, free)
    found, deployments = [], dict(observation.deployments)
    for each in dry:
        yield
        name = each.stats.deployment_id
        path, latest = judged(paths[name], each, context.at, max_interval_s)
        stats = shadow_stats(
            each.stats, path.requested, by_node[name], _in_flight(path, each.measured)
        )
        deployments[name] = stats
        path = replace(
            path,
            at=context.at,
            running=running_allocations(stats),
            per_node=tuple(by_node[name].values()),
            recorded_per_node=per_node(each.stats),
        )
        found.append((each, stats, path, latest))
    shown = with_left_out(state, replace(observation, deployments=deployments))
    free_capacity = free_capacity_of(shown)
    context, shadows = replace(context, free_capacity=free_capacity), []
    for each, stats, path, latest in found:
        yield
        assessment = _assessed(each, stats, path, latest, context)
        known = _known_shadow(state, each.stats)
        account = ShadowAccount() if known is None else known.account
        shadows.append(ShadowAssessment(assessment, account, path, latest))
    return shadows, context


def shadow_claims(shadows: Iterable[ShadowAssessment]) -> list[Claim]:
    """What the shadows claim of the free capacity."""
    return [claim for each in shadows if (claim := each.assessment.claim) is not None]


def shadows_after(
    shadows: Sequence[ShadowAssessment],
    grants: Mapping[str, Grant],
    context: PlanContext,
) -> tuple[dict[str, Shadow], dict[str, ShadowStatus]]:
    """The shadows for the next plan, and what is known of them now, by deployment id.

    Args:
        grants: of the shadows that are not granted their claims in full.
        context: that of `assess_shadows`.
    """
    found, statuses = {}, {}
    for each in shadows:
        name, account = each.assessment.stats.deployment_id, each.account
        path = _decided(each, grants.get(name), context)
        if each.latest.known_s or each.latest.unknown_s:
            account = account.after(context.at, each.latest)
        found[name] = Shadow(seen_at=context.at, account=account, path=path)
        statuses[name] = ShadowStatus(
            requested=path.requested, running=path.running, latest=each.latest, account=account
        )
    return found, statuses


def with_shadows(
    deployments: Mapping[str, DeploymentState],
    shadows: Mapping[str, Shadow],
    live: Collection[str],
    at: float,
) -> dict[str, DeploymentState]:
    """The states of all deployments with their shadows.

    Args:
        shadows: of the deployments that have one at this observation.
        live: the deployments to which changes are sent. Their paths end, and their totals are kept.
    """
    found = dict(deployments)
    for name, known in deployments.items():
        shadow = shadows.get(name, known.shadow)
        if shadow is not None and shadow.path is not None and name in live:
            shadow = replace(shadow, path=None)
        if shadow is not None and at - shadow.seen_at > KEPT_S:
            shadow = None
        if shadow is not known.shadow:
            found[name] = replace(known, shadow=shadow)
    return found


def with_totals(
    deployments: Mapping[str, DeploymentState], stored: Mapping[str, DeploymentState]
) -> dict[str, DeploymentState]:
    """The states of the deployments, with the stored totals of dry runs where those are of a longer
    time: an instance that has observed without the state has some of its own already."""
    found = {**only_totals(stored), **deployments}
    for name, known in deployments.items():
        other, own = stored[name].shadow if name in stored else None, known.shadow
        if other is None:
            continue
        if own is None:
            found[name] = replace(known, shadow=other)
        elif other.account.observed_s > own.account.observed_s:
            found[name] = replace(known, shadow=replace(own, account=other.account))
    return found


def only_totals(
    deployments: Mapping[str, DeploymentState], seen_at: float | None = None
) -> dict[str, DeploymentState]:
    """The deployments that have totals of a dry run, of which nothing else but the usage is known.

    Args:
        seen_at: instead of when each was seen last. By now it has to be long ago, so that the next
            statistics are not compared with those of then.
    """
    return {
        name: DeploymentState(
            seen_at=known.seen_at if seen_at is None else seen_at,
            baseline=_without_own_setting(known),
            baseline_at=known.baseline_at if seen_at is None else seen_at,
            usage=known.usage,
            shadow=replace(known.shadow, path=None),
        )
        for name, known in deployments.items()
        if known.shadow is not None
    }


def _without_own_setting(known: DeploymentState) -> DeploymentStats:
    """The statistics without what the daemon may have changed since: a difference does not show
    another writer, and what ran before a gradual rollout must not be replaced for it."""
    if known.setting is None:
        return known.baseline
    return replace(known.baseline, allocations=None, adaptive=None)


def _path_at(state: State, dry: Assessment, at: float) -> ShadowPath:
    """The path, with what has started since; a new one begins with what really runs."""
    stats, shadow = dry.stats, _known_shadow(state, dry.stats)
    path = None if shadow is None else shadow.path
    if path is None or at - path.at > FORGET_AFTER_S:
        known = state.deployments.get(stats.deployment_id)
        return ShadowPath(
            at=at,
            requested=stats.allocations or 0,
            running=running_allocations(stats),
            per_node=per_node(stats),
            recorded_per_node=per_node(stats),
            known=None if known is None else _begun(known),
        )
    if path.known is None:
        known = state.deployments.get(stats.deployment_id)
        path = replace(path, known=None if known is None else _begun(known))
    if path.ready_at is None or at < path.ready_at:
        return path
    return replace(path, running=path.requested, ready_at=None)


def _known_shadow(state: State, stats: DeploymentStats) -> Shadow | None:
    known = state.deployments.get(stats.deployment_id)
    return None if known is None else known.shadow


def _begun(known: DeploymentState) -> DeploymentState:
    """The deployment's own state, without what has become of its updates."""
    return replace(
        known,
        infeasible=None,
        rollout=None,
        back_off=None,
        refused_in=None,
        request=None,
        shadow=None,
    )


def _in_flight(path: ShadowPath, measured: Measurement) -> int:
    """The in-flight requests that the shadow would have: those that there are, if it has as many
    allocations, and otherwise those that it serves and those that wait by the model."""
    sample, load = measured.sample, measured.load
    running, recorded = sum(path.per_node), sum(path.recorded_per_node)
    if running == recorded and abs(path.backlog - path.recorded_backlog) < 1.0:
        return sample.in_flight
    busy = float(sample.in_flight)
    if load is not None and load.service_time_s is not None and sample.interval_s > 0.0:
        busy = max(0, sample.arrivals - sample.cache_hits) * load.service_time_s / sample.interval_s
    return round(min(busy, running) + path.backlog)


def _assessed(
    dry: Assessment,
    stats: DeploymentStats,
    path: ShadowPath,
    latest: ShadowTotals,
    context: PlanContext,
) -> Assessment:
    """The assessment of the deployment, as if it had the allocations of the shadow."""
    measured, known = dry.measured, path.known
    if known is not None:
        measured = _with_peaks(measured, dry, known, path)
    running, sample = running_allocations(stats), measured.sample
    changed = replace(
        sample, in_flight=sum([node.pending for node in stats.nodes]), unacknowledged=0
    )
    if sample.failed and running > running_allocations(dry.stats):
        # They would not have timed out, or been refused.
        changed = replace(changed, completed=sample.completed + sample.failed, failed=0, timeouts=0)
    samples = measured.samples
    if samples and samples[-1] is sample:
        samples = (*samples[:-1], changed)
    return assess_measured(
        known,
        stats,
        replace(measured, sample=changed, samples=samples),
        dry.rule,
        context,
        late_requests=latest.shadow_late if latest.judged_s > 0.0 else None,
        recent_updates=0 if known is None else known.recent_updates,
    )


def _with_peaks(
    measured: Measurement, dry: Assessment, known: DeploymentState, path: ShadowPath
) -> Measurement:
    """The measurement with the recommendations of the shadow, for the stabilisation window."""
    restarts = measured.peaks and measured.peaks[-1][0] == measured.sample.at
    peaks = ((measured.sample.at, path.requested),) if restarts else known.peaks
    return replace(measured, peaks=peaks)


def _decided(shadow: ShadowAssessment, grant: Grant | None, context: PlanContext) -> ShadowPath:
    """The path after the decision."""
    assessment, path = shadow.assessment, shadow.path
    change, steps = decided(assessment, grant, context)
    path = replace(path, known=assessment.state)
    desired = steps[-1].after
    if change is None or desired == path.requested:
        return path
    recent_updates = with_update(assessment.state.recent_updates)
    path = replace(path, known=replace(assessment.state, recent_updates=recent_updates))
    in_use = slots_in_use(assessment.stats, context.free_capacity.free_threads)
    at_once = min(desired, max(path.running, in_use))
    if at_once >= desired:
        return replace(path, requested=desired, running=desired, ready_at=None)
    measured_s = assessment.state.new_node_s
    lead_s = NEW_NODE_S if not measured_s else min(measured_s, MAX_NEW_NODE_S)
    ready_at = context.at + lead_s if path.ready_at is None else path.ready_at
    return replace(path, requested=desired, running=at_once, ready_at=ready_at)
