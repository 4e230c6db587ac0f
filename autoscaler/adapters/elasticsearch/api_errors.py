"""The refusals of Elasticsearch, by status. `errors` shows the whole tree.

A class below those of the statuses exists where the program acts on the difference, or advises the
operator.
"""

import re
from typing import ClassVar

from autoscaler.adapters.elasticsearch.errors import ElasticsearchError
from autoscaler.wire.errors import ErrorResponse


class ApiError(ElasticsearchError):
    """Elasticsearch refused a request. `advice` of a class is what the operator can do."""

    advice: ClassVar[str] = ""

    def __init__(
        self, response: ErrorResponse, *, request: str, retry_after_s: float | None = None
    ) -> None:
        """`request` is its method and path, for the message."""
        kind = f" {response.type}" if response.type else ""
        advice = f"; {self.advice}" if self.advice else ""
        reason = response.reason.rstrip(".; ") or "no reason given"
        if response.causes:
            reason = f"{reason} ({response.causes.rstrip('.; ')})"
        super().__init__(f"{request} was refused with {response.status}{kind}: {reason}{advice}")
        self.recognised = True  # whether its meaning is known, beyond the status
        self.status = response.status
        self.type = response.type
        self.reason = response.reason
        self.causes = response.causes
        self.retry_after_s = retry_after_s


class BadRequest(ApiError):
    """400."""


class ContradictoryRequest(BadRequest):
    """The allocations and `adaptive_allocations.enabled` were set in one request."""


class AdaptiveAllocationsEnabled(BadRequest):
    """The allocations cannot be set while adaptive allocations are enabled."""

    advice = "disable its adaptive_allocations, or exclude the deployment"


class UnparsableRequest(BadRequest):
    """An unknown field or a wrong type."""


class NoAdaptiveAllocations(UnparsableRequest):
    """Settings of adaptive allocations were sent to a version without them."""

    advice = "adaptive allocations need Elasticsearch 8.16 or later"


class DeploymentExists(BadRequest):
    """The deployment id of a start is that of an existing deployment."""


class EndpointMissing(BadRequest):
    """This version of Elasticsearch has no such endpoint, or the feature is disabled."""


class NoUpdate(EndpointMissing):
    """This version of Elasticsearch has no `_update`."""

    advice = "_update needs Elasticsearch 8.6 or later"


class Unauthenticated(ApiError):
    """401: no credentials, or invalid ones."""

    advice = "check the credentials"


class Forbidden(ApiError):
    """403."""


class ClusterBlocked(Forbidden):
    """The whole cluster is read-only."""

    advice = "remove the block cluster.blocks.read_only from the settings of the cluster"


class IndexRefused(Forbidden):
    """An index is blocked, or the user may not read it. Other deployments may not need it."""


class MissingPrivilege(Forbidden):
    """The user lacks a privilege."""

    advice = "grant monitor_ml to observe and manage_ml to scale"

    @property
    def user(self) -> str:
        """The user in the reason; "" if the wording is unknown."""
        found = re.search(
            r"for (?:api key id .* of )?(?:service account|user) \[([^\]]+)\]",
            self.reason,
            re.IGNORECASE,
        )
        return found[1] if found else ""


class LicenceNotCompliant(Forbidden):
    """Deployments need a platinum, enterprise or trial licence."""

    advice = "deployments need a platinum, enterprise or trial licence"


class MixedVersions(Forbidden):
    """Deployments cannot be started while the nodes have different versions."""


class NotFound(ApiError):
    """404."""


class DeploymentNotFound(NotFound):
    """No deployment has this id."""


class ModelNotFound(NotFound):
    """No model, alias or deployment has this name."""


class DefinitionNotFound(NotFound):
    """The model is known, but its weights were not uploaded."""


class ServerTimeout(ApiError):
    """408."""


class StartTimedOut(ServerTimeout):
    """The requested state was not reached before the time-out; the deployment remains."""


class ModelDownloading(ServerTimeout):
    """A built-in model is still being downloaded."""


class Conflict(ApiError):
    """409."""


class NotStarted(Conflict):
    """The deployment is starting or stopping."""

    advice = "wait until it has started"


class OwnedByEndpoint(Conflict):
    """An inference endpoint owns the deployment."""

    advice = "scale it through the settings of the endpoint, or exclude it"


class AlreadyStarted(Conflict):
    """A deployment with this id has been started already."""


class StartConflict(Conflict):
    """A start was refused for an unknown reason. Whether the deployment runs is unknown."""


class DeploymentInUse(Conflict):
    """A pipeline or an inference endpoint uses the deployment."""


class NotAvailable(ApiError):
    """410: the endpoint exists, but is not available on serverless."""


class TooManyRequests(ApiError):
    """429."""


class TooManyDeployments(TooManyRequests):
    """The cluster has the maximum number of deployments."""


class UpgradeModeEnabled(TooManyRequests):
    """Machine learning is in upgrade mode."""


class ServerError(ApiError):
    """5xx."""


class IndexUnavailable(ServerError):
    """The index with the model or the endpoint cannot be read now. Others may be available."""


class NotEnoughCapacity(ApiError):
    """The allocations do not fit, and no node can be added; nothing was changed.

    Mostly 429; of a start also 409 or, in earlier versions, 500 (elastic/elasticsearch#155310).
    """

    advice = "add machine learning nodes, or lower max_allocations"


class RoutesFailed(ApiError):
    """409 or 500: a node could not load the model. The server has removed the deployment."""

    advice = "check the logs of these nodes"
