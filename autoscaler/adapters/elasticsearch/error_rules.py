"""Which answer means which error.

Rows are tried in order and the first that fits wins: by operation, status and type, then by a
fragment of the reason. Wording changes between versions more easily than types do, so a fragment
only decides where status and type leave a choice, and a row without one catches the rest.

Source of the rows: elastic/elasticsearch, `TrainedModelAssignmentClusterService.java`,
`TransportStartTrainedModelDeploymentAction.java`, `TransportStopTrainedModelDeploymentAction.java`,
`TransportInternalInferModelAction.java`, `MlUpgradeModeActionFilter.java`.
"""

from enum import StrEnum
from typing import NamedTuple

from autoscaler.adapters.elasticsearch import api_errors as r
from autoscaler.wire.errors import ErrorResponse


class Operation(StrEnum):
    """What was asked, as far as it matters for the meaning of a refusal."""

    UPDATE = "_update"
    START = "_start"
    STOP = "_stop"
    INFER = "_infer"
    OTHER = "other"


class ErrorRule(NamedTuple):
    operations: frozenset[Operation]
    status: int
    kind: str | None  # the `type` of the envelope; None: any
    fragment: str  # in lower case; "": any
    error: type[r.ApiError]


_ANY = frozenset(Operation)
_UPDATE = frozenset({Operation.UPDATE})
_START = frozenset({Operation.START})
_STOP = frozenset({Operation.STOP})
_INFER = frozenset({Operation.INFER})
_CHANGE = _UPDATE | _START

_INVALID = "action_request_validation_exception"
_MERGED_INVALID = "validation_exception"
_STATUS = "status_exception"
_ILLEGAL = "illegal_argument_exception"
_MISSING = "resource_not_found_exception"
_REJECTED = "es_rejected_execution_exception"
_SECURITY = "security_exception"

ERROR_RULES: tuple[ErrorRule, ...] = (
    # 400: the request, or what the deployment's settings make of it
    ErrorRule(_ANY, 400, None, "no handler found for uri", r.EndpointMissing),
    ErrorRule(_ANY, 405, None, "", r.EndpointMissing),
    ErrorRule(_CHANGE, 400, _INVALID, "cannot be set if adaptive", r.ContradictoryRequest),
    ErrorRule(_CHANGE, 400, _INVALID, "is low", r.LowPriorityLimit),
    ErrorRule(_CHANGE, 400, _INVALID, "must not be larger than", r.InvalidAdaptiveBounds),
    ErrorRule(_CHANGE, 400, _INVALID, "min_number_of_allocations", r.InvalidAdaptiveBounds),
    ErrorRule(_CHANGE, 400, _INVALID, "max_number_of_allocations", r.InvalidAdaptiveBounds),
    ErrorRule(_CHANGE, 400, _INVALID, "power of 2", r.InvalidThreads),
    ErrorRule(_CHANGE, 400, _INVALID, "must be less than", r.LimitExceeded),
    ErrorRule(_CHANGE, 400, _INVALID, "must be a positive integer", r.NotPositive),
    ErrorRule(_CHANGE, 400, _INVALID, "wait_for", r.UnknownEnumValue),
    ErrorRule(
        _CHANGE, 400, _MERGED_INVALID, "cannot be set if adaptive", r.AdaptiveAllocationsEnabled
    ),
    ErrorRule(_CHANGE, 400, _MERGED_INVALID, "is low", r.LowPriorityLimit),
    ErrorRule(_CHANGE, 400, _MERGED_INVALID, "", r.InvalidAdaptiveBounds),
    ErrorRule(_CHANGE, 400, None, "unknown field [adaptive_allocations]", r.NoAdaptiveAllocations),
    ErrorRule(_START, 400, _ILLEGAL, "enum", r.UnknownEnumValue),
    ErrorRule(_START, 400, _ILLEGAL, "not enough memory on node", r.PlannerInconsistency),
    ErrorRule(_START, 400, _STATUS, "removed", r.AssignmentRemoved),
    ErrorRule(_START, 400, _STATUS, "deployment with the same id", r.DeploymentExists),
    ErrorRule(_START, 400, _STATUS, "already exists", r.DeploymentExists),
    ErrorRule(_START, 400, _STATUS, "", r.NotDeployable),
    ErrorRule(_UPDATE, 400, _STATUS, "", r.InconsistentId),
    ErrorRule(_STOP, 400, _STATUS, "", r.InconsistentId),
    ErrorRule(_STOP, 400, _ILLEGAL, "inconsistent", r.InconsistentId),
    ErrorRule(_CHANGE | _STOP, 400, "x_content_parse_exception", "", r.UnparsableRequest),
    ErrorRule(_CHANGE | _STOP, 400, _ILLEGAL, "", r.UnparsableRequest),
    ErrorRule(_ANY, 400, "parse_exception", "", r.BodyRequired),
    ErrorRule(_INFER, 400, "task_cancelled_exception", "", r.RequestCancelled),
    ErrorRule(_INFER, 400, None, "cancelled", r.RequestCancelled),
    ErrorRule(_INFER, 400, None, "", r.InvalidInference),
    # 401, 403: who asks, and what the licence covers
    ErrorRule(_ANY, 401, None, "", r.Unauthenticated),
    ErrorRule(_ANY, 403, _SECURITY, "non-compliant for [", r.LicenceNotCompliant),
    ErrorRule(_ANY, 403, _SECURITY, "", r.MissingPrivilege),
    ErrorRule(_START, 403, _STATUS, "", r.MixedVersions),
    ErrorRule(_INFER, 403, _STATUS, "", r.WrongTaskType),
    # 404
    ErrorRule(_ANY, 404, _MISSING, "no known model deployment with id", r.DeploymentNotFound),
    ErrorRule(_ANY, 404, _MISSING, "could not find trained model definition", r.DefinitionNotFound),
    ErrorRule(_ANY, 404, _MISSING, "could not find trained model", r.ModelNotFound),
    ErrorRule(_INFER, 404, _MISSING, "unable to find model deployment task", r.RouteNotFound),
    ErrorRule(_UPDATE | _STOP, 404, _MISSING, "", r.DeploymentNotFound),
    # 408: a wait ended; what was waited for may still come
    ErrorRule(_START, 408, "model_deployment_timeout_exception", "", r.StartTimedOut),
    ErrorRule(_START, 408, None, "timed out after", r.StartTimedOut),
    ErrorRule(_START, 408, None, "", r.ModelDownloading),
    ErrorRule(_INFER, 408, None, "", r.InferenceTimedOut),
    # 409: the state of the deployment
    ErrorRule(_UPDATE, 409, _STATUS, "inference endpoint", r.OwnedByEndpoint),
    ErrorRule(_UPDATE, 409, _STATUS, "inference api", r.OwnedByEndpoint),
    ErrorRule(_UPDATE, 409, _STATUS, "", r.NotStarted),
    ErrorRule(_START, 409, None, "reset", r.FeatureReset),
    ErrorRule(_START, 409, None, "", r.AlreadyStarted),
    ErrorRule(_STOP, 409, _STATUS, "", r.DeploymentInUse),
    ErrorRule(_INFER, 409, _STATUS, "must be deployed to use", r.NotDeployed),
    ErrorRule(_INFER, 409, _STATUS, "is not allocated to any nodes", r.NotAllocated),
    ErrorRule(_INFER, 409, _STATUS, "process", r.ProcessGone),
    ErrorRule(_INFER, 409, _STATUS, "", r.DeploymentEnding),
    # 429: what is scarce. A full queue and a full cluster differ in type
    ErrorRule(_INFER, 429, None, "queue is full", r.QueueFull),
    ErrorRule(_INFER, 429, None, "shutdown", r.WorkerShutDown),
    ErrorRule(_INFER, 429, None, "too many pending", r.TooManyWaiting),
    ErrorRule(_START, 429, _STATUS, "upgrade mode", r.UpgradeModeEnabled),
    ErrorRule(_START, 429, _STATUS, "no ml nodes with sufficient capacity", r.NoNodeWithCapacity),
    ErrorRule(_CHANGE, 429, _STATUS, "not enough resources", r.NotEnoughCapacity),
    ErrorRule(_START, 429, _STATUS, "[100]", r.TooManyDeployments),
    ErrorRule(_UPDATE, 429, _STATUS, "", r.NotEnoughCapacity),
    ErrorRule(_ANY, 429, _REJECTED, "", r.ServerBusy),
    ErrorRule(_ANY, 429, "circuit_breaking_exception", "", r.ServerBusy),
    # 5xx
    ErrorRule(_START, 500, _STATUS, "", r.RoutesFailed),
    ErrorRule(_INFER, 500, _STATUS, "", r.InferenceFailed),
    ErrorRule(_ANY, 503, "cluster_block_exception", "", r.ClusterBlocked),
    ErrorRule(_ANY, 503, "master_not_discovered_exception", "", r.MasterNotDiscovered),
    ErrorRule(_ANY, 503, "process_cluster_event_timeout_exception", "", r.ClusterEventTimedOut),
    ErrorRule(_ANY, 429, "process_cluster_event_timeout_exception", "", r.ClusterEventTimedOut),
)

_BY_STATUS: dict[int, type[r.ApiError]] = {
    400: r.BadRequest,
    401: r.Unauthenticated,
    403: r.Forbidden,
    404: r.NotFound,
    408: r.ServerTimeout,
    409: r.Conflict,
    410: r.NotAvailable,
    429: r.TooManyRequests,
}


def classify(
    operation: Operation,
    response: ErrorResponse,
    *,
    request: str,
    retry_after_s: float | None = None,
) -> r.ApiError:
    """The error that `answer` stands for. `request` is its method and path, for the message."""
    reason = response.reason.lower()
    for row in ERROR_RULES:
        if (
            row.status == response.status
            and operation in row.operations
            and row.kind in (None, response.type)
            and row.fragment in reason
        ):
            return row.error(response, request=request, retry_after_s=retry_after_s)
    return _fallback(response.status)(response, request=request, retry_after_s=retry_after_s)


def _fallback(status: int) -> type[r.ApiError]:
    return _BY_STATUS.get(status, r.ServerError if status >= 500 else r.ApiError)
