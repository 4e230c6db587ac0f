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
"""Maximum requests that wait, over all deployments, as the server counts them."""


class ZeroQueue:
    """The waiting requests. Each leaves at its deadline at the latest."""

    def __init__(self, state: ClusterState) -> None:
        self._state = state
        self._waiting: list[tuple[SimulatedDeployment, Sequence[Offer]]] = []  # documents of each
        self._counted = 0  # of them; fewer, in versions where the count drifts
        self._wanted: dict[str, None] = {}  # ids of deployments, see `take_wanted`

    def admits(self, deployment: SimulatedDeployment) -> bool:
        """Whether requests of a deployment without usable routes may wait here.

        Only the settings count: a deployment that is starting makes its requests wait too.
        """
        able = self._state.behaviour.zero_allocations and deployment.state != STOPPING
        return able and deployment.adaptive is not None and deployment.adaptive.scales_to_zero

    def take(self, deployment: SimulatedDeployment, documents: Sequence[Offer]) -> None:
        """Let one request, with all its documents, wait; or refuse it."""
        self._expire(documents[0][0])
        if not self.admits(deployment):
            self._refuse(deployment, documents, not_allocated(deployment))
            return
        self._wanted[deployment.deployment_id] = None
        if self._counted >= MAX_WAITING:
            self._refuse(deployment, documents, _too_many(deployment))
            return
        self._counted += 1
        if self._fails(deployment):
            self._count_failures(1)
            self._refuse(deployment, documents, _failed(deployment))
            return
        self._waiting.append((deployment, documents))
        for document in documents:
            if document[4] is not None:
                document[4].waits_for = deployment.deployment_id

    def take_all(self, deployment: SimulatedDeployment) -> list[Offer]:
        """Remove and return the documents that wait for a deployment, which can serve them now.

        Their time-outs begin again: the server starts one for the wait, and one for the inference.
        """
        now = self._state.now
        requests = self._leave(deployment)
        self._counted -= len(requests)
        return [
            (at, now + deadline - at, size, high, request)
            for documents in requests
            for at, deadline, size, high, request in documents
        ]

    def reject_removed(self, deployment: SimulatedDeployment) -> None:
        """Refuse the waiting requests, because the deployment is removed."""
        self._reject(deployment, removed(deployment.deployment_id))

    def reject_failed(self, deployment: SimulatedDeployment) -> None:
        """Refuse the waiting requests, because all routes of the deployment have failed."""
        if self._fails(deployment):
            self._reject(deployment, _failed(deployment))

    def count_unknown(self) -> None:
        """Count a request that waits for a deployment that does not exist, and so fails at once."""
        self._counted += 1
        self._count_failures(1)

    def take_wanted(self) -> list[SimulatedDeployment]:
        """Deployments for which requests have begun to wait, or were too many, since the last call.

        Each such request asks for an allocation, and shows that the deployment is not idle.
        """
        found = [self._state.deployments.get(name) for name in self._wanted]
        self._wanted.clear()
        return [deployment for deployment in found if deployment is not None]

    def _leave(self, deployment: SimulatedDeployment) -> list[Sequence[Offer]]:
        """Remove and return the requests that wait for a deployment."""
        self._expire(self._state.now)
        left = [documents for waiting, documents in self._waiting if waiting is deployment]
        self._waiting = [each for each in self._waiting if each[0] is not deployment]
        for documents in left:
            for document in documents:
                if document[4] is not None:
                    document[4].waits_for = None
        return left

    def _reject(self, deployment: SimulatedDeployment, error: SimulatedApiError) -> None:
        requests = self._leave(deployment)
        self._count_failures(len(requests))
        for documents in requests:
            self._refuse(deployment, documents, error)

    def _fails(self, deployment: SimulatedDeployment) -> bool:
        return deployment.all_failed and not self._state.behaviour.waits_through_failures

    def _count_failures(self, requests: int) -> None:
        self._counted -= requests * (2 if self._state.behaviour.waiting_count_drifts else 1)

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
                self._counted -= 1
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


def _too_many(deployment: SimulatedDeployment) -> SimulatedApiError:
    return SimulatedApiError(
        429,
        "status_exception",
        f"Too many pending requests wait for an allocation of deployment "
        f"[{deployment.deployment_id}]",
    )


def _failed(deployment: SimulatedDeployment) -> SimulatedApiError:
    reasons = {node_id: route.reason for node_id, route in deployment.routes.items()}
    return SimulatedApiError(
        500,
        "status_exception",
        f"[{deployment.deployment_id}] Error waiting for a model allocation, all nodes have failed "
        f"with errors [{reasons}]",
    )
