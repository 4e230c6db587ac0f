"""Requested allocations as targets on nodes, all or nothing on fixed hardware.

Source: elastic/elasticsearch,
ml/inference/assignment/TrainedModelAssignmentClusterService.java.
"""

from msgspec.structs import replace

from autoscaler.simulation.deployment import SimulatedDeployment
from autoscaler.simulation.errors import SimulatedApiError
from autoscaler.simulation.lifecycle import Lifecycle
from autoscaler.simulation.placement import AssignmentPlan
from autoscaler.simulation.reduction import reduced
from autoscaler.simulation.state import ClusterState


class AssignmentService:
    """Plans, and passes the targets to the life cycle."""

    def __init__(self, state: ClusterState, lifecycle: Lifecycle) -> None:
        self._state = state
        self._lifecycle = lifecycle

    def add(self, deployment: SimulatedDeployment, *, can_grow: bool) -> None:
        """Place a new deployment.

        Raises:
            SimulatedApiError: 429, not everything fits and the hardware cannot grow; nothing is
                changed.
        """
        name = deployment.deployment_id
        self._state.deployments[name] = deployment
        plan = self._state.planned()
        if name in plan.reasons and not can_grow:
            del self._state.deployments[name]
            if plan.allocations_of(name):
                raise _not_enough("start", name)
            reason = f"Could not start deployment [{name}]: no ML nodes with sufficient capacity"
            cause = ("illegal_state_exception", plan.reasons[name])
            raise SimulatedApiError(
                429, "status_exception", f"{reason} were found", caused_by=cause
            )
        self._apply(plan)

    def scale(self, deployment: SimulatedDeployment, allocations: int, *, can_grow: bool) -> None:
        """Change the number of allocations of a deployment.

        An increase plans all deployments again; a decrease does not affect others.

        Raises:
            SimulatedApiError: 429, not everything fits and the hardware cannot grow; nothing is
                changed.
        """
        if allocations > deployment.requested:
            self._grow(deployment, allocations, can_grow=can_grow)
        elif allocations < deployment.requested:
            self._shrink(deployment, allocations)

    def rebalance(self) -> None:
        """Place missing allocations, and start failed routes again."""
        if self._state.deployments:
            self._apply(self._state.planned())

    def _grow(self, deployment: SimulatedDeployment, allocations: int, *, can_grow: bool) -> None:
        plan = self._state.planned(deployment, allocations)
        if deployment.deployment_id in plan.reasons and not can_grow:
            raise _not_enough("update", deployment.deployment_id)
        deployment.parameters = replace(deployment.parameters, number_of_allocations=allocations)
        self._apply(plan)

    def _shrink(self, deployment: SimulatedDeployment, allocations: int) -> None:
        zones = {node_id: node.spec.zone for node_id, node in self._state.nodes.items()}
        targets = reduced(deployment.targets, zones, allocations)
        deployment.parameters = replace(deployment.parameters, number_of_allocations=allocations)
        if sum(targets.values()) == allocations:
            deployment.reason = None
        self._lifecycle.set_targets(deployment, targets)

    def _apply(self, plan: AssignmentPlan) -> None:
        for deployment in self._state.deployments.values():
            name = deployment.deployment_id
            deployment.reason = plan.reasons.get(name)
            self._lifecycle.set_targets(deployment, plan.placed.get(name, {}))
            deployment.recalculate_state()


def _not_enough(verb: str, deployment_id: str) -> SimulatedApiError:
    return SimulatedApiError(
        429,
        "status_exception",
        f"Could not {verb} deployment [{deployment_id}] because there are not enough resources "
        "to provide all requested allocations",
    )
