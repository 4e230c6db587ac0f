"""The deployment for an id: the deployment with this id, or any deployment of this model.

Source: elastic/elasticsearch, ml/action/TransportInternalInferModelAction.java and
ml/inference/InferenceWaitForAllocation.java.
"""

import numpy as np

from autoscaler.simulation.admission import model_of
from autoscaler.simulation.deployment import STARTED, STARTING, STOPPING, SimulatedDeployment
from autoscaler.simulation.errors import SimulatedApiError, conflict
from autoscaler.simulation.state import ClusterState
from autoscaler.simulation.traffic import usable_routes
from autoscaler.simulation.zero_queue import ZeroQueue, removed

_BEST_FIRST = (STARTED, STARTING, STOPPING)


class Directory:
    """Finds deployments; chooses at random among equivalent ones of a model."""

    def __init__(self, state: ClusterState, zero_queue: ZeroQueue) -> None:
        self._state = state
        self._zero_queue = zero_queue
        self._choices = np.random.default_rng(state.seed)

    def model_id_of(self, target_id: str) -> str:
        """The model that serves `_infer` of an id.

        Raises:
            SimulatedApiError: 404, there is no such model; 409, it is not deployed.
        """
        return self._candidates(target_id)[0].model_id

    def serving(self, target_id: str) -> SimulatedDeployment:
        """The deployment that serves `_infer` of an id.

        Raises:
            SimulatedApiError: 404, there is no such model; 409, none of its deployments can serve.
        """
        candidates = self._candidates(target_id)
        ranks = [_BEST_FIRST.index(d.state) for d in candidates]
        best = [d for d, rank in zip(candidates, ranks, strict=True) if rank == min(ranks)]
        chosen = best[int(self._choices.integers(len(best)))] if len(best) > 1 else best[0]
        if chosen.state == STOPPING:
            raise conflict(
                f"Trained model deployment [{chosen.deployment_id}] is in state [{chosen.state}]"
            )
        return chosen

    def _candidates(self, target_id: str) -> list[SimulatedDeployment]:
        deployments = self._state.deployments
        if target_id in deployments:
            return [deployments[target_id]]
        model_of(self._state, target_id)
        found = [d for d in deployments.values() if d.model_id == target_id]
        if not found:
            raise conflict(f"Trained model [{target_id}] must be deployed to use.")
        return found

    def error_at_zero(
        self, target_id: str, deployment: SimulatedDeployment
    ) -> SimulatedApiError | None:
        """The 409 of a request by model id that has to wait for an allocation.

        A defect: the server waits for a deployment with the requested id, and there is none.
        """
        if (
            target_id == deployment.deployment_id
            or not self._state.behaviour.waits_for_requested_id
        ):
            return None
        if usable_routes(deployment) or not self._zero_queue.admits(deployment):
            return None
        return removed(target_id)
