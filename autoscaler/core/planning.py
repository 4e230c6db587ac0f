"""The one entry point: from an observation to a plan."""

from collections.abc import Collection
from typing import Any

from msgspec import UNSET
from msgspec.structs import replace

from autoscaler.core.capacity import Room
from autoscaler.core.constraints import Context, constrain, words
from autoscaler.core.idleness import is_usual_soon, why_unsafe
from autoscaler.core.levers import change_for, present, stands_off
from autoscaler.core.measurement import Measurement, measure
from autoscaler.core.moment import Moment, moment_of
from autoscaler.core.policies import Situation, ask
from autoscaler.core.remembering import remember
from autoscaler.core.selection import Rule, select
from autoscaler.core.sleeping import decide_asleep, still_asleep
from autoscaler.core.state import (
    DeploymentState,
    Refused,
    Sleeper,
    State,
)
from autoscaler.core.usage import used
from autoscaler.core.values import (
    STARTED,
    Change,
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
    moment = moment_of(state, observation)
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
            state.deployments.get(name),
            stats,
            rule,
            moment,
            state.asleep.get(name),
            policy.longest_interval_s,
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


def _decide_asleep(
    name: str, sleeper: Sleeper, rules: tuple[Rule, ...], moment: Moment, asked: Collection[str]
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
    moment: Moment,
    sleeper: Sleeper | None,
    longest_interval_s: float,
) -> tuple[Decision, DeploymentState, Satisfied | None]:
    if known is not None and known.baseline.server_created_at != stats.server_created_at:
        known = None  # stopped and started again: another deployment of the same name
    measured = measure(
        known,
        stats,
        at=moment.at,
        load_window_s=rule.policy.load_window_s,
        longest_interval_s=longest_interval_s,
    )
    memory = UNSET
    if known is not None and known.policy == rule.policy.name:
        memory = known.memory
    first, memory = _recommend(stats, measured, rule, moment.room, known, memory)
    if known is None and sleeper is not None:
        usage = used(sleeper.usage, moment.at, since=sleeper.since, requests=False)
    else:
        usage = b"" if known is None else known.usage
    known, news = remember(known, stats, measured, first, rule, moment, memory, usage)
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


def _limit(
    first: Step,
    stats: DeploymentStats,
    measured: Sample,
    known: DeploymentState,
    rule: Rule,
    moment: Moment,
) -> tuple[Step, ...]:
    if first.stands_off or (measured.flaws and not _DAMAGED.isdisjoint(measured.flaws)):
        return (first,)
    if not first.changed and _minds_nothing(rule, first.after, known):
        return (first,)  # which is most of them: no other rule minds a number that stays
    at, zero = moment.at, rule.zero
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
            rule=rule,
            known=known,
            room=moment.room,
            maintenance=moment.maintenance,
            refused=_refused(known, moment),
            zero_unsafe=unsafe,
            usual_soon=zero is not None and is_usual_soon(known.usage, at),
        ),
    )


def _minds_nothing(rule: Rule, number: int, known: DeploymentState) -> bool:
    """Whether no limit could have a say about a number that is to stay as it is."""
    in_bounds = rule.minimum <= number <= rule.maximum
    return in_bounds and not rule.schedules and rule.zero is None and known.infeasible is None


def _refused(known: DeploymentState, moment: Moment) -> Refused | None:
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
    moment: Moment,
) -> Change | None:
    """What to ask for. Limits keep a number where it is while nothing may be asked for at all; a
    lever that is to be changed at the same number has to be kept as well."""
    refused = _refused(known, moment)
    waiting = refused is not None and moment.at < refused.until
    if moment.maintenance or waiting or stats.state != STARTED:
        return None
    moved_s = None if known.bounds_moved_at is None else moment.at - known.bounds_moved_at
    return change_for(rule, stats, steps, certain=not measured.flaws, moved_s=moved_s)
