"""What the policy recommends for one deployment, or why it is not asked."""

from autoscaler.core.capacity import FreeCapacity
from autoscaler.core.flow.constraints import joined
from autoscaler.core.flow.control_mode import current_allocations, external_control_step
from autoscaler.core.flow.feedback import is_unsettled
from autoscaler.core.flow.measurement import Measurement
from autoscaler.core.policies import (
    AnyPolicy,
    CostCurve,
    Situation,
    cost_curve_of,
    recommend_safely,
)
from autoscaler.core.selection import Rule
from autoscaler.core.state import DeploymentState, PolicyMemory
from autoscaler.core.values import DeploymentStats, Reason, Step, Value


class Recommendation(Value, frozen=True):
    """The first step of a decision, and the inputs of the policy's cost curve."""

    step: Step
    memory: PolicyMemory | None
    situation: Situation | None = None  # None: the policy was not called

    def cost_curve(self, policy: AnyPolicy) -> CostCurve | None:
        """The costs behind the recommendation; None if there are none."""
        if self.situation is None:
            return None
        return cost_curve_of(policy, self.situation, self.memory)


def recommend(
    stats: DeploymentStats,
    measured: Measurement,
    rule: Rule,
    free_capacity: FreeCapacity,
    known: DeploymentState | None,
    memory: PolicyMemory | None,
) -> Recommendation:
    """The first step of the decision, and the policy's memory after it."""
    current = current_allocations(rule.mode, stats)
    if current is None:
        current = stats.target_allocations or 0
        inputs = {"issues": joined(measured.sample.issues)}
        return Recommendation(Step(Reason.DATA_QUALITY, current, current, inputs), memory)
    external = external_control_step(rule, stats, current, known.mode_seen if known else None)
    if external is not None:
        return Recommendation(external, memory)
    if measured.sample.issues or measured.load is None:
        inputs = {"issues": joined(measured.sample.issues)}
        return Recommendation(Step(Reason.DATA_QUALITY, current, current, inputs), memory)
    situation = Situation(
        at=measured.sample.at,
        current=current,
        running=stats.running_allocations or 0,
        requested=stats.allocations,
        missing_s=_missing_s(stats, known, measured.sample.at),
        max_allocations=rule.max_allocations,
        carried_out=rule.sends,
        sample=measured.sample,
        load=measured.load,
        in_flight=(measured.sample.in_flight,),
        nodes=stats.nodes,
        threads=stats.threads_per_allocation or 1,
        free_threads=free_capacity.free_threads,
        new_node_s=known.new_node_s if known else None,
    )
    return Recommendation(*recommend_safely(rule.policy, situation, memory), situation)


def _missing_s(stats: DeploymentStats, known: DeploymentState | None, at: float) -> float:
    """Seconds for which fewer allocations have run than were requested."""
    if known is None or known.unsettled_since is None or not is_unsettled(stats):
        return 0.0
    return at - known.unsettled_since
