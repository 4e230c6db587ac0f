"""The one entry point: from an observation to a plan."""

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from msgspec import UNSET
from msgspec.structs import replace

from autoscaler.core.capacity import Room, room_of
from autoscaler.core.constraints import Context, constrain, words
from autoscaler.core.feedback import INFEASIBLE_HOLD_S, follow, is_unsettled
from autoscaler.core.idleness import Version, idle_since, is_usual_soon, version_of, why_unsafe
from autoscaler.core.levers import change_for, lever_in_use, present, stands_off
from autoscaler.core.measurement import Measurement, measure
from autoscaler.core.policies import Situation, ask
from autoscaler.core.selection import Rule, select
from autoscaler.core.sleeping import decide_asleep, still_asleep
from autoscaler.core.state import (
    Capacity,
    DeploymentState,
    Infeasible,
    Pursuit,
    Refused,
    Sleeper,
    State,
    capacity_of,
    without,
)
from autoscaler.core.usage import used
from autoscaler.core.values import (
    STARTED,
    Change,
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

NATIVE_PATIENCE_S = 60.0
"""Within which the cluster's own scaler, which looks every ten seconds, has done what it can. What
it has not reached by then does not fit; it asks for all or nothing, again and again."""

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
    asked: Collection[str] = (),
) -> tuple[Plan, State]:
    """Decide every managed deployment's allocations.

    Pure: the result depends on the arguments alone, and `observation.at` is the only time there
    is. A deployment that cannot be measured is held, and its first step says so.

    Args:
        open_schedules: of all schedules of the policy's rules, those whose window is open now.
        asked: deployments that somebody wants to be started, if they were stopped.

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
        version=version_of(observation.cluster),
        owned=observation.owned,
    )
    asleep = still_asleep(state.asleep, observation.deployments)
    rules = _in_force(policy.rules, open_schedules)
    deployments = _unmentioned(state, observation)
    decisions: list[Decision] = []
    unmanaged: dict[str, Unmanaged] = {}
    satisfied: list[Satisfied] = []
    for name in sorted({*observation.deployments, *asleep}):
        if name in asleep:
            decisions.append(_decide_asleep(name, asleep[name], rules, moment, asked))
            continue
        stats = observation.deployments[name]
        rule = select(rules, stats)
        if isinstance(rule, Unmanaged):
            unmanaged[name] = rule
            continue
        decision, deployments[name], news = _decide(
            state.deployments.get(name), stats, rule, moment, state.asleep.get(name)
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
        deployments=deployments,
        capacity=moment.capacity,
        forbidden=state.forbidden,
        asleep=asleep,
    )


class _Moment(NamedTuple):
    """What all decisions of one plan share."""

    at: float
    capacity: Capacity
    room: Room
    maintenance: str
    forbidden: Refused | None
    longest_interval_s: float
    version: Version | None
    owned: Mapping[str, str]


def _decide_asleep(
    name: str, sleeper: Sleeper, rules: tuple[Rule, ...], moment: _Moment, asked: Collection[str]
) -> Decision:
    rule = select(rules, sleeper.stats)
    return decide_asleep(
        name,
        sleeper,
        None if isinstance(rule, Unmanaged) else rule,
        at=moment.at,
        asked=asked,
        maintenance=moment.maintenance,
        forbidden=moment.forbidden,
    )


def _decide(
    known: DeploymentState | None,
    stats: DeploymentStats,
    rule: Rule,
    moment: _Moment,
    sleeper: Sleeper | None,
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
    first, memory = _recommend(stats, measured, rule, moment.room, known, memory)
    if known is None and sleeper is not None:
        usage = used(sleeper.usage, moment.at, since=sleeper.since, requests=False)
    else:
        usage = b"" if known is None else known.usage
    known, news = _remember(known, stats, measured, first, rule, moment, memory, usage)
    steps = _limit(first, stats, measured.sample, known, rule, moment)
    decision = Decision(
        deployment_id=stats.deployment_id,
        model_id=stats.model_id,
        at=moment.at,
        rule=rule.name,
        dry_run=rule.dry_run,
        current=first.before,
        minimum=rule.minimum,
        maximum=rule.maximum,
        steps=steps,
        sample=measured.sample,
        load=measured.load,
        mode=rule.mode,
        change=_change(rule, stats, steps, measured.sample, known, moment),
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
    usage: bytes,
) -> tuple[DeploymentState, Satisfied | None]:
    """All that is known now: the measurement, the window, the last update, the last refusal."""
    at = moment.at
    service_time_s = measured.load.service_time_s if measured.load else None
    unsettled_since = at if is_unsettled(stats) else None
    pursuit, infeasible, refused, news, new_node_s = None, None, None, None, None
    idle, lever, moved_at = None, None, None
    if known is not None:
        idle, lever, moved_at = known.idle_since, known.lever, known.bounds_moved_at
        new_node_s = known.new_node_s
        service_time_s = service_time_s or known.service_time_s
        pursuit, infeasible, refused = known.pursuit, known.infeasible, known.refused
        if unsettled_since is not None and known.unsettled_since is not None:
            unsettled_since = known.unsettled_since
        if pursuit is not None:
            refused_by_native = _out_of_reach(pursuit, known, stats, moment)
            pursuit, news = follow(pursuit, stats, at)
            if refused_by_native is not None:
                pursuit, infeasible = None, refused_by_native
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
        bounds_moved_at=moved_at,
        lever=lever_in_use(rule, stats, lever),
        idle_since=idle_since(idle, measured.sample),
        usage=usage if rule.zero is None else _usage(usage, known, measured.sample),
    ), news


def _usage(usage: bytes, known: DeploymentState | None, sample: Sample) -> bytes:
    since = sample.at if known is None else known.seen_at
    return used(usage, sample.at, since=since, requests=sample.arrivals > 0)


def _out_of_reach(
    pursuit: Pursuit, known: DeploymentState, stats: DeploymentStats, moment: _Moment
) -> Infeasible | None:
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
    known: DeploymentState | None,
    memory: Any,
) -> tuple[Step, Any]:
    current = present(rule.mode, stats)
    if current is None:
        number = stats.target_allocations or 0
        because = {"flaws": words(measured.sample.flaws)}
        return Step(Reason.UNTRUSTED, number, number, because), memory
    elsewhere = stands_off(rule, stats, current, known.lever if known else None)
    if elsewhere is not None:
        return elsewhere, memory
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
        new_node_s=known.new_node_s if known else None,
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
    {
        Reason.UNTRUSTED,
        Reason.NATIVE_SCALING,
        Reason.NATIVE_OFF,
        Reason.NOT_MEASURED,
        Reason.POLICY_FAILED,
    }
)

_ELSEWHERE = frozenset({Reason.NATIVE_SCALING, Reason.NATIVE_OFF})


def _limit(
    first: Step,
    stats: DeploymentStats,
    measured: Sample,
    known: DeploymentState,
    rule: Rule,
    moment: _Moment,
) -> tuple[Step, ...]:
    if first.reason in _ELSEWHERE or (measured.flaws and not _DAMAGED.isdisjoint(measured.flaws)):
        return (first,)
    if not first.changed and _minds_nothing(rule, first.after, known):
        return (first,)  # which is most of them: no other rule minds a number that stays
    at, zero = moment.at, rule.zero
    infeasible = known.infeasible
    refused = _refused(known, moment)
    unsafe = ""
    if zero is not None:
        owner = moment.owned.get(stats.deployment_id)
        unsafe = why_unsafe(zero, stats, owner, moment.version)
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
            idle_s=0.0 if known.idle_since is None else at - known.idle_since,
            zero_after_s=None if zero is None else zero.after_s,
            zero_unsafe=unsafe,
            bounds_moved_s=None if known.bounds_moved_at is None else at - known.bounds_moved_at,
            usual_soon=zero is not None and is_usual_soon(known.usage, at),
        ),
    )


def _minds_nothing(rule: Rule, number: int, known: DeploymentState) -> bool:
    """Whether no limit could have a say about a number that is to stay as it is."""
    in_bounds = rule.minimum <= number <= rule.maximum
    return in_bounds and not rule.schedules and rule.zero is None and known.infeasible is None


def _refused(known: DeploymentState, moment: _Moment) -> Refused | None:
    """The refusal that is to be waited for the longest."""
    refused, forbidden = known.refused, moment.forbidden
    if forbidden is not None and (refused is None or refused.until < forbidden.until):
        return forbidden
    return refused


def _change(
    rule: Rule,
    stats: DeploymentStats,
    steps: tuple[Step, ...],
    measured: Sample,
    known: DeploymentState,
    moment: _Moment,
) -> Change | None:
    """What to ask for. Limits keep a number where it is while nothing may be asked for at all; a
    lever that is to be changed at the same number has to be kept as well."""
    refused = _refused(known, moment)
    waiting = refused is not None and moment.at < refused.until
    if moment.maintenance or waiting or stats.state != STARTED:
        return None
    return change_for(rule, stats, steps, certain=not measured.flaws)
