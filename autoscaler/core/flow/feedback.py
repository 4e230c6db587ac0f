"""The effect of outcomes on the state, and the progress of rollouts."""

from collections.abc import Iterable

from msgspec.structs import replace

from autoscaler.core.decision import (
    Change,
    CompletedRollout,
    Outcome,
    OutcomeKind,
    SetBounds,
    Start,
    Stop,
)
from autoscaler.core.flow.back_off import after_outcome, as_stated
from autoscaler.core.flow.effect import requested, setting_of
from autoscaler.core.flow.update_rate import with_update
from autoscaler.core.state import (
    BackOff,
    CapacityRefusal,
    Circumstances,
    ClusterCapacity,
    DeploymentState,
    Rollout,
    StartAttempt,
    State,
    StoppedDeployment,
    excluding,
)
from autoscaler.core.values import STARTED, DeploymentStats

INFEASIBLE_HOLD_S = 300.0
"""Seconds for which a refusal for lack of capacity is in force; each confirmation doubles them.
5 min, because capacity can change without being reported, for example when a job ends."""

MAX_INFEASIBLE_HOLD_S = 3600.0
"""Maximum seconds for which such a refusal is in force. 1 h: a refused request an hour is cheap."""


def apply_outcomes(state: State, outcomes: Iterable[Outcome]) -> State:
    """The state for the next plan, given the outcomes of this one's decisions."""
    deployments = dict(state.deployments)
    stopped, starts = dict(state.stopped), dict(state.starts)
    accepted, forbidden = False, None
    for outcome in outcomes:
        name, change = outcome.decision.deployment_id, outcome.decision.change
        if change is None or outcome.kind in _NO_FEEDBACK:
            continue
        accepted = accepted or outcome.kind is OutcomeKind.ACCEPTED
        if outcome.kind is OutcomeKind.FORBIDDEN:
            forbidden = outcome
        elif isinstance(change, Start):
            _apply_start(state, stopped, starts, outcome)
        elif (known := deployments.get(name)) is not None:
            known = replace(known, recent_updates=with_update(known.recent_updates))
            deployments[name] = _after(state, known, outcome, change)
            if isinstance(change, Stop) and outcome.kind in _MAY_BE_APPLIED:
                # If the response was lost, the next observations show whether it runs.
                stopped[name] = stopped_deployment(known, outcome.at)
    return replace(
        state,
        deployments=deployments,
        cluster_back_off=_cluster_back_off(state.cluster_back_off, forbidden, accepted),
        stopped=stopped,
        starts={name: attempt for name, attempt in starts.items() if name in stopped},
        resume_requested=state.resume_requested.intersection(stopped),
    )


def stopped_deployment(known: DeploymentState, at: float) -> StoppedDeployment:
    """The entry of a deployment that is stopped now, from which it can be started again."""
    return StoppedDeployment(stats=known.baseline, since=at, usage=known.usage)


# Nothing was sent.
_NO_FEEDBACK = frozenset(
    {
        OutcomeKind.UNCHANGED,
        OutcomeKind.DRY_RUN,
        OutcomeKind.OBSERVE_ONLY,
        OutcomeKind.WITHHELD,
        OutcomeKind.OUTDATED,
    }
)

_UNCERTAIN = frozenset({OutcomeKind.UNKNOWN, OutcomeKind.UNRECOGNISED})
_MAY_BE_APPLIED = _UNCERTAIN | {OutcomeKind.ACCEPTED}


def _cluster_back_off(
    before: BackOff | None, forbidden: Outcome | None, accepted: bool
) -> BackOff | None:
    """The pause of all deployments. A refusal outweighs what was accepted in the same cycle: the
    order of the outcomes is not that of sending, and the privilege may have just been removed."""
    if forbidden is not None:
        return after_outcome(before, forbidden)
    return None if accepted else before


def _after(
    state: State, known: DeploymentState, outcome: Outcome, change: Change
) -> DeploymentState:
    """The state of a deployment after the outcome of an update or a stop."""
    kind, at = outcome.kind, outcome.at
    if kind is OutcomeKind.ACCEPTED:
        no_effect = known.back_off is not None and known.back_off.reason == OutcomeKind.NO_EFFECT
        return replace(
            known,
            rollout=None if isinstance(change, Stop) else _rollout(known, outcome),
            infeasible=_still_infeasible(known, outcome),
            bounds_moved_at=at if isinstance(change, SetBounds) else None,
            # It ends when the effect is visible.
            back_off=known.back_off if no_effect else None,
            refused_in=known.refused_in if no_effect else None,
            request=requested(known, change, at, accepted=True),
        )
    if kind is OutcomeKind.NO_CAPACITY and _is_searched(known, outcome):
        capacity = excluding(state.capacity, known.baseline)
        refusal = refused_for_capacity(known.infeasible, outcome.decision.desired, capacity, at)
        return replace(known, infeasible=refusal, back_off=as_stated(known.back_off, outcome))
    if kind is OutcomeKind.GONE:
        # Its state is dropped, except that it is reported and cannot be changed.
        known = DeploymentState(
            seen_at=known.seen_at,
            baseline=known.baseline,
            baseline_at=known.baseline_at,
            back_off=known.back_off,
            refused_in=known.refused_in,
            usage=known.usage,
            recent_updates=known.recent_updates,
        )
    elif kind in _UNCERTAIN:
        moved_at = at if isinstance(change, SetBounds) else known.bounds_moved_at
        request = requested(known, change, at, accepted=False)
        known = replace(known, request=request, bounds_moved_at=moved_at)
    before = known.refused_in
    return replace(
        known,
        back_off=after_outcome(known.back_off, outcome),
        refused_in=Circumstances(
            at=at,
            state=known.baseline.state,
            setting=setting_of(known.baseline),
            capacity=excluding(state.capacity, known.baseline),
            early=0 if before is None else before.early,
        ),
    )


def _apply_start(
    state: State,
    stopped: dict[str, StoppedDeployment],
    starts: dict[str, StartAttempt],
    outcome: Outcome,
) -> None:
    """Apply the outcome of a start. The deployment stays recorded until it is observed again."""
    name, kind = outcome.decision.deployment_id, outcome.kind
    if kind is OutcomeKind.GONE:
        stopped.pop(name, None)  # the model was deleted
        return
    if name not in stopped:
        return
    before, accepted = starts.get(name), kind is OutcomeKind.ACCEPTED
    back_off = stopped[name].back_off
    if not accepted:
        back_off = after_outcome(back_off, outcome)
    elif back_off is not None and back_off.reason != OutcomeKind.NO_EFFECT:
        back_off = None
    stopped[name] = replace(stopped[name], back_off=back_off)
    starts[name] = StartAttempt(
        at=outcome.at,
        accepted=accepted,
        capacity=state.capacity,
        early=0 if accepted or before is None else before.early,
    )


def _rollout(known: DeploymentState, outcome: Outcome) -> Rollout | None:
    bounds = isinstance(outcome.decision.change, SetBounds)
    allocations = outcome.decision.desired
    if bounds and allocations <= (known.baseline.allocations or 0):
        return None  # nothing has to change
    return Rollout(
        allocations=allocations,
        accepted_at=outcome.at,
        nodes=serving_nodes(known.baseline),
        at_least=bounds,
    )


def _still_infeasible(known: DeploymentState, accepted: Outcome) -> CapacityRefusal | None:
    refused = known.infeasible
    if refused is not None and accepted.decision.desired >= refused.allocations:
        return None
    return refused


def _is_searched(known: DeploymentState, outcome: Outcome) -> bool:
    """Whether fewer allocations are tried after a refusal for lack of capacity: an increase."""
    desired = outcome.decision.desired
    return desired > outcome.decision.current or desired > (known.baseline.allocations or 0)


def refused_for_capacity(
    last: CapacityRefusal | None, allocations: int, capacity: ClusterCapacity, at: float
) -> CapacityRefusal:
    """The refusal of an increase for lack of capacity.

    Args:
        last: the refusal before; None: there is none that counts.
        capacity: without the deployment's own threads.
    """
    hold_s, early = INFEASIBLE_HOLD_S, 0
    if last is not None:
        # While the last refusal is in force, this one is a step of the search below it.
        searching = at < last.until
        hold_s = last.hold_s if searching else min(2.0 * last.hold_s, MAX_INFEASIBLE_HOLD_S)
        early = last.early
    return CapacityRefusal(
        allocations=allocations,
        capacity=capacity,
        hold_s=hold_s,
        until=at + hold_s,
        at=at,
        early=early,
    )


def serving_nodes(stats: DeploymentStats) -> frozenset[str]:
    """The ids of the nodes with a route in state started."""
    return frozenset([node.node_id for node in stats.nodes if node.routing_state == STARTED])


def track_rollout(
    rollout: Rollout, stats: DeploymentStats, at: float
) -> tuple[Rollout | None, CompletedRollout | None]:
    """Whether an accepted update is complete.

    An accepted update is only a target. It is complete when every route is started, and no
    allocation is missing or surplus.

    Returns:
        The rollout, if it continues, and its completion, if it is complete. If the requested
        allocations have changed since, it ends without a completion.
    """
    requested = stats.allocations or 0
    if rollout.at_least:
        if requested < rollout.allocations:
            return rollout, None  # adaptive allocations have not been raised yet
    elif requested != rollout.allocations:
        return None, None
    acknowledged = sum([node.allocations or 0 for node in stats.nodes])
    if is_unsettled(stats) or acknowledged > requested:
        return rollout, None
    return None, CompletedRollout(
        deployment_id=stats.deployment_id,
        allocations=rollout.allocations,
        lead_time_s=at - rollout.accepted_at,
        new_node=not serving_nodes(stats) <= rollout.nodes,
    )


def is_unsettled(stats: DeploymentStats) -> bool:
    """Whether nodes are loading the model, or allocations are missing or about to end."""
    if (stats.running_allocations or 0) < (stats.allocations or 0):
        return True
    for node in stats.nodes:
        if node.routing_state != STARTED:
            return True
    return False


_DENIALS = frozenset({OutcomeKind.FORBIDDEN, OutcomeKind.UNSUPPORTED, OutcomeKind.ENDPOINT_OWNED})


def without_denials(state: State) -> State:
    """The state after the cluster, or what it permits, has changed: what it has refused for lack
    of a privilege, a licence or a feature may be tried again."""

    def kept(back_off: BackOff | None) -> BackOff | None:
        return None if back_off is not None and back_off.reason in _DENIALS else back_off

    return replace(
        state,
        cluster_back_off=kept(state.cluster_back_off),
        deployments={
            name: replace(known, back_off=kept(known.back_off))
            for name, known in state.deployments.items()
        },
        stopped={
            name: replace(stopped, back_off=kept(stopped.back_off))
            for name, stopped in state.stopped.items()
        },
    )


def without_settings(state: State) -> State:
    """The state of an instance that does not lead: what it would expect of the cluster is unknown,
    because another instance changes it."""
    return replace(
        state,
        deployments={
            name: replace(known, setting=None, request=None, external_change=None, rollout=None)
            for name, known in state.deployments.items()
        },
    )
