"""What can go wrong between us and Elasticsearch.

    ElasticsearchError
    ├── ConnectionSettingsError       the settings cannot be obeyed; nothing was sent
    ├── TransportError                no answer of Elasticsearch
    │   ├── Unreachable               certainly not sent: refused, no such host, no route
    │   ├── TlsError                  certainly not carried out: certificates
    │   ├── TimedOut                  outcome unknown
    │   ├── ConnectionBroken          outcome unknown
    │   ├── GatewayError              outcome unknown: an intermediary answers in its place
    │   ├── NotElasticsearch          something else answers
    │   └── MalformedAnswer           a 2xx whose body makes no sense
    └── ApiError                      Elasticsearch refuses, by status:
        ├── BadRequest           400  NotPositive, ContradictoryRequest, InvalidAdaptiveBounds,
        │                             NativeScalingEnabled, LowPriorityLimit, InconsistentId,
        │                             UnparsableRequest (NoAdaptiveAllocations), BodyRequired,
        │                             InvalidThreads, LimitExceeded, UnknownEnumValue,
        │                             NotDeployable, DeploymentExists, PlannerInconsistency,
        │                             AssignmentRemoved, InvalidInference, RequestCancelled,
        │                             EndpointMissing
        ├── Unauthenticated      401
        ├── Forbidden            403  MissingPrivilege, LicenceNotCompliant, MixedVersions,
        │                             WrongTaskType
        ├── NotFound             404  DeploymentNotFound, ModelNotFound, DefinitionNotFound,
        │                             RouteNotFound
        ├── ServerTimeout        408  StartTimedOut, ModelDownloading, InferenceTimedOut
        ├── Conflict             409  NotStarted, OwnedByEndpoint, AlreadyStarted, FeatureReset,
        │                             DeploymentInUse, NotDeployed, DeploymentEnding, NotAllocated,
        │                             ProcessGone
        ├── NotAvailable         410
        ├── TooManyRequests      429  NotEnoughCapacity (NoNodeWithCapacity), TooManyDeployments,
        │                             UpgradeModeEnabled, QueueFull, WorkerShutDown,
        │                             TooManyWaiting, ServerBusy
        └── ServerError          5xx  RoutesFailed, InferenceFailed, ClusterBlocked,
                                      MasterNotDiscovered, ClusterEventTimedOut

The refusals are in `refusals`, and which answer becomes which in `error_catalogue`. Every message
is one sentence, free of secrets, fit for an operator.
"""

from autoscaler.errors import InputError


class ElasticsearchError(Exception):
    """The root of everything this adapter raises."""


class ConnectionSettingsError(ElasticsearchError, InputError):
    """The settings of the connection cannot be obeyed."""


class TransportError(ElasticsearchError):
    """No answer of Elasticsearch."""


class Unreachable(TransportError):
    """There was no connection, so the request was certainly not sent."""


class TlsError(TransportError):
    """The two sides do not accept each other's certificates; nothing was carried out."""


class TimedOut(TransportError):
    """No complete answer in time. The request may have been carried out."""


class ConnectionBroken(TransportError):
    """The connection ended before the answer did. The request may have been carried out."""


class GatewayError(TransportError):
    """A proxy or load balancer answered instead. The request may have been carried out."""

    def __init__(self, message: str, *, status: int, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after_s = retry_after_s


class NotElasticsearch(TransportError):
    """What answers is not Elasticsearch."""


class MalformedResponse(TransportError):
    """A successful answer whose body cannot be read, or is larger than allowed."""
