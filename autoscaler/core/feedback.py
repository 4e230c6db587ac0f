"""What the cluster's answers teach the next plan."""

from collections.abc import Iterable

from msgspec.structs import replace

from autoscaler.core.state import (
    DeploymentState,
    Infeasible,
    Pursuit,
    Refused,
    Sleeper,
    State,
    without,
)
from autoscaler.core.values import (
    STARTED,
    DeploymentStats,
    Fate,
    Outcome,
    Satisfied,
    SetBounds,
    Start,
    Stop,
)

INFEASIBLE_HOLD_S = 300.0
INFEASIBLE_HOLD_MOST_S = 3600.0
"""A refusal for lack of capacity is believed so long, twice as long each time it is confirmed.

Memory freed by a job that ended, for one, is a change of capacity that cannot be seen.
"""

FORBIDDEN_S = 900.0
"""Missing privileges and expired licences are mended by people."""

BACK_OFF: dict[Fate, tuple[float, float]] = {
    Fate.UNKNOWN: (10.0, 300.0),
    Fate.NATIVE_SCALING: (60.0, 60.0),
    Fate.UNSUPPORTED: (3600.0, 3600.0),
    Fate.IN_USE: (3600.0, 3600.0),
    Fate.ENDPOINT_OWNED: (3600.0, 3600.0),
    Fate.INVALID: (60.0, 3600.0),
}
"""Seconds to wait after a first refusal, and the most after many; each doubles the last.

UNKNOWN waits for the next observation, which shows what became of the update.
"""


def learn(state: State, outcomes: Iterable[Outcome]) -> State:
    """The state for the next plan, given what became of this one's decisions."""
    deployments = dict(state.deployments)
    asleep = dict(state.asleep)
    forbidden = state.forbidden
    for outcome in outcomes:
        name, change = outcome.decision.deployment_id, outcome.decision.change
        known = deployments.get(name)
        if outcome.fate in _UNTOLD:
            continue
        if outcome.fate is Fate.FORBIDDEN:
            forbidden = _again(forbidden, outcome, FORBIDDEN_S, FORBIDDEN_S)
        elif isinstance(change, Start):
            _learn_of_start(asleep, outcome)
        elif known is None:
            continue
        elif isinstance(change, Stop) and outcome.fate in {Fate.ACCEPTED, Fate.UNKNOWN}:
            # If the answer was lost, the next observation shows whether it runs.
            asleep[name] = falls_asleep(known, outcome.at)
        elif outcome.fate is Fate.GONE:
            del deployments[name]
        elif outcome.fate is Fate.ACCEPTED:
            forbidden = None
            deployments[name] = replace(
                known,
                pursuit=_pursuit(known, outcome),
                infeasible=_still_infeasible(known, outcome),
                bounds_moved_at=outcome.at if isinstance(change, SetBounds) else None,
                refused=None,
            )
        elif outcome.fate is Fate.NO_CAPACITY:
            deployments[name] = replace(known, infeasible=_infeasible(state, known, outcome))
        else:
            first_s, most_s = BACK_OFF[outcome.fate]
            refused = _again(known.refused, outcome, first_s, most_s)
            deployments[name] = replace(known, refused=refused)
    return State(
        deployments=deployments, capacity=state.capacity, forbidden=forbidden, asleep=asleep
    )


def falls_asleep(known: DeploymentState, at: float) -> Sleeper:
    """What is kept of a deployment that is stopped now, so that it can be started again."""
    return Sleeper(stats=known.baseline, since=at, usage=known.usage)


def _learn_of_start(asleep: dict[str, Sleeper], outcome: Outcome) -> None:
    """One that was started is asleep until it is seen."""
    name = outcome.decision.deployment_id
    if outcome.fate is Fate.GONE:
        asleep.pop(name, None)  # the model was deleted
    elif name in asleep:
        refused = None
        if outcome.fate is not Fate.ACCEPTED:
            first_s, most_s = BACK_OFF.get(outcome.fate, BACK_OFF[Fate.INVALID])
            refused = _again(asleep[name].refused, outcome, first_s, most_s)
        asleep[name] = replace(asleep[name], refused=refused)


# Nothing was asked, or (NOT_STARTED) the next observation tells better than memory could.
_UNTOLD = frozenset({Fate.UNCHANGED, Fate.DRY_RUN, Fate.WITHHELD, Fate.NOT_STARTED})


def _again(refused: Refused | None, outcome: Outcome, first_s: float, most_s: float) -> Refused:
    times = 1
    if refused is not None and refused.because == outcome.fate:
        times += refused.times
    wait_s = min(first_s * 2.0 ** min(times - 1, 30), most_s)
    return Refused(times=times, until=outcome.at + wait_s, because=outcome.fate)


def _pursuit(known: DeploymentState, outcome: Outcome) -> Pursuit | None:
    bounds = isinstance(outcome.decision.change, SetBounds)
    allocations = outcome.decision.desired
    if bounds and allocations <= (known.baseline.allocations or 0):
        return None  # nothing has to come of it
    return Pursuit(
        allocations=allocations,
        asked_at=outcome.at,
        nodes=serving_nodes(known.baseline),
        at_least=bounds,
    )


def _still_infeasible(known: DeploymentState, accepted: Outcome) -> Infeasible | None:
    refused = known.infeasible
    if refused is not None and accepted.decision.desired >= refused.allocations:
        return None
    return refused


def _infeasible(state: State, known: DeploymentState, outcome: Outcome) -> Infeasible:
    last = known.infeasible
    hold_s = INFEASIBLE_HOLD_S
    if last is not None:
        # Within the hold this refusal is a step of the search below the last one.
        searching = outcome.at < last.until
        hold_s = last.hold_s if searching else min(2.0 * last.hold_s, INFEASIBLE_HOLD_MOST_S)
    return Infeasible(
        allocations=outcome.decision.desired,
        capacity=without(state.capacity, known.baseline),
        hold_s=hold_s,
        until=outcome.at + hold_s,
    )


def serving_nodes(stats: DeploymentStats) -> frozenset[str]:
    return frozenset([node.node_id for node in stats.nodes if node.routing_state == STARTED])


def follow(
    pursuit: Pursuit, stats: DeploymentStats, at: float
) -> tuple[Pursuit | None, Satisfied | None]:
    """Whether an accepted update is carried out by now.

    An accepted update is only a target. It is satisfied when every route serves, no allocation is
    missing and none is left over.

    Returns:
        The pursuit if it goes on, and the news if it has ended well. A pursuit whose number is no
        longer the requested one has been overtaken and ends without news.
    """
    requested = stats.allocations or 0
    if pursuit.at_least:
        if requested < pursuit.allocations:
            return pursuit, None  # the cluster's own scaler has not raised it yet
    elif requested != pursuit.allocations:
        return None, None
    acknowledged = sum([node.allocations or 0 for node in stats.nodes])
    if is_unsettled(stats) or acknowledged > requested:
        return pursuit, None
    return None, Satisfied(
        deployment_id=stats.deployment_id,
        allocations=pursuit.allocations,
        took_s=at - pursuit.asked_at,
        new_node=not serving_nodes(stats) <= pursuit.nodes,
    )


def is_unsettled(stats: DeploymentStats) -> bool:
    """Whether nodes are still loading the model, or allocations are still missing or leaving."""
    if (stats.live_allocations or 0) < (stats.allocations or 0):
        return True
    for node in stats.nodes:
        if node.routing_state != STARTED:
            return True
    return False
