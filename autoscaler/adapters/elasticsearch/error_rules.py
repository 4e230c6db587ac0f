"""Which error response becomes which error.

The first matching rule applies. A rule matches by operation, status and type, and by a fragment of
the reason. Wording changes between versions more often than types do, so a fragment only decides
where status and type are ambiguous, and a rule without a fragment covers the rest. A response that
no rule matches becomes the general error of its status.

Source of the rules: elastic/elasticsearch, `TrainedModelAssignmentClusterService.java`,
`TransportStartTrainedModelDeploymentAction.java`, `TransportStopTrainedModelDeploymentAction.java`,
`MlUpgradeModeActionFilter.java`.
"""

from enum import StrEnum
from typing import NamedTuple

from autoscaler.adapters.elasticsearch import api_errors as r
from autoscaler.wire.errors import ErrorResponse


class Operation(StrEnum):
    """The API that was called, as far as the meaning of an error response depends on it."""

    UPDATE = "_update"
    START = "_start"
    STOP = "_stop"
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
_CHANGE = _UPDATE | _START

_INVALID = "action_request_validation_exception"
_MERGED_INVALID = "validation_exception"
_STATUS = "status_exception"
_ILLEGAL = "illegal_argument_exception"
_MISSING = "resource_not_found_exception"
_SECURITY = "security_exception"

ERROR_RULES: tuple[ErrorRule, ...] = (
    # 400: the request, or the settings of the deployment
    ErrorRule(_ANY, 400, None, "no handler found for uri", r.EndpointMissing),
    ErrorRule(_ANY, 405, None, "", r.EndpointMissing),
    ErrorRule(_CHANGE, 400, _INVALID, "cannot be set if adaptive", r.ContradictoryRequest),
    ErrorRule(
        _CHANGE, 400, _MERGED_INVALID, "cannot be set if adaptive", r.AdaptiveAllocationsEnabled
    ),
    ErrorRule(_CHANGE, 400, None, "unknown field [adaptive_allocations]", r.NoAdaptiveAllocations),
    ErrorRule(_START, 400, _ILLEGAL, "enum", r.BadRequest),  # an unknown priority or wait_for
    # The planner contradicts itself (elastic/elasticsearch#115692).
    ErrorRule(_START, 400, _ILLEGAL, "not enough memory on node", r.BadRequest),
    ErrorRule(_START, 400, _STATUS, "deployment with the same id", r.DeploymentExists),
    ErrorRule(_START, 400, _STATUS, "already exists", r.DeploymentExists),
    ErrorRule(_CHANGE, 400, "x_content_parse_exception", "", r.UnparsableRequest),
    ErrorRule(_CHANGE, 400, _ILLEGAL, "", r.UnparsableRequest),
    # 401, 403: the user, and what the licence covers
    ErrorRule(_ANY, 401, None, "", r.Unauthenticated),
    ErrorRule(_ANY, 403, _SECURITY, "non-compliant for [", r.LicenceNotCompliant),
    ErrorRule(_ANY, 403, _SECURITY, "", r.MissingPrivilege),
    ErrorRule(_START, 403, _STATUS, "", r.MixedVersions),
    # 404
    ErrorRule(_ANY, 404, _MISSING, "no known model deployment with id", r.DeploymentNotFound),
    ErrorRule(_ANY, 404, _MISSING, "could not find trained model definition", r.DefinitionNotFound),
    ErrorRule(_ANY, 404, _MISSING, "could not find trained model", r.ModelNotFound),
    ErrorRule(_UPDATE | _STOP, 404, _MISSING, "", r.DeploymentNotFound),
    # 408: the wait ended, but the deployment may still reach the state
    ErrorRule(_START, 408, "model_deployment_timeout_exception", "", r.StartTimedOut),
    ErrorRule(_START, 408, None, "timed out after", r.StartTimedOut),
    ErrorRule(_START, 408, None, "", r.ModelDownloading),
    # 409: the state of the deployment
    ErrorRule(_UPDATE, 409, _STATUS, "inference endpoint", r.OwnedByEndpoint),
    ErrorRule(_UPDATE, 409, _STATUS, "inference api", r.OwnedByEndpoint),
    ErrorRule(_UPDATE, 409, _STATUS, "", r.NotStarted),
    ErrorRule(_START, 409, None, "reset", r.Conflict),  # of all of machine learning
    ErrorRule(_START, 409, None, "", r.AlreadyStarted),
    ErrorRule(_STOP, 409, _STATUS, "", r.DeploymentInUse),
    # 429: the scarce resource. A full thread pool and a full cluster differ in type
    ErrorRule(_START, 429, _STATUS, "upgrade mode", r.UpgradeModeEnabled),
    ErrorRule(_START, 429, _STATUS, "no ml nodes with sufficient capacity", r.NotEnoughCapacity),
    ErrorRule(_CHANGE, 429, _STATUS, "not enough resources", r.NotEnoughCapacity),
    ErrorRule(_START, 429, _STATUS, "[100]", r.TooManyDeployments),
    ErrorRule(_UPDATE, 429, _STATUS, "", r.NotEnoughCapacity),
    # The master did not process the change before the time-out, and may process it later.
    ErrorRule(_ANY, 429, "process_cluster_event_timeout_exception", "", r.ServerError),
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
    """The error for `response`. `request` is the method and path, for the message."""
    reason = response.reason.lower()
    for rule in ERROR_RULES:
        if (
            rule.status == response.status
            and operation in rule.operations
            and rule.kind in (None, response.type)
            and rule.fragment in reason
        ):
            return rule.error(response, request=request, retry_after_s=retry_after_s)
    return _fallback(response.status)(response, request=request, retry_after_s=retry_after_s)


def _fallback(status: int) -> type[r.ApiError]:
    return _BY_STATUS.get(status, r.ServerError if status >= 500 else r.ApiError)
