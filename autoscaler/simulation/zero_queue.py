"""Requests that wait for the first allocation of a deployment.

Source: elastic/elasticsearch, ml/inference/InferenceWaitForAllocation.java and
ml/inference/adaptiveallocations/AdaptiveAllocationsScalerService.java.
"""

from collections.abc import Sequence

from autoscaler.simulation.deployment import STOPPING, SimulatedDeployment
from autoscaler.simulation.errors import SimulatedApiError, conflict
from autoscaler.simulation.process import Offer
from autoscaler.simulation.state import ClusterState

MAX_WAITING = 99
"""Maximum requests that wait, over all deployments."""


class ZeroQueue:
    """The waiting requests. Each leaves at its deadline at the latest."""

    def __init__(self, state: ClusterState) -> None:
        self._state = state
        self._waiting: list[tuple[SimulatedDeployment, Sequence[Offer]]] = []  # documents of each

    def admits(self, deployment: SimulatedDeployment) -> bool:
        """Whether requests of a deployment without usable routes may wait here.

        Only the settings count: a deployment that is starting makes its requests wait too.
        """
        able = self._state.behaviour.zero_allocations and deployment.state != STOPPING
        return able and deployment.adaptive is not None and deployment.adaptive.scales_to_zero

    def take(self, deployment: SimulatedDeployment, documents: Sequence[Offer]) -> None:
        """Let one request, with all its documents, wait; or refuse it."""
        self._expire(documents[0][0])
        error = self._refusal(deployment)
        if error is not None:
            self._refuse(deployment, documents, error)
            return
        self._waiting.append((deployment, documents))
        for document in documents:
            if document[4] is not None:
                document[4].waits_for = deployment.deployment_id

    def take_all(self, deployment: SimulatedDeployment) -> list[Offer]:
        """Remove and return the documents that wait for a deployment."""
        self._expire(self._state.now)
        taken = [
            document
            for waiting, documents in self._waiting
            if waiting is deployment
            for document in documents
        ]
        self._waiting = [each for each in self._waiting if each[0] is not deployment]
        for document in taken:
            if document[4] is not None:
                document[4].waits_for = None
        return taken

    def reject_removed(self, deployment: SimulatedDeployment) -> None:
        """Refuse the waiting requests, because the deployment is removed."""
        self._refuse(deployment, self.take_all(deployment), removed(deployment.deployment_id))

    def reject_failed(self, deployment: SimulatedDeployment) -> None:
        """Refuse the waiting requests, because all routes of the deployment have failed."""
        self._refuse(deployment, self.take_all(deployment), _failed(deployment))

    def deployments_at_zero(self) -> list[SimulatedDeployment]:
        """Deployments at zero allocations with waiting requests."""
        names = dict.fromkeys(deployment.deployment_id for deployment, _ in self._waiting)
        found = (self._state.deployments.get(name) for name in names)
        return [deployment for deployment in found if deployment and deployment.requested == 0]

    def _refusal(self, deployment: SimulatedDeployment) -> SimulatedApiError | None:
        if not self.admits(deployment):
            return not_allocated(deployment)
        if len(self._waiting) >= MAX_WAITING:
            return SimulatedApiError(
                429,
                "status_exception",
                f"Too many pending requests wait for an allocation of deployment "
                f"[{deployment.deployment_id}]",
            )
        return _failed(deployment) if deployment.all_failed else None

    def _refuse(
        self,
        deployment: SimulatedDeployment,
        documents: Sequence[Offer],
        error: SimulatedApiError,
    ) -> None:
        for document in documents:
            refuse(deployment, document, error, at=max(document[0], self._state.now))

    def _expire(self, now: float) -> None:
        """Book and remove the requests whose deadline has passed."""
        for deployment, documents in self._waiting:
            if documents[0][1] <= now:
                count = len(documents)
                deployment.ledger.book(requests=count, timed_out=count, never_served=count)
        self._waiting = [each for each in self._waiting if each[1][0][1] > now]


def refuse(
    deployment: SimulatedDeployment,
    offer: Offer,
    error: SimulatedApiError,
    *,
    at: float | None = None,
) -> None:
    """Book a request that no process has received. `at`: the instant; None: that of its arrival."""
    rejected = error.status == 429
    deployment.ledger.book(requests=1, rejected=rejected, failed=not rejected, never_served=1)
    if offer[4] is not None:
        offer[4].fail(offer[0] if at is None else at, error)


def not_allocated(deployment: SimulatedDeployment) -> SimulatedApiError:
    return conflict(
        f"Trained model deployment [{deployment.deployment_id}] is not allocated to any nodes"
    )


def removed(target_id: str) -> SimulatedApiError:
    """The error of requests that wait for an allocation of a deployment that does not exist."""
    return conflict(
        f"[{target_id}] Error waiting for a model allocation, model assignment has been removed"
    )


def _failed(deployment: SimulatedDeployment) -> SimulatedApiError:
    reasons = {node_id: route.reason for node_id, route in deployment.routes.items()}
    return SimulatedApiError(
        500,
        "status_exception",
        f"[{deployment.deployment_id}] Error waiting for a model allocation, all nodes have failed "
        f"with errors [{reasons}]",
    )
