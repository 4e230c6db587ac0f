"""The ways in which Elasticsearch says no, by status. `errors` draws them as a tree."""

import re
from typing import ClassVar

from autoscaler.adapters.elasticsearch.errors import ElasticsearchError
from autoscaler.wire.errors import Cause, ErrorResponse


class ApiError(ElasticsearchError):
    """Elasticsearch refuses. `advice` of a class is what the operator can do about it."""

    advice: ClassVar[str] = ""

    def __init__(
        self, response: ErrorResponse, *, request: str, retry_after_s: float | None = None
    ) -> None:
        """`request` is its method and path, for the message."""
        kind = f" {response.type}" if response.type else ""
        advice = f"; {self.advice}" if self.advice else ""
        reason = response.reason.rstrip(".; ") or "no reason given"
        super().__init__(f"{request} was refused with {response.status}{kind}: {reason}{advice}")
        self.status = response.status
        self.type = response.type
        self.reason = response.reason
        self.causes: tuple[Cause, ...] = response.causes
        self.metadata = response.metadata
        self.request = request
        self.retry_after_s = retry_after_s

    def _found(self, pattern: str) -> str:
        """The first group of `pattern` in the reason; "" if the wording is another."""
        found = re.search(pattern, self.reason, re.IGNORECASE)
        return found[1] if found else ""


class BadRequest(ApiError):
    """400."""


class InvalidField(BadRequest):
    @property
    def field(self) -> str:
        """The parameter complained about."""
        return self._found(r"\[?\b([a-z]+(?:_[a-z]+)+)\b\]?")


class NotPositive(InvalidField):
    """A number of allocations, threads or places in the queue is below 1."""


class ContradictoryRequest(BadRequest):
    """A number of allocations and `adaptive_allocations.enabled` in one request."""


class InvalidAdaptiveBounds(InvalidField):
    """The bounds of the cluster's own scaler, merged with those stored, make no sense."""


class AdaptiveAllocationsEnabled(BadRequest):
    """The cluster's own scaler has the deployment."""

    advice = "disable its adaptive_allocations, or leave it to them"


class LowPriorityLimit(InvalidField):
    """A deployment of low priority has one allocation."""


class InconsistentId(BadRequest):
    """The id of the body is not that of the path."""


class UnparsableRequest(BadRequest):
    """An unknown field or a wrong type."""


class NoAdaptiveAllocations(UnparsableRequest):
    """This version has no scaler of its own, whose settings were sent."""

    advice = "adaptive allocations need Elasticsearch 8.16 or later"


class DeploymentExists(BadRequest):
    """A start under the id of a deployment that there is."""


class BodyRequired(BadRequest):
    """A request without the body it needs."""


class InvalidThreads(InvalidField):
    """Threads per allocation are a power of two, and at most 32."""


class LimitExceeded(InvalidField):
    """A number above what the server allows."""


class UnknownEnumValue(BadRequest):
    """A priority or `wait_for` the server does not know."""


class NotDeployable(BadRequest):
    """The model cannot be deployed under this id; the reason says why."""


class PlannerInconsistency(BadRequest):
    """The planner contradicts itself (elastic/elasticsearch#115692)."""


class AssignmentRemoved(BadRequest):
    """The deployment was stopped while its start was waited for."""


class InvalidInference(BadRequest):
    """The documents or their configuration do not suit the model."""


class RequestCancelled(BadRequest):
    """The task of the request was cancelled on the server."""


class EndpointMissing(BadRequest):
    """This Elasticsearch has no such endpoint, or the feature is off."""

    advice = "_update needs Elasticsearch 8.6 or later"


class Unauthenticated(ApiError):
    """401: no credentials, or not valid ones."""

    advice = "check the credentials"


class Forbidden(ApiError):
    """403."""


class MissingPrivilege(Forbidden):
    """The user may not do this."""

    advice = "grant monitor_ml to observe and manage_ml to scale"

    @property
    def action(self) -> str:
        return self._found(r"action \[([^\]]+)\]")

    @property
    def user(self) -> str:
        return self._found(r"for (?:api key id .* of )?(?:service account|user) \[([^\]]+)\]")

    @property
    def granted_by(self) -> tuple[str, ...]:
        """The cluster privileges each of which would allow the action."""
        found = self._found(r"granted by the cluster privileges \[([^\]]+)\]")
        return tuple(name.strip() for name in found.split(",") if name.strip())


class LicenceNotCompliant(Forbidden):
    """Deployments need a platinum, enterprise or trial licence."""

    advice = "deployments need a platinum, enterprise or trial licence"

    @property
    def feature(self) -> str:
        return self.metadata.get("license.expired.feature") or self._found(
            r"non-compliant for \[([^\]]+)\]"
        )


class MixedVersions(Forbidden):
    """No start while the nodes are of different versions."""


class WrongTaskType(Forbidden):
    """The model does not do what the request asks of it."""


class NotFound(ApiError):
    """404."""

    @property
    def resource_id(self) -> str:
        return self.metadata.get("resource.id") or self._found(r"\[([^\]]+)\]")


class DeploymentNotFound(NotFound):
    """There is no such deployment."""


class ModelNotFound(NotFound):
    """There is neither model, alias nor deployment of that name."""


class DefinitionNotFound(NotFound):
    """The model is known, but its weights were not uploaded."""


class RouteNotFound(NotFound):
    """The node asked does not run the deployment any more, or not yet."""


class ServerTimeout(ApiError):
    """408."""

    @property
    def waited(self) -> str:
        """How long the server waited, in its words, such as `30s`."""
        return self._found(r"after \[([^\]]+)\]")


class StartTimedOut(ServerTimeout):
    """The wanted state was not reached in time; the deployment remains and may reach it yet."""


class ModelDownloading(ServerTimeout):
    """A built-in model is still being downloaded."""


class InferenceTimedOut(ServerTimeout):
    """No result in time; the work may be done all the same."""


class Conflict(ApiError):
    """409."""


class NotStarted(Conflict):
    """The deployment is starting or stopping."""

    advice = "wait until it has started"

    @property
    def state(self) -> str:
        """The state it is in."""
        return self._found(r"\[(starting|stopping|stopped|failed)\]")


class OwnedByEndpoint(Conflict):
    """An inference endpoint owns the deployment."""

    advice = "scale it through the endpoint's own settings, or exclude it"


class AlreadyStarted(Conflict):
    """There is a deployment of this id."""


class FeatureReset(Conflict):
    """Machine learning is being reset."""


class DeploymentInUse(Conflict):
    """A pipeline or an inference endpoint uses the deployment."""


class NotDeployed(Conflict):
    """The model has no deployment."""


class DeploymentEnding(Conflict):
    """The deployment is stopping or has failed."""

    @property
    def state(self) -> str:
        return self._found(r"\[(stopping|stopped|failed)\]")


class NotAllocated(Conflict):
    """No node serves the deployment."""


class ProcessGone(Conflict):
    """The process ended during the request."""


class NotAvailable(ApiError):
    """410: the endpoint exists, and serverless does not let anybody use it."""


class TooManyRequests(ApiError):
    """429."""


class NotEnoughCapacity(TooManyRequests):
    """The nodes cannot take the allocations, and none can be added; nothing was changed."""

    advice = "add machine learning nodes, or lower the maximum"


class NoNodeWithCapacity(NotEnoughCapacity):
    """Not even one allocation can be placed; `causes` tells why, node by node."""


class TooManyDeployments(TooManyRequests):
    """The cluster has as many deployments as it allows."""

    @property
    def limit(self) -> int | None:
        found = self._found(r"\[(\d+)\]")
        return int(found) if found else None


class UpgradeModeEnabled(TooManyRequests):
    """Machine learning is in upgrade mode."""


class QueueFull(TooManyRequests):
    """The queue of the deployment on a node is full."""


class WorkerShutDown(TooManyRequests):
    """The deployment is being removed from the node asked."""


class TooManyWaiting(TooManyRequests):
    """Too many requests wait for a deployment without allocations to get one."""


class ServerBusy(TooManyRequests):
    """A thread pool or the memory of a node is exhausted."""


class ServerError(ApiError):
    """5xx."""


class RoutesFailed(ServerError):
    """No node could load the model; the server removed the deployment again."""


class InferenceFailed(ServerError):
    """The native process reported an error."""


class ClusterBlocked(ServerError):
    """The cluster accepts no changes now."""


class MasterNotDiscovered(ServerError):
    """The cluster has no elected master."""


class ClusterEventTimedOut(ServerError):
    """The master did not get round to the change in time. It may do so yet."""
