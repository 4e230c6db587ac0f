"""Which error response becomes which error.

The first matching rule applies. A rule matches by operation, status and type, and by a fragment of
the reason or of its causes. Wording changes between versions more often than types do, so a
fragment only decides where status and type are ambiguous. A rule without a fragment exists
only where every documented response of that status and type means the same; in particular, no
response counts as a success by its status alone, and none as the absence of a deployment. A
response that no rule matches becomes the general error of its status, and is not recognised.

Source of the rules: elastic/elasticsearch, `TrainedModelAssignmentClusterService.java`,
`TransportStartTrainedModelDeploymentAction.java`, `TransportStopTrainedModelDeploymentAction.java`,
`MlUpgradeModeActionFilter.java`; #115692 and #155310.
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
    fragment: str  # of the reason or its causes, in lower case; "": any
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
_BLOCKED = "cluster_block_exception"

_NO_ROOM = (
    "no ml nodes with sufficient capacity",
    "not enough resources",
    "not enough memory",
    "insufficient",  # processors or memory, in the reasons of the nodes
)
"""Fragments of the reason of a failed start, or of its causes, if the nodes have no capacity."""

_NO_HANDLER = "no handler found for uri"

_USED_BY = ("pipeline", "processor", "inference endpoint", "model alias", "use force")
"""Fragments of the reason of a refused stop, if something uses the deployment."""

_LOADING_FAILED = ("failed with errors", "nodes failed")

ERROR_RULES: tuple[ErrorRule, ...] = (
    # 400: the request, or the settings of the deployment
    ErrorRule(_UPDATE, 400, None, _NO_HANDLER, r.NoUpdate),
    ErrorRule(_UPDATE, 405, None, "", r.NoUpdate),
    ErrorRule(_ANY - _UPDATE, 400, None, _NO_HANDLER, r.EndpointMissing),
    ErrorRule(_ANY - _UPDATE, 405, None, "", r.EndpointMissing),
    ErrorRule(_CHANGE, 400, _INVALID, "cannot be set if adaptive", r.ContradictoryRequest),
    ErrorRule(
        _CHANGE, 400, _MERGED_INVALID, "cannot be set if adaptive", r.AdaptiveAllocationsEnabled
    ),
    ErrorRule(_CHANGE, 400, None, "unknown field [adaptive_allocations]", r.NoAdaptiveAllocations),
    ErrorRule(_START, 400, _ILLEGAL, "enum", r.BadRequest),  # an unknown priority or wait_for
    # The planner contradicts itself (elastic/elasticsearch#115692).
    ErrorRule(_START, 400, _ILLEGAL, "not enough memory on node", r.NotEnoughCapacity),
    ErrorRule(_START, 400, _STATUS, "inference endpoint", r.BadRequest),  # it has this id
    ErrorRule(_START, 400, _STATUS, "deployment with the same id", r.DeploymentExists),
    ErrorRule(_START, 400, _STATUS, "already exists", r.DeploymentExists),
    ErrorRule(_START, 400, "resource_already_exists_exception", "", r.DeploymentExists),
    ErrorRule(_CHANGE, 400, "x_content_parse_exception", "", r.UnparsableRequest),
    ErrorRule(_CHANGE, 400, _ILLEGAL, "", r.UnparsableRequest),
    *(
        ErrorRule(_CHANGE | _STOP, 400, kind, "", r.BadRequest)
        for kind in (_INVALID, _MERGED_INVALID, _STATUS, "parse_exception")
    ),
    ErrorRule(_STOP, 400, _ILLEGAL, "", r.BadRequest),
    # 401, 403: the user, and what the licence covers
    ErrorRule(_ANY, 401, None, "", r.Unauthenticated),
    ErrorRule(_ANY, 403, _SECURITY, "non-compliant for [", r.LicenceNotCompliant),
    ErrorRule(_ANY, 403, _SECURITY, "on indices [", r.IndexRefused),
    ErrorRule(_ANY, 403, _SECURITY, "on restricted indices [", r.IndexRefused),
    ErrorRule(_ANY, 403, _SECURITY, "", r.MissingPrivilege),
    ErrorRule(_ANY, 403, _BLOCKED, "index [", r.IndexRefused),
    ErrorRule(_ANY, 403, _BLOCKED, "", r.ClusterBlocked),
    ErrorRule(_START, 403, _STATUS, "", r.MixedVersions),
    # 404
    ErrorRule(_ANY, 404, _MISSING, "no known model deployment with id", r.DeploymentNotFound),
    ErrorRule(_ANY, 404, _MISSING, "could not find trained model definition", r.DefinitionNotFound),
    ErrorRule(_ANY, 404, _MISSING, "could not find trained model", r.ModelNotFound),
    ErrorRule(_ANY, 404, "index_not_found_exception", "", r.NotFound),
    ErrorRule(_ANY, 406, "media_type_header_exception", "", r.ApiError),
    ErrorRule(_ANY, 410, "api_not_available_exception", "", r.NotAvailable),
    # 408: the wait ended, but the deployment may still reach the state
    ErrorRule(_START, 408, "model_deployment_timeout_exception", "", r.StartTimedOut),
    ErrorRule(_START, 408, _STATUS, "timed out after", r.StartTimedOut),
    ErrorRule(_START, 408, _STATUS, "download", r.ModelDownloading),
    # 409: the state of the deployment
    ErrorRule(_UPDATE, 409, _STATUS, "inference endpoint", r.OwnedByEndpoint),
    ErrorRule(_UPDATE, 409, _STATUS, "inference api", r.OwnedByEndpoint),
    ErrorRule(_UPDATE, 409, _STATUS, "[started] state", r.NotStarted),
    ErrorRule(_START, 409, _STATUS, "feature reset", r.Conflict),
    ErrorRule(_START, 409, _STATUS, "feature is being reset", r.Conflict),
    ErrorRule(_START, 409, _STATUS, "already been started", r.AlreadyStarted),
    ErrorRule(_START, 409, _STATUS, "already started", r.AlreadyStarted),
    ErrorRule(_START, 409, _STATUS, "already exists", r.AlreadyStarted),
    *(ErrorRule(_STOP, 409, _STATUS, words, r.DeploymentInUse) for words in _USED_BY),
    # 429: the scarce resource. A full thread pool and a full cluster differ in type
    ErrorRule(_CHANGE, 429, _STATUS, "upgrade mode", r.UpgradeModeEnabled),
    ErrorRule(_START, 429, _STATUS, "no ml nodes with sufficient capacity", r.NotEnoughCapacity),
    ErrorRule(_START, 429, _STATUS, "not enough resources", r.NotEnoughCapacity),
    ErrorRule(_START, 429, _STATUS, "[100]", r.TooManyDeployments),
    ErrorRule(_UPDATE, 429, _STATUS, "", r.NotEnoughCapacity),
    # 409 or 500 of a start: the nodes have no room, or one of them could not load the model
    *(
        ErrorRule(_START, status, _STATUS, words, error)
        for status in (409, 500)
        for error, fragments in (
            (r.NotEnoughCapacity, _NO_ROOM),
            (r.RoutesFailed, _LOADING_FAILED),
        )
        for words in fragments
    ),
    ErrorRule(_START, 409, None, "", r.StartConflict),
    # 503: an index that this request needs, or the whole cluster (no rule)
    ErrorRule(_ANY, 503, _BLOCKED, "index [", r.IndexUnavailable),
    ErrorRule(_ANY, 503, "unavailable_shards_exception", "", r.IndexUnavailable),
    ErrorRule(_ANY, 503, "no_shard_available_action_exception", "", r.IndexUnavailable),
    ErrorRule(_ANY, 503, "search_phase_execution_exception", "", r.IndexUnavailable),
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
    words = f"{response.reason}\n{response.causes}".lower()
    for rule in ERROR_RULES:
        if (
            rule.status == response.status
            and operation in rule.operations
            and rule.kind in (None, response.type)
            and rule.fragment in words
        ):
            return rule.error(response, request=request, retry_after_s=retry_after_s)
    error = _fallback(response.status)(response, request=request, retry_after_s=retry_after_s)
    error.recognised = False
    return error


def _fallback(status: int) -> type[r.ApiError]:
    return _BY_STATUS.get(status, r.ServerError if status >= 500 else r.ApiError)
