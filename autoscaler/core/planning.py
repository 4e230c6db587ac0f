"""The one entry point: from an observation to a plan."""

from collections.abc import Collection
from typing import Any, NamedTuple

from msgspec import UNSET
from msgspec.structs import replace

from autoscaler.core.capacity import Room, room_of
from autoscaler.core.constraints import Context, constrain, words
from autoscaler.core.feedback import follow, is_unsettled
from autoscaler.core.measurement import Measurement, measure
from autoscaler.core.policies import Situation, ask
from autoscaler.core.selection import Rule, select
from autoscaler.core.state import Capacity, DeploymentState, Refused, State, capacity_of, without
from autoscaler.core.values import (
    Cluster,
    Decision,
    DeploymentStats,
    Flaw,
    Observation,
    Plan,
    Reason,
    Sample,
    Satisfied,
    Schedule,
    Step,
    Unmanaged,
    Value,
)

LONGEST_INTERVAL_PERIODS = 6.0
"""Periods after which two observations are no longer compared: an average over more hides what
happened in between. Twice as long as a slow cluster may stretch a period."""

FORGET_AFTER_S = 900.0
"""How long a deployment that is no longer reported is remembered."""

_DAMAGED = frozenset(
    {Flaw.NOT_STARTED, Flaw.CLOCK, Flaw.CONTRADICTORY, Flaw.BACKWARDS, Flaw.IMPOSSIBLE}
)
"""Flaws that cast doubt on the reported number itself, so that not even bounds are enforced."""


class Policy(Value, frozen=True, kw_only=True):
    """How to decide, settled: no defaults, nothing left to look up."""

    rules: tuple[Rule, ...]  # the first that matches a deployment governs it
    longest_interval_s: float  # between observations that may still be compared


def plan(
    state: State,
    observation: Observation,
    policy: Policy,
    open_schedules: Collection[Schedule] = (),
) -> tuple[Plan, State]:
    """Decide every managed deployment's allocations.

    Pure: the result depends on the arguments alone, and `observation.at` is the only time there
    is. A deployment that cannot be measured is held, and its first step says so.

    Args:
        open_schedules: of all schedules of the policy's rules, those whose window is open now.

    Returns:
        The plan, with decisions in order of deployment id, and the state for the next call.
    """
    moment = _Moment(
        at=observation.at,
        capacity=capacity_of(observation),
        room=room_of(observation),
        maintenance=_maintenance(observation.cluster),
        forbidden=state.forbidden,
        longest_interval_s=policy.longest_interval_s,
    )
    rules = _in_force(policy.rules, open_schedules)
    deployments = _unmentioned(state, observation)
    decisions: list[Decision] = []
    unmanaged: dict[str, Unmanaged] = {}
    satisfied: list[Satisfied] = []
    for name in sorted(observation.deployments):
        stats = observation.deployments[name]
        rule = select(rules, stats)
        if isinstance(rule, Unmanaged):
            unmanaged[name] = rule
            continue
        decision, deployments[name], news = _decide(
            state.deployments.get(name), stats, rule, moment
        )
        decisions.append(decision)
        if news is not None:
            satisfied.append(news)
    planned = Plan(
        at=observation.at,
        decisions=tuple(decisions),
        unmanaged=unmanaged,
        satisfied=tuple(satisfied),
    )
    return planned, State(
        deployments=deployments, capacity=moment.capacity, forbidden=state.forbidden
    )


class _Moment(NamedTuple):
    """What all decisions of one plan share."""

    at: float
    capacity: Capacity
    room: Room
    maintenance: str
    forbidden: Refused | None
    longest_interval_s: float


def _decide(
    known: DeploymentState | None, stats: DeploymentStats, rule: Rule, moment: _Moment
) -> tuple[Decision, DeploymentState, Satisfied | None]:
    if known is not None and known.baseline.server_created_at != stats.server_created_at:
        known = None  # stopped and started again: another deployment of the same name
    measured = measure(
        known,
        stats,
        at=moment.at,
        load_window_s=rule.policy.load_window_s,
        longest_interval_s=moment.longest_interval_s,
    )
    memory = UNSET
    if known is not None and known.policy == rule.policy.name:
        memory = known.memory
    new_node_s = None if known is None else known.new_node_s
    first, memory = _recommend(stats, measured, rule, moment.room, new_node_s, memory)
    known, news = _remember(known, stats, measured, first, rule, moment, memory)
    decision = Decision(
        deployment_id=stats.deployment_id,
        model_id=stats.model_id,
        at=moment.at,
        rule=rule.name,
        dry_run=rule.dry_run,
        current=first.before,
        minimum=rule.minimum,
        maximum=rule.maximum,
        steps=_limit(first, stats, measured.sample, known, rule, moment),
        sample=measured.sample,
        load=measured.load,
    )
    return decision, known, news


def _in_force(rules: tuple[Rule, ...], open_schedules: Collection[Schedule]) -> tuple[Rule, ...]:
    """The rules, with those of their schedules that are open."""
    return tuple(
        [
            replace(rule, schedules=tuple([s for s in rule.schedules if s in open_schedules]))
            if rule.schedules
            else rule
            for rule in rules
        ]
    )


def _unmentioned(state: State, observation: Observation) -> dict[str, DeploymentState]:
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


def _remember(
    known: DeploymentState | None,
    stats: DeploymentStats,
    measured: Measurement,
    first: Step,
    rule: Rule,
    moment: _Moment,
    memory: Any,
) -> tuple[DeploymentState, Satisfied | None]:
    """All that is known now: the measurement, the window, the last update, the last refusal."""
    at = moment.at
    service_time_s = measured.load.service_time_s if measured.load else None
    unsettled_since = at if is_unsettled(stats) else None
    pursuit, infeasible, refused, news, new_node_s = None, None, None, None, None
    if known is not None:
        new_node_s = known.new_node_s
        service_time_s = service_time_s or known.service_time_s
        pursuit, infeasible, refused = known.pursuit, known.infeasible, known.refused
        if unsettled_since is not None and known.unsettled_since is not None:
            unsettled_since = known.unsettled_since
        if pursuit is not None:
            pursuit, news = follow(pursuit, stats, at)
            if news is not None and news.new_node:
                new_node_s = news.took_s if new_node_s is None else (new_node_s + news.took_s) / 2.0
        if infeasible is not None and without(moment.capacity, stats).exceeds(infeasible.capacity):
            infeasible = None
    return DeploymentState(
        seen_at=at,
        baseline=measured.baseline,
        baseline_at=measured.baseline_at,
        samples=measured.samples,
        service_time_s=service_time_s,
        peaks=_peaks(measured.peaks, first, rule, at),
        policy=rule.policy.name,
        memory=memory,
        beyond_burst_s=_beyond_burst(known, measured, first, rule, at),
        stalled_since=measured.stalled_since,
        unsettled_since=unsettled_since,
        infeasible=infeasible,
        pursuit=pursuit,
        new_node_s=new_node_s,
        refused=refused,
    ), news


def _beyond_burst(
    known: DeploymentState | None, measured: Measurement, first: Step, rule: Rule, at: float
) -> float | None:
    """How long more than the burst ceiling has been wanted. Cycles without an opinion do not
    count, in either direction; measuring that begins anew begins this anew."""
    if rule.burst_maximum is None:
        return None
    before_s = known.beyond_burst_s if known else None
    if first.reason in _NO_RECOMMENDATION:
        return before_s if measured.samples else None
    if first.after <= rule.burst_maximum:
        return None
    return 0.0 if known is None or before_s is None else before_s + at - known.seen_at


def _recommend(
    stats: DeploymentStats,
    measured: Measurement,
    rule: Rule,
    room: Room,
    new_node_s: float | None,
    memory: Any,
) -> tuple[Step, Any]:
    current = stats.allocations
    if current is None:
        number = stats.target_allocations or 0
        because = {"flaws": words(measured.sample.flaws)}
        return Step(Reason.UNTRUSTED, number, number, because), memory
    if stats.native is not None and stats.native.enabled:
        return Step(Reason.NATIVE_SCALING, current, current), memory
    if measured.sample.flaws or measured.load is None:
        because = {"flaws": words(measured.sample.flaws)}
        return Step(Reason.UNTRUSTED, current, current, because), memory
    situation = Situation(
        at=measured.sample.at,
        current=current,
        live=stats.live_allocations or 0,
        sample=measured.sample,
        load=measured.load,
        in_flight=(measured.sample.pending,),
        nodes=stats.nodes,
        threads=stats.threads_per_allocation or 1,
        free_threads=room.free_threads,
        new_node_s=new_node_s,
    )
    return ask(rule.policy, situation, memory)


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


_NO_RECOMMENDATION = frozenset(
    {Reason.UNTRUSTED, Reason.NATIVE_SCALING, Reason.NOT_MEASURED, Reason.POLICY_FAILED}
)


def _limit(
    first: Step,
    stats: DeploymentStats,
    measured: Sample,
    known: DeploymentState,
    rule: Rule,
    moment: _Moment,
) -> tuple[Step, ...]:
    if first.reason is Reason.NATIVE_SCALING or (
        measured.flaws and not _DAMAGED.isdisjoint(measured.flaws)
    ):
        return (first,)
    if not first.changed and rule.minimum <= first.after <= rule.maximum and not rule.schedules:
        return (first,)  # which is most of them: no other rule minds a number that stays
    at = moment.at
    infeasible = known.infeasible
    refused = known.refused
    forbidden = moment.forbidden
    if forbidden is not None and (refused is None or refused.until < forbidden.until):
        refused = forbidden
    return constrain(
        first,
        Context(
            at=at,
            current=first.before,
            stats=stats,
            sample=measured,
            highest=known.peaks[0][1] if known.peaks else first.after,
            minimum=rule.minimum,
            maximum=rule.maximum,
            stabilisation_window_s=rule.stabilisation_window_s,
            growth_factor=rule.growth_factor,
            shrink_factor=rule.shrink_factor,
            burst_maximum=rule.burst_maximum,
            beyond_burst_s=known.beyond_burst_s,
            schedules=rule.schedules,
            unsettled_s=None if known.unsettled_since is None else at - known.unsettled_since,
            room=moment.room,
            infeasible=infeasible.allocations if infeasible and at < infeasible.until else None,
            maintenance=moment.maintenance,
            back_off_s=refused.until - at if refused else 0.0,
            back_off_because=refused.because if refused else "",
        ),
    )
