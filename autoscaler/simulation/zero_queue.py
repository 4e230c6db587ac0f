"""Requests that wait for a deployment to be scaled up from zero.

Source: elastic/elasticsearch, ml/inference/InferenceWaitForAllocation.java.
"""

from collections.abc import Sequence

from autoscaler.simulation.deployment import SimulatedDeployment
from autoscaler.simulation.errors import SimulatedApiError, conflict
from autoscaler.simulation.process import Offer
from autoscaler.simulation.route import STARTED
from autoscaler.simulation.state import ClusterState

LIMIT = 100
"""Maximum requests that wait for the first allocation of one deployment."""


class ZeroQueue:
    """The waiting requests by deployment. Each leaves at its deadline at the latest."""

    def __init__(self, state: ClusterState) -> None:
        self._state = state
        self._waiting: dict[str, list[Offer]] = {}

    def admits(self, deployment: SimulatedDeployment) -> bool:
        """Whether requests of a deployment without routes may wait here."""
        able = self._state.behaviour.zero_allocations and deployment.state == STARTED
        return able and deployment.adaptive is not None and deployment.adaptive.scales_to_zero

    def take(self, deployment: SimulatedDeployment, offers: Sequence[Offer]) -> None:
        """Queue requests, or refuse them."""
        for offer in offers:
            waiting = self._current(deployment, offer[0])
            if not self.admits(deployment):
                refuse(deployment, offer, not_allocated(deployment))
            elif len(waiting) < LIMIT:
                waiting.append(offer)
            else:
                reason = (
                    f"Too many pending requests wait for deployment [{deployment.deployment_id}] "
                    "to be scaled up from zero"
                )
                refuse(
                    deployment,
                    offer,
                    SimulatedApiError(429, "es_rejected_execution_exception", reason),
                )

    def take_all(self, deployment: SimulatedDeployment) -> list[Offer]:
        """Remove and return the waiting requests."""
        waiting = self._current(deployment, self._state.now)
        del self._waiting[deployment.deployment_id]
        return waiting

    def reject_all(self, deployment: SimulatedDeployment) -> None:
        """Refuse the waiting requests, because the deployment is being stopped."""
        for offer in self.take_all(deployment):
            refuse(deployment, offer, not_allocated(deployment))

    def deployments_at_zero(self) -> list[SimulatedDeployment]:
        """Deployments at zero allocations with waiting requests."""
        return [
            deployment
            for deployment_id, waiting in self._waiting.items()
            if waiting
            and (deployment := self._state.deployments.get(deployment_id))
            and deployment.requested == 0
        ]

    def _current(self, deployment: SimulatedDeployment, now: float) -> list[Offer]:
        """The waiting requests. Books and removes the expired ones."""
        waiting = self._waiting.setdefault(deployment.deployment_id, [])
        expired = sum(offer[1] <= now for offer in waiting)
        if expired:
            waiting[:] = [offer for offer in waiting if offer[1] > now]
            deployment.ledger.book(requests=expired, timed_out=expired, never_served=expired)
        return waiting


def refuse(deployment: SimulatedDeployment, offer: Offer, error: SimulatedApiError) -> None:
    """Book a request that no process has received."""
    rejected = error.status == 429
    deployment.ledger.book(requests=1, rejected=rejected, failed=not rejected, never_served=1)
    if offer[4] is not None:
        offer[4].fail(offer[0], error)


def not_allocated(deployment: SimulatedDeployment) -> SimulatedApiError:
    return conflict(
        f"Trained model deployment [{deployment.deployment_id}] is not allocated to any nodes"
    )
