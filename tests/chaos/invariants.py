"""What must hold after each cycle, and at the end of a run. Each is a function over the trace that
returns what is wrong, or an empty text."""

from collections.abc import Callable, Iterable
from itertools import pairwise
from math import inf

from autoscaler.core.decision import Decision, OutcomeKind, SetAllocations, SetBounds, Start, Stop
from autoscaler.core.values import DeploymentStats, Observation, Reason
from autoscaler.ports import FailureKind
from autoscaler.wire.state import encode_state
from tests.chaos.expected import expected_threads
from tests.chaos.trace import Cycle, Request, Trace
from tests.end_to_end.checker import check

MAX_CALLS = 12
STORM_CYCLES = 20
"""At most 12 calls of one deployment in 20 cycles."""

MAX_REFUSED = 11
REFUSED_WITHIN_S = 600.0
"""Refused calls of one deployment within ten minutes. Of waits that double from ten seconds there
are six in them, and of those between attempts after visible changes, which double from fifteen,
five."""

BACKED_OFF = 6
BACKED_OFF_S = 25.0
"""From this failed poll in a row on, seconds since the one before. From 10 s, doubled each time, it
is past 30 s after three."""

MAX_AGE_S = 50.0
"""Seconds after which statistics are too old for an update: two time-outs and three polls."""

MAX_CYCLE_CPU_S = 0.9
MAX_STATE_BYTES = 64 * 2**10
"""Encoded state of one deployment. It has a few kilobytes, and some hundred samples more while the
load window is filled by the shortest polls."""

STATE_EVERY = 40
"""Cycles between two measurements of the state, because encoding it takes as long as a cycle."""

LEFT_OUT_S = 30.0
"""Seconds for which a deployment counts that a damaged response leaves out."""

UNDERESTIMATED = 0.6
"""Fraction of a steady load below which no decrease goes. Below 1, because the load of one window
varies."""

EFFECT_S = 150.0
"""Seconds within which an accepted update is visible, or its absence reported."""

PATIENCE_S = 40.0
"""Seconds after which an observation shows an accepted update, or its absence is reported."""

Invariant = Callable[[Trace, Cycle], str]


def bounds(trace: Trace, cycle: Cycle) -> str:
    """No update is outside the bounds of the rules."""
    decisions = _decisions(cycle)
    for change in cycle.changes:
        assert change.then is not None
        lowest, highest = change.then.bounds
        decision = decisions.get(change.deployment_id)
        if decision is None or _returns(decision):
            # What ran before a gradual rollout may be outside of them.
            for other in change.then.others:
                minimum = other.minimum if other.allocations is None else other.allocations
                lowest = min(lowest, minimum)
                highest = max(highest, minimum, other.maximum)
        settings = change.body.get("service_settings", change.body)
        adaptive = settings.get("adaptive_allocations") or {}
        if adaptive.get("enabled") is False:
            adaptive = {}  # a start restores them as they were, and they are not in force
        asked = {
            change.allocations,
            adaptive.get("min_number_of_allocations"),
            adaptive.get("max_number_of_allocations"),
        } - {None}
        if any(not lowest <= number <= highest for number in asked if number is not None):
            return f"{_text(change)}, outside {lowest} to {highest}"
    return ""


def _returns(decision: Decision) -> bool:
    """Whether the rule of a gradual rollout does not act, so that what ran before returns."""
    return decision.rollout is not None and not decision.rollout.active


def dry_run(trace: Trace, cycle: Cycle) -> str:
    """A dry run changes nothing."""
    for change, decision in _decided(cycle):
        if decision.dry_run:
            return f"{_text(change)} in a dry run"
    return ""


def paused(trace: Trace, cycle: Cycle) -> str:
    """Nothing is sent for a deployment that an operator has paused, by any later process either."""
    for change in cycle.changes:
        assert change.then is not None
        if change.then.paused:
            return f"{_text(change)}, although it is paused"
    return ""


def room(trace: Trace, cycle: Cycle) -> str:
    """No increase needs more processors than the nodes have, where no nodes can be added. Of the
    other deployments, those allocations count that run or can be expected to start; a minimum of
    adaptive allocations is requested by them within seconds, and counts as soon as it is set."""
    observation = cycle.observation
    if observation is None or not _knows_nodes(observation):
        return ""
    threads = _left_out(trace, cycle) | expected_threads(observation, cycle.stuck)
    for change in cycle.changes:
        stats = observation.deployments.get(change.deployment_id)
        wanted = change.allocations
        assert change.then is not None
        processors = change.then.processors
        if change.action != "_update" or wanted is None or stats is None or processors is None:
            continue
        before = threads.get(change.deployment_id, 0)
        needed = wanted * (stats.threads_per_allocation or 1)
        if "adaptive_allocations" in change.body.get("service_settings", change.body):
            needed = max(needed, before)  # a lower minimum takes nothing away by itself
        threads[change.deployment_id] = needed
        if wanted <= max(stats.allocations or 0, _minimum(stats)):
            continue  # it is no increase, however few of those that were requested run
        if threads[change.deployment_id] > before and sum(threads.values()) > processors:
            return f"{_text(change)}: {sum(threads.values())} threads on {processors} processors"
    return ""


def _minimum(stats: DeploymentStats) -> int:
    """That of adaptive allocations, which they may not have reached."""
    adaptive = stats.adaptive
    return (adaptive.minimum or 0) if adaptive is not None and adaptive.enabled else 0


def _left_out(trace: Trace, cycle: Cycle) -> dict[str, int]:
    """The threads of deployments that run, and that damage has left out of the statistics: those
    that the daemon has seen just before."""
    found: dict[str, int] = {}
    assert cycle.observation is not None
    if cycle.statistics is None:
        return found
    for name in cycle.statistics.tainted - cycle.observation.deployments.keys():
        for earlier in reversed(trace.of(cycle.daemon)[:-1]):
            if earlier.observation is None or earlier.at < cycle.at - LEFT_OUT_S:
                break
            if name in earlier.observation.deployments:
                expected = expected_threads(earlier.observation, earlier.stuck)[name]
                found[name] = expected if trace.truth.requested(name) else 0
                break
    return found


def _knows_nodes(observation: Observation) -> bool:
    """Whether the daemon knows the processors of all nodes. It does not where a deployment has one
    that was not there when the nodes were last read; what it needs may fit there."""
    cluster = observation.cluster
    if cluster is None or cluster.growable is not False:
        return False
    known = {node.node_id for node in cluster.nodes if node.processors is not None}
    used = {node.node_id for stats in observation.deployments.values() for node in stats.nodes}
    return len(known) == len(cluster.nodes) and used <= known


def no_blind_decrease(trace: Trace, cycle: Cycle) -> str:
    """Nothing is decreased because of missing or wrong data."""
    for change, decision in _decided(cycle):
        wanted = 0 if isinstance(decision.change, Stop) else decision.desired
        present = change.requested_before
        if isinstance(decision.change, Start) or present is None or wanted >= decision.current:
            continue
        if cycle.statistics is None:
            return f"{_text(change)} without statistics"
        if change.deployment_id in cycle.statistics.tainted:
            return f"{_text(change)} from damaged statistics"
        assert change.then is not None
        load = change.then.load
        # What an operator has set, or had before, may be less than the load needs.
        underestimated = load is not None and wanted < UNDERESTIMATED * load
        allowed = (
            decision.override is not None
            or _returns(decision)
            or (_is_for_lack_of_capacity(decision) and wanted >= present)
        )
        if underestimated and not allowed:
            return f"{_text(change)}, down from {present}, at a steady load of {load:.2f}"
    return ""


def _is_for_lack_of_capacity(decision: Decision) -> bool:
    """Whether a minimum of adaptive allocations is lowered because no more fit. That takes nothing
    away if it has not been reached."""
    return isinstance(decision.change, SetBounds) and any(
        step.changed and step.reason is Reason.CAPACITY for step in decision.steps
    )


def fresh(trace: Trace, cycle: Cycle) -> str:
    """No update is sent from old statistics."""
    if cycle.statistics is None:
        return ""
    for change in cycle.changes:
        age_s = change.at - cycle.statistics.at
        if age_s > MAX_AGE_S:
            return f"{_text(change)}, from statistics that were requested {age_s:.1f} s before"
    return ""


def back_off(trace: Trace, cycle: Cycle) -> str:
    """Refused calls are repeated less and less often."""
    for change in cycle.changes:
        # An attempt may have several calls: for the endpoint and for the deployment, and one for
        # each host that does not respond. All are of one cycle. Where the processors of nodes are
        # not reported, what fits is searched for by attempts: one that succeeds ends a search.
        since = max(change.at - REFUSED_WITHIN_S, _increased_at(trace, change))
        refused = [
            calls
            for each in trace.of(change.daemon)
            if each.at > since
            and not _is_created_again(change.deployment_id, each, cycle)
            and (calls := _refused_calls(each, change.deployment_id))
        ]
        if len(refused) > MAX_REFUSED:
            texts = _texts([calls[-1] for calls in refused])
            return f"{len(refused)} attempts refused within {REFUSED_WITHIN_S:g} s: {texts}"
    return _statistics_back_off(trace, cycle)


def _increased_at(trace: Trace, change: Request) -> float:
    """When the deployment was last increased; before everything, if it has not been lately."""
    increased = [
        each.at
        for each in trace.changes_of(change.daemon, change.deployment_id)
        if each.executed_with == 200 and (each.allocations or 0) > (each.requested_before or 0)
    ]
    return increased[-1] if increased else -inf


def _is_created_again(deployment_id: str, then: Cycle, now: Cycle) -> bool:
    """Whether a deployment is another one than it was: refusals of that one do not count."""
    created = [
        stats.server_created_at
        for each in (then, now)
        if each.observation is not None
        and (stats := each.observation.deployments.get(deployment_id)) is not None
        and stats.server_created_at is not None
    ]
    return len(set(created)) == 2


def _refused_calls(cycle: Cycle, deployment_id: str) -> list[Request]:
    return [
        each for each in cycle.changes if each.deployment_id == deployment_id and _is_refused(each)
    ]


def _statistics_back_off(trace: Trace, cycle: Cycle) -> str:
    """From 10 s, the pause is doubled each time. After a take-over, one poll does not wait for its
    end, since the follower's polls may have failed for the same reason as the leader has."""
    failed = []
    for each in reversed(trace.of(cycle.daemon)):
        if each.failure is None or each.failure.kind is FailureKind.DEFECT:
            break
        failed.append(each)
    if len(failed) < BACKED_OFF or trace.interrupted(30.0):
        return ""
    pauses_s = [later.at - earlier.at for later, earlier in pairwise(failed[:3])]
    early = sum(pause_s < BACKED_OFF_S for pause_s in pauses_s)
    taken_over = sum(
        daemon == cycle.daemon and at > failed[2].at for daemon, at in trace.take_overs
    )
    if pauses_s[0] >= BACKED_OFF_S or early <= taken_over:
        return ""
    return f"the {len(failed)}th failed poll in a row after {pauses_s[0]:.1f} s"


def no_update_storm(trace: Trace, cycle: Cycle) -> str:
    """No deployment is changed again and again."""
    if not cycle.changes:
        return ""
    recent = trace.of(cycle.daemon)[-STORM_CYCLES:]
    since = recent[0].started_at
    for name in {change.deployment_id for change in cycle.changes}:
        calls = [
            each
            for each in trace.changes_of(cycle.daemon, name)
            if each.at >= since and may_have_arrived(each)
        ]
        if len(calls) > MAX_CALLS:
            return f"{len(calls)} calls in {len(recent)} cycles: {_texts(calls)}"
    return ""


def may_have_arrived(change: Request) -> bool:
    """Whether a connection was made. Of an attempt that finds three hosts closed, nothing arrives
    at the cluster, and `back_off` limits how often it is repeated."""
    return change.disturbed_by not in ("refused", "unreachable")


def processor_time(trace: Trace, cycle: Cycle) -> str:
    """No cycle takes long."""
    if cycle.took_cpu_s > MAX_CYCLE_CPU_S:
        return f"a cycle took {cycle.took_cpu_s:.2f} s of processor time"
    return ""


def satisfied_or_reported(trace: Trace, cycle: Cycle) -> str:
    """Every wanted change takes effect, or is reported as refused or without effect."""
    for outcome in cycle.outcomes:
        decision = outcome.decision
        if decision.change is not None and outcome.kind is OutcomeKind.UNCHANGED:
            return f"{decision.deployment_id}: a change without an outcome"
        if outcome.kind is OutcomeKind.ACCEPTED and not _is_executed(decision, cycle):
            return f"{decision.deployment_id}: accepted, but not executed"
    return _without_effect(trace, cycle)


def _is_executed(decision: Decision, cycle: Cycle) -> bool:
    sent = [each for each in cycle.changes if each.deployment_id == decision.deployment_id]
    # A start may find that the deployment runs already.
    starts = isinstance(decision.change, Start)
    return any(each.executed_with == 200 or starts for each in sent)


def _without_effect(trace: Trace, cycle: Cycle) -> str:
    """Updates of some cycles ago that were accepted, have never been visible since, and of which
    nothing was reported."""
    seen = [each for each in trace.of(cycle.daemon) if each.plan is not None]
    earlier = [each for each in seen if each.at <= cycle.at - EFFECT_S]
    if not earlier:
        return ""
    then, later = earlier[-1], seen[len(earlier) :]
    # Too little has been observed since: it is waited for.
    if not later or later[-1].started_at < then.at + PATIENCE_S:
        return ""
    for outcome in then.outcomes:
        name, change = outcome.decision.deployment_id, outcome.decision.change
        if outcome.kind is not OutcomeKind.ACCEPTED or not isinstance(change, SetAllocations):
            continue
        for each in later:
            assert each.plan is not None
            assert each.observation is not None
            stats = each.observation.deployments.get(name)
            if (
                stats is None
                or stats.allocations is None
                or stats.allocations == change.allocations
                or _is_another(stats, then)
            ):
                break
            if any(effect.deployment_id == name for effect in each.plan.no_effect):
                break
            if any(external.deployment_id == name for external in each.plan.external_changes):
                break
            if any(request.deployment_id == name for request in each.changes):
                break
        else:
            return f"{name}: {change.allocations} accepted at {then.at:.1f} s, without effect"
    return ""


def _is_another(stats: DeploymentStats, then: Cycle) -> bool:
    """Whether the deployment was created again since that cycle."""
    assert then.observation is not None
    before = then.observation.deployments.get(stats.deployment_id)
    return before is None or before.server_created_at != stats.server_created_at


def stopped_remembered(trace: Trace, cycle: Cycle) -> str:
    """No deployment that the daemon has stopped is forgotten."""
    statistics = cycle.statistics
    forgotten = {
        name
        for name, stop in trace.truth.stopped().items()
        # A stop without a response, executed late, is found out by the next poll.
        if stop.status is not None
        or (statistics is not None and (stop.executed_at or 0.0) < (statistics.executed_at or 0.0))
    } - cycle.state.stopped.keys()
    return f"stopped and forgotten: {', '.join(sorted(forgotten))}" if forgotten else ""


def memory_bounded(trace: Trace, cycle: Cycle) -> str:
    """The state does not grow."""
    if trace.total_cycles % STATE_EVERY:
        return ""
    known = len(cycle.state.deployments) + len(cycle.state.stopped)
    size = len(encode_state(cycle.state).content)
    if size > MAX_STATE_BYTES * (known + 1):
        return f"the state of {known} deployments has {size} bytes"
    return ""


def consistent(trace: Trace, cycle: Cycle) -> str:
    """Every plan is consistent in itself."""
    if cycle.observation is None or cycle.plan is None:
        return ""
    try:
        check(cycle.observation, cycle.plan, cycle.outcomes)
    except AssertionError as error:
        return str(error)
    return ""


def no_defect(trace: Trace, cycle: Cycle) -> str:
    """No cycle fails because of the program itself."""
    if cycle.failure is not None and cycle.failure.kind is FailureKind.DEFECT:
        return str(cycle.failure)
    return ""


INVARIANTS: tuple[Invariant, ...] = (
    no_defect,
    consistent,
    bounds,
    dry_run,
    paused,
    room,
    no_blind_decrease,
    fresh,
    back_off,
    no_update_storm,
    processor_time,
    satisfied_or_reported,
    stopped_remembered,
    memory_bounded,
)

_REPORTED = frozenset(
    {
        Reason.FIT,
        Reason.CAPACITY,
        Reason.BACK_OFF,
        Reason.EXTERNAL_CHANGE,
        Reason.ADAPTIVE_ENABLED,
        Reason.ADAPTIVE_DISABLED,
        Reason.COLD_START,
        Reason.PAUSED,
        Reason.OVERRIDE,
    }
)


_HOLDS = frozenset(
    {
        Reason.FIT,
        Reason.CAPACITY,
        Reason.BACK_OFF,
        Reason.COLD_START,
        Reason.DATA_QUALITY,
        Reason.EXTERNAL_CHANGE,
        Reason.OVERLOAD,
        Reason.OVERRIDE,
        Reason.SCHEDULE,
        Reason.SETTLING,
    }
)
"""Reasons for which what ran before a gradual rollout does not return yet."""


def recovered(trace: Trace, last: Cycle) -> str:
    """Some time after the last fault, each deployment has what its load needs, or the reason why
    not is reported."""
    if last.plan is None:
        return f"the statistics are still not read: {last.failure}"
    _, highest = trace.truth.bounds()
    for outcome in last.outcomes:
        decision = outcome.decision
        load = trace.truth.load(decision.deployment_id)
        requested = trace.truth.requested(decision.deployment_id)
        reasons = {step.reason for step in decision.steps}
        if outcome.kind is not OutcomeKind.UNCHANGED or reasons & _REPORTED or load is None:
            continue
        if decision.observe_only is not None or decision.rule == "":
            continue
        stats = last.observation.deployments.get(decision.deployment_id)
        if stats is not None and stats.state == "starting":
            continue  # it accepts no update; while others have all the room, it does not start
        if _returns(decision):
            if wrong := _not_returned(decision, last, requested):
                return wrong
            continue
        if requested is None:
            return f"{decision.deployment_id} does not run, at a load of {load:.2f}"
        if requested < min(highest, UNDERESTIMATED * load):
            return f"{decision.deployment_id} has {requested} allocations at a load of {load:.2f}"
    return ""


def _not_returned(decision: Decision, last: Cycle, requested: int | None) -> str:
    """That a deployment does not have what ran before its gradual rollout, in an hour in which the
    rule does not act, and for no reason that is reported."""
    known = last.state.rollouts.get(decision.deployment_id)
    before = None if known is None else known.before
    reasons = {step.reason for step in decision.steps if step.changed}
    if before is None or before.allocations is None or before.allocations == requested:
        return ""
    if decision.externally_controlled or reasons & _HOLDS or decision.pauses:
        return ""
    return f"{decision.deployment_id} has {requested} allocations, and had {before} before"


def _decisions(cycle: Cycle) -> dict[str, Decision]:
    return {outcome.decision.deployment_id: outcome.decision for outcome in cycle.outcomes}


def _decided(cycle: Cycle) -> Iterable[tuple[Request, Decision]]:
    decisions = _decisions(cycle)
    for change in cycle.changes:
        if (decision := decisions.get(change.deployment_id)) is not None:
            yield change, decision


def _is_refused(request: Request) -> bool:
    return request.returned_at is not None and (request.status is None or request.status >= 400)


def _text(change: Request) -> str:
    what = "" if change.allocations is None else f" {change.allocations}"
    return f"{change.deployment_id} {change.action}{what} at {change.at:.1f} s"


def _texts(changes: Iterable[Request]) -> str:
    return ", ".join(
        f"{_text(each)} ({each.status or each.disturbed_by or 'no response'})" for each in changes
    )
