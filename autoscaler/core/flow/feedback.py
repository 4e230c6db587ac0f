"""The effect of outcomes on the state, and the progress of rollouts."""

from collections.abc import Iterable

from msgspec.structs import replace

from autoscaler.core.decision import CompletedRollout, Outcome, OutcomeKind, SetBounds, Start, Stop
from autoscaler.core.state import (
    BackOff,
    CapacityRefusal,
    DeploymentState,
    Rollout,
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

FORBIDDEN_BACK_OFF_S = 900.0
"""Seconds between updates after a 401 or 403. 15 min, because an operator has to change the
privilege or the licence."""

BACK_OFF: dict[OutcomeKind, tuple[float, float]] = {
    OutcomeKind.UNKNOWN: (10.0, 300.0),
    OutcomeKind.ADAPTIVE_ENABLED: (60.0, 60.0),
    OutcomeKind.UNSUPPORTED: (3600.0, 3600.0),
    OutcomeKind.IN_USE: (3600.0, 3600.0),
    OutcomeKind.ENDPOINT_OWNED: (3600.0, 3600.0),
    OutcomeKind.BLOCKED: (60.0, 3600.0),
    OutcomeKind.INVALID: (60.0, 3600.0),
    OutcomeKind.NO_EFFECT: (60.0, 3600.0),
}
"""Seconds to wait after the first refusal, and the maximum; each further refusal doubles the wait.

UNKNOWN waits for the next observation, which shows whether the update was applied.
"""


def apply_outcomes(state: State, outcomes: Iterable[Outcome]) -> State:
    """The state for the next plan, given the outcomes of this one's decisions."""
    deployments = dict(state.deployments)
    stopped = dict(state.stopped)
    forbidden = state.cluster_back_off
    for outcome in outcomes:
        name, change = outcome.decision.deployment_id, outcome.decision.change
        known = deployments.get(name)
        if outcome.kind in _NO_FEEDBACK:
            continue
        if outcome.kind is OutcomeKind.FORBIDDEN:
            forbidden = _again(forbidden, outcome, FORBIDDEN_BACK_OFF_S, FORBIDDEN_BACK_OFF_S)
        elif isinstance(change, Start):
            _apply_start(stopped, outcome)
        elif known is None:
            continue
        elif isinstance(change, Stop) and outcome.kind in {
            OutcomeKind.ACCEPTED,
            OutcomeKind.UNKNOWN,
        }:
            # If the response was lost, the next observation shows whether it runs.
            stopped[name] = stopped_deployment(known, outcome.at)
        elif outcome.kind is OutcomeKind.GONE:
            del deployments[name]
        elif outcome.kind is OutcomeKind.ACCEPTED:
            forbidden = None
            deployments[name] = replace(
                known,
                rollout=_rollout(known, outcome),
                infeasible=_still_infeasible(known, outcome),
                bounds_moved_at=outcome.at if isinstance(change, SetBounds) else None,
                back_off=None,
            )
        elif outcome.kind is OutcomeKind.NO_CAPACITY:
            deployments[name] = replace(known, infeasible=_infeasible(state, known, outcome))
        else:
            first_s, most_s = BACK_OFF[outcome.kind]
            refused = _again(known.back_off, outcome, first_s, most_s)
            deployments[name] = replace(known, back_off=refused)
    return State(
        deployments=deployments,
        capacity=state.capacity,
        cluster_back_off=forbidden,
        stopped=stopped,
        resume_requested=state.resume_requested.intersection(stopped),
    )


def stopped_deployment(known: DeploymentState, at: float) -> StoppedDeployment:
    """The entry of a deployment that is stopped now, from which it can be started again."""
    return StoppedDeployment(stats=known.baseline, since=at, usage=known.usage)


def _apply_start(stopped: dict[str, StoppedDeployment], outcome: Outcome) -> None:
    """Apply the outcome of a start. The deployment stays recorded until it is observed again."""
    name = outcome.decision.deployment_id
    if outcome.kind is OutcomeKind.GONE:
        stopped.pop(name, None)  # the model was deleted
    elif name in stopped:
        refused = None
        if outcome.kind is not OutcomeKind.ACCEPTED:
            first_s, most_s = BACK_OFF.get(outcome.kind, BACK_OFF[OutcomeKind.INVALID])
            refused = _again(stopped[name].back_off, outcome, first_s, most_s)
        stopped[name] = replace(stopped[name], back_off=refused)


# Nothing was sent; or, with NOT_STARTED, the next observation shows more than the outcome does.
_NO_FEEDBACK = frozenset(
    {
        OutcomeKind.UNCHANGED,
        OutcomeKind.DRY_RUN,
        OutcomeKind.OBSERVE_ONLY,
        OutcomeKind.WITHHELD,
        OutcomeKind.NOT_STARTED,
    }
)


def _again(refused: BackOff | None, outcome: Outcome, first_s: float, most_s: float) -> BackOff:
    times = 1
    if refused is not None and refused.reason == outcome.kind:
        times += refused.times
    wait_s = min(first_s * 2.0 ** min(times - 1, 30), most_s)
    return BackOff(times=times, until=outcome.at + wait_s, reason=outcome.kind)


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


def _infeasible(state: State, known: DeploymentState, outcome: Outcome) -> CapacityRefusal:
    last = known.infeasible
    hold_s = INFEASIBLE_HOLD_S
    if last is not None:
        # While the last refusal is in force, this one is a step of the search below it.
        searching = outcome.at < last.until
        hold_s = last.hold_s if searching else min(2.0 * last.hold_s, MAX_INFEASIBLE_HOLD_S)
    return CapacityRefusal(
        allocations=outcome.decision.desired,
        capacity=excluding(state.capacity, known.baseline),
        hold_s=hold_s,
        until=outcome.at + hold_s,
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
