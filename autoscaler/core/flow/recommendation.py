"""The recommendation of the policy for one deployment, or why the policy is not called.

The interval of a sample is as uncertain as the responses were slow. So a change has to be right for
every length that the interval can have had: an increase for the longest, a decrease for the
shortest. While it is too uncertain to update the estimates, only increases are recommended.
"""

from msgspec.structs import replace

from autoscaler.core.flow.constraints import joined
from autoscaler.core.flow.control_mode import (
    current_allocations,
    external_control_step,
    may_change_mode,
)
from autoscaler.core.flow.effect import COUNT_UNRELIABLE
from autoscaler.core.flow.feedback import is_unsettled
from autoscaler.core.flow.measurement import Measurement
from autoscaler.core.flow.plan_context import PlanContext
from autoscaler.core.next_poll import PollRequest
from autoscaler.core.policies import (
    AnyPolicy,
    CostCurve,
    Situation,
    cost_curve_of,
    late_fraction_safely,
    next_poll_safely,
    recommend_safely,
    slo_status_safely,
    without_requests,
)
from autoscaler.core.selection import Rule
from autoscaler.core.slo_status import SloStatus
from autoscaler.core.state import DeploymentState, PolicyMemory
from autoscaler.core.values import Callers, DataIssue, DeploymentStats, Reason, Sample, Step, Value


class Recommendation(Value, frozen=True):
    """The first step of a decision, and the inputs of the policy's cost curve."""

    step: Step
    memory: PolicyMemory | None
    situation: Situation | None = None  # None: the policy was not called
    unacknowledged: int = 0  # allocations that the policy does not count
    next_poll: PollRequest | None = None  # that the policy needs; None: the routine one
    memory_before: PolicyMemory | None = None  # that the policy was called with
    learnt: bool = False  # whether the memory contains what this poll has shown

    def slo_status(self, policy: AnyPolicy, desired: int) -> tuple[SloStatus | None, str]:
        """What the policy knows of the SLO, and an error; None if it knows nothing.

        Args:
            desired: the allocations decided on.
        """
        if self.step.externally_controlled:
            return None, ""  # the memory is from before
        situation = self.situation if self.learnt else None
        working = desired - self.unacknowledged
        return slo_status_safely(policy, self.memory, working, situation, self.memory_before)

    def late_fraction(self, policy: AnyPolicy, allocations: int) -> float | None:
        """The fraction of late requests that the policy expects with an allocation count; None: it
        expects nothing."""
        if self.situation is None:
            return None
        working = allocations - self.unacknowledged
        return late_fraction_safely(policy, self.situation, self.memory, max(1, working))

    def cost_curve(self, policy: AnyPolicy) -> CostCurve | None:
        """The costs behind the recommendation; None if there are none."""
        if self.situation is None:
            return None
        curve, uncounted = cost_curve_of(policy, self.situation, self.memory), self.unacknowledged
        if curve is None or not uncounted:
            return curve
        return lambda allocations: curve(max(1, allocations - uncounted))


def recommend(
    stats: DeploymentStats,
    measured: Measurement,
    rule: Rule,
    context: PlanContext,
    known: DeploymentState | None,
    memory: PolicyMemory | None,
    late_requests: float | None = None,
) -> Recommendation:
    """The first step of the decision, and the policy's memory after it.

    Args:
        late_requests: those of a shadow, whose recommendations count as carried out; None: it is
            none, or they are not known.
    """
    current = current_allocations(rule.mode, stats)
    if current is None:
        current = stats.target_allocations or 0
        return Recommendation(_held(current, measured.sample.issues), memory)
    external = external_control_step(rule, stats, current, known.mode_seen if known else None)
    if external is not None:
        return Recommendation(external, memory)
    sample, policy = measured.sample, rule.policy
    held = _held(current, sample.issues)
    blind_s = context.blind_s.get(stats.deployment_id, 0.0)
    if not sample.counts_certain:
        return Recommendation(_blind_step(rule, stats, held, sample, blind_s) or held, memory)
    # The policy decides about allocations that work. The others are requested in addition.
    idle = sample.unacknowledged
    working = max(0, current - idle)
    # With the longest interval, the load of an uncertain sample is no more than it really is.
    longest = measured.with_interval(sample.longest_s) if sample.issues else None
    load = measured.load if longest is None else longest["load"]
    assert load is not None, "the sample is reliable"
    situation = Situation(
        at=sample.at,
        current=working,
        running=max(0, (stats.running_allocations or 0) - idle),
        requested=None if stats.allocations is None else max(0, stats.allocations - idle),
        sample=sample if longest is None else longest["sample"],
        load=load,
        missing_s=_missing_s(stats, known, sample.at),
        max_allocations=max(1, rule.max_allocations - idle),
        late_requests=late_requests,
        carried_out=((rule.sends and rule.before is None) or late_requests is not None)
        and not _is_held(known, sample.at)
        and not context.instructions.apply_to(stats.deployment_id, sample.at),
        in_flight=(sample.in_flight,),
        nodes=stats.nodes,
        threads=stats.threads_per_allocation or 1,
        free_threads=context.free_capacity.free_threads,
        new_node_s=known.new_node_s if known else None,
        callers=context.callers.get(stats.deployment_id, Callers.UNKNOWN),
        poll_interval_s=context.polling.interval_s,
        min_poll_interval_s=context.polling.min_interval_s,
    )
    step, learnt = recommend_safely(policy, situation, memory)
    if sample.issues:
        # The policy learns from these requests when their interval is certain enough.
        memory = without_requests(policy, memory, learnt)
        step = held if step.after <= working else _requested(step, current, stats, idle)
        if (fallback := _blind_step(rule, stats, step, sample, blind_s)) is not None:
            return Recommendation(fallback, memory)
        if step is held:
            return _with_next_poll(held, policy, situation, memory, 0)
        return _with_next_poll(step, policy, situation, memory, idle)
    if step.changed and sample.uncertainty_s:
        interval_s = sample.longest_s if step.after > working else sample.shortest_s
        other, _ = recommend_safely(
            policy, replace(situation, **measured.with_interval(interval_s)), memory
        )
        step = _smaller_change(step, other)
    step = _requested(step, current, stats, idle)
    recommended = _with_next_poll(step, policy, situation, learnt, idle)
    return replace(recommended, learnt=True, memory_before=memory)


def _with_next_poll(
    step: Step,
    policy: AnyPolicy,
    situation: Situation,
    memory: PolicyMemory | None,
    unacknowledged: int,
) -> Recommendation:
    """The recommendation with the next poll that the policy needs. If it fails to name one, the
    step has the error."""
    request, error = next_poll_safely(policy, situation, memory)
    if error:
        step = replace(step, inputs={**step.inputs, "next_poll_error": error})
    return Recommendation(step, memory, situation, unacknowledged, request)


def _requested(step: Step, current: int, stats: DeploymentStats, idle: int) -> Step:
    """The step in requested allocations, of which `idle` do not work wherever they are."""
    if not idle:
        return step
    running = stats.running_allocations or 0
    names = sorted(node.name or node.node_id for node in stats.nodes if node.reports)
    inputs: dict[str, float | str] = {
        **step.inputs,
        "acknowledged": running - idle,
        "assigned": running,
        "nodes": ", ".join(name for name in names if name),
    }
    candidates = [replace(each, allocations=each.allocations + idle) for each in step.candidates]
    after = current if step.after == step.before else step.after + idle
    return Step(step.reason, current, after, inputs, tuple(candidates))


def _held(current: int, issues: tuple[DataIssue, ...]) -> Step:
    return Step(Reason.DATA_QUALITY, current, current, {"issues": joined(issues)})


def _blind_step(
    rule: Rule, stats: DeploymentStats, step: Step, sample: Sample, blind_s: float
) -> Step | None:
    """The increase to what is sufficient without measurements; None if it does not apply.

    Args:
        step: the recommendation.
        blind_s: for how long there has been no measurement.
    """
    fallback = rule.blind_allocations
    if fallback is None or fallback <= step.after or blind_s < rule.blind_after_s:
        return None
    if not COUNT_UNRELIABLE.isdisjoint(sample.issues):
        return None  # nothing is changed then, because the present count is not known
    if not may_change_mode(rule, stats, certain=sample.counts_certain):
        return None
    inputs: dict[str, float | str] = {"blind_s": blind_s, "issues": joined(sample.issues)}
    return Step(Reason.BLIND, step.before, fallback, inputs)


def _smaller_change(step: Step, other: Step) -> Step:
    """The step that changes less; the allocations are held if the two differ in direction."""
    up, other_up = step.after - step.before, other.after - step.before
    if up * other_up < 0:
        return _held(step.before, (DataIssue.SLOW_RESPONSE,))
    return other if abs(other_up) < abs(up) else step


def _missing_s(stats: DeploymentStats, known: DeploymentState | None, at: float) -> float:
    """Seconds for which fewer allocations have run than were requested."""
    if known is None or known.unsettled_since is None or not is_unsettled(stats):
        return 0.0
    return at - known.unsettled_since


def _is_held(known: DeploymentState | None, at: float) -> bool:
    """Whether the allocations that another writer has set are respected."""
    changed = None if known is None else known.external_change
    return changed is not None and changed.is_respected(at)


def naming_unknown(steps: tuple[Step, ...], unknown: tuple[str, ...]) -> tuple[Step, ...]:
    """The steps, of which those about the data quality name the unknown figures."""
    return tuple(
        [
            replace(step, inputs={**step.inputs, "unknown_figures": ", ".join(unknown)})
            if step.reason is Reason.DATA_QUALITY
            else step
            for step in steps
        ]
    )
