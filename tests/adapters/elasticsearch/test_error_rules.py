"""Every refusal that the API is known for becomes one error, with what a caller acts on."""

import pytest
from msgspec import Struct

from autoscaler.adapters.elasticsearch import api_errors as r
from autoscaler.adapters.elasticsearch.error_mapping import outcome_kind_of
from autoscaler.adapters.elasticsearch.error_rules import ERROR_RULES, Operation, classify
from autoscaler.core.values import OutcomeKind
from autoscaler.wire.errors import parse_error, render_error

UPDATE, START, STOP, INFER, OTHER = Operation
INVALID = "action_request_validation_exception"
MERGED = "validation_exception"
STATUS = "status_exception"
ILLEGAL = "illegal_argument_exception"
PARSE = "x_content_parse_exception"
MISSING = "resource_not_found_exception"
SECURITY = "security_exception"
REJECTED = "es_rejected_execution_exception"

UNAUTHORISED = (
    "action [cluster:admin/xpack/ml/trained_models/deployment/update] is unauthorized for user "
    "[scaler] with effective roles [watcher], this action is granted by the cluster privileges "
    "[manage_ml,manage,all]"
)


class Case(Struct, frozen=True):
    operation: Operation
    status: int
    kind: str
    reason: str
    error: type
    fields: dict = {}
    metadata: dict = {}


CASES = (
    # _update
    Case(
        UPDATE,
        400,
        INVALID,
        "Validation Failed: 1: [number_of_allocations] must be a positive integer;",
        r.NotPositive,
        {"field": "number_of_allocations"},
    ),
    Case(
        UPDATE,
        400,
        INVALID,
        "Validation Failed: 1: [number_of_allocations] cannot be set if adaptive allocations is "
        "enabled;",
        r.ContradictoryRequest,
    ),
    Case(
        UPDATE,
        400,
        INVALID,
        "Validation Failed: 1: [min_number_of_allocations] must be a non-negative integer;",
        r.InvalidAdaptiveBounds,
        {"field": "min_number_of_allocations"},
    ),
    Case(
        UPDATE,
        400,
        INVALID,
        "Validation Failed: 1: [max_number_of_allocations] must be a positive integer;",
        r.InvalidAdaptiveBounds,
        {"field": "max_number_of_allocations"},
    ),
    Case(
        UPDATE,
        400,
        INVALID,
        "[min_number_of_allocations] must not be larger than [max_number_of_allocations];",
        r.InvalidAdaptiveBounds,
    ),
    Case(
        UPDATE,
        400,
        MERGED,
        "Validation Failed: 1: [number_of_allocations] cannot be set if adaptive allocations is "
        "enabled;",
        r.AdaptiveAllocationsEnabled,
    ),
    Case(
        UPDATE,
        400,
        MERGED,
        "[min_number_of_allocations] must not be larger than [max_number_of_allocations];",
        r.InvalidAdaptiveBounds,
    ),
    Case(
        UPDATE,
        400,
        MERGED,
        "[number_of_allocations] must be 1 when [priority] is low",
        r.LowPriorityLimit,
        {"field": "number_of_allocations"},
    ),
    Case(
        UPDATE, 400, STATUS, "inconsistent id; [a] in the body, [b] in the path", r.InconsistentId
    ),
    Case(UPDATE, 400, PARSE, "[1:9] unknown field [allocations]", r.UnparsableRequest),
    Case(
        UPDATE,
        400,
        PARSE,
        "[1:2] [update_trained_model_deployment_request] unknown field [adaptive_allocations]",
        r.NoAdaptiveAllocations,
    ),
    Case(UPDATE, 400, ILLEGAL, "failed to parse [x] as an integer", r.UnparsableRequest),
    Case(UPDATE, 400, "parse_exception", "request body is required", r.BodyRequired),
    Case(
        UPDATE,
        404,
        MISSING,
        "No known model deployment with id [elser]",
        r.DeploymentNotFound,
        {"resource_id": "elser"},
    ),
    Case(
        UPDATE,
        409,
        STATUS,
        "cannot update deployment [elser] that is in [starting] state, not in [started] state",
        r.NotStarted,
        {"state": "starting"},
    ),
    Case(
        UPDATE,
        409,
        STATUS,
        "deployment [elser] was created by inference endpoint [elser] and must be updated through "
        "the inference API",
        r.OwnedByEndpoint,
    ),
    Case(
        UPDATE,
        429,
        STATUS,
        "there are not enough resources to provide all requested allocations",
        r.NotEnoughCapacity,
    ),
    Case(UPDATE, 401, SECURITY, "unable to authenticate user [scaler]", r.Unauthenticated),
    Case(UPDATE, 401, SECURITY, "missing authentication credentials", r.Unauthenticated),
    Case(
        UPDATE,
        403,
        SECURITY,
        UNAUTHORISED,
        r.MissingPrivilege,
        {
            "action": "cluster:admin/xpack/ml/trained_models/deployment/update",
            "user": "scaler",
            "granted_by": ("manage_ml", "manage", "all"),
        },
    ),
    Case(
        UPDATE,
        403,
        SECURITY,
        "current license is non-compliant for [ml]",
        r.LicenceNotCompliant,
        {"feature": "ml"},
        {"license.expired.feature": "ml"},
    ),
    Case(UPDATE, 503, "cluster_block_exception", "blocked by: [no master]", r.ClusterBlocked),
    Case(UPDATE, 503, "master_not_discovered_exception", "", r.MasterNotDiscovered),
    Case(
        UPDATE,
        503,
        "process_cluster_event_timeout_exception",
        "failed to process cluster event within 30s",
        r.ClusterEventTimedOut,
    ),
    Case(UPDATE, 405, "", "Incorrect HTTP method for uri [/x]", r.EndpointMissing),
    # _start
    Case(START, 400, INVALID, "[queue_capacity] must be a positive integer", r.NotPositive),
    Case(
        START,
        400,
        INVALID,
        "[threads_per_allocation] must be a power of 2 less than or equal to 32",
        r.InvalidThreads,
        {"field": "threads_per_allocation"},
    ),
    Case(
        START,
        400,
        INVALID,
        "[queue_capacity] must be less than 100000",
        r.LimitExceeded,
        {"field": "queue_capacity"},
    ),
    Case(
        START,
        400,
        INVALID,
        "[number_of_allocations] cannot be set if adaptive allocations is enabled",
        r.ContradictoryRequest,
    ),
    Case(
        START,
        400,
        INVALID,
        "[threads_per_allocation] must be 1 when [priority] is low",
        r.LowPriorityLimit,
        {"field": "threads_per_allocation"},
    ),
    Case(START, 400, INVALID, "[wait_for] must be one of these", r.UnknownEnumValue),
    Case(START, 400, ILLEGAL, "No enum constant Priority.MIDDLING", r.UnknownEnumValue),
    Case(START, 400, STATUS, "the id [a] is taken by another model", r.NotDeployable),
    Case(START, 400, STATUS, "[a] is not a PyTorch model", r.NotDeployable),
    Case(
        START,
        400,
        STATUS,
        "Could not start model deployment because an existing deployment with the same id [a] "
        "exist",
        r.DeploymentExists,
    ),
    Case(START, 400, STATUS, "deployment with id [a] already exists", r.DeploymentExists),
    Case(START, 400, PARSE, "[1:2] unknown field [adaptive_allocations]", r.NoAdaptiveAllocations),
    Case(START, 400, ILLEGAL, "not enough memory on node [n1]", r.PlannerInconsistency),
    Case(START, 400, STATUS, "the assignment was removed while waiting", r.AssignmentRemoved),
    Case(START, 403, STATUS, "cannot start while an upgrade is in progress", r.MixedVersions),
    Case(START, 403, SECURITY, "current license is non-compliant for [ml]", r.LicenceNotCompliant),
    Case(START, 403, SECURITY, UNAUTHORISED, r.MissingPrivilege),
    Case(
        START,
        404,
        MISSING,
        "Could not find trained model [elser]",
        r.ModelNotFound,
        {"resource_id": "elser"},
    ),
    Case(
        START,
        404,
        MISSING,
        "Could not find trained model definition [elser]",
        r.DefinitionNotFound,
        {"resource_id": "elser"},
    ),
    Case(START, 408, STATUS, "the model is still being downloaded", r.ModelDownloading),
    Case(
        START,
        408,
        "model_deployment_timeout_exception",
        "Timed out after [30s] waiting for the deployment",
        r.StartTimedOut,
        {"waited": "30s"},
    ),
    Case(START, 408, STATUS, "Timed out after [20s] waiting", r.StartTimedOut, {"waited": "20s"}),
    Case(START, 409, STATUS, "[elser] has already been started", r.AlreadyStarted),
    Case(START, 409, STATUS, "a feature reset is in progress", r.FeatureReset),
    Case(
        START,
        429,
        STATUS,
        "the limit of deployments [100] is reached",
        r.TooManyDeployments,
        {"limit": 100},
    ),
    Case(
        START,
        429,
        STATUS,
        "no ML nodes with sufficient capacity were found",
        r.NoNodeWithCapacity,
    ),
    Case(
        START,
        429,
        STATUS,
        "there are not enough resources to provide all requested allocations",
        r.NotEnoughCapacity,
    ),
    Case(START, 429, STATUS, "not possible while upgrade mode is enabled", r.UpgradeModeEnabled),
    Case(START, 500, STATUS, "all nodes failed: {n1=out of memory}", r.RoutesFailed),
    # _stop
    Case(STOP, 404, MISSING, "No known model deployment with id [x]", r.DeploymentNotFound),
    Case(STOP, 409, STATUS, "used by pipelines [p]; use force", r.DeploymentInUse),
    Case(STOP, 400, STATUS, "ids differ", r.InconsistentId),
    Case(STOP, 400, ILLEGAL, "inconsistent id", r.InconsistentId),
    Case(STOP, 503, "master_not_discovered_exception", "", r.MasterNotDiscovered),
    # _infer
    Case(INFER, 400, "parse_exception", "request body is required", r.BodyRequired),
    Case(INFER, 400, STATUS, "the input field is missing", r.InvalidInference),
    Case(INFER, 400, MERGED, "the input is too long", r.InvalidInference),
    Case(INFER, 400, "task_cancelled_exception", "task cancelled", r.RequestCancelled),
    Case(INFER, 403, STATUS, "the model is not for this task", r.WrongTaskType),
    Case(INFER, 404, MISSING, "Could not find trained model [x]", r.ModelNotFound),
    Case(INFER, 404, MISSING, "Unable to find model deployment task [x]", r.RouteNotFound),
    Case(INFER, 408, STATUS, "timeout [10s] waiting for inference result", r.InferenceTimedOut),
    Case(INFER, 409, STATUS, "[x] must be deployed to use", r.NotDeployed),
    Case(INFER, 409, STATUS, "[x] is in [stopping]", r.DeploymentEnding, {"state": "stopping"}),
    Case(INFER, 409, STATUS, "[x] is not allocated to any nodes", r.NotAllocated),
    Case(INFER, 409, STATUS, "the inference process has gone", r.ProcessGone),
    Case(INFER, 429, REJECTED, "inference process queue is full", r.QueueFull),
    Case(INFER, 429, REJECTED, "the worker has shutdown", r.WorkerShutDown),
    Case(INFER, 429, STATUS, "Too many pending requests", r.TooManyWaiting),
    Case(INFER, 500, STATUS, "Error in inference process: [x]", r.InferenceFailed),
    # anything
    Case(OTHER, 401, SECURITY, "missing authentication credentials", r.Unauthenticated),
    Case(OTHER, 403, SECURITY, UNAUTHORISED, r.MissingPrivilege),
    Case(OTHER, 429, REJECTED, "the thread pool is full", r.ServerBusy),
    Case(OTHER, 429, "circuit_breaking_exception", "data too large", r.ServerBusy),
    Case(OTHER, 503, "master_not_discovered_exception", "", r.MasterNotDiscovered),
    # what nobody has heard of yet
    Case(UPDATE, 400, "new_exception", "new", r.BadRequest),
    Case(OTHER, 404, "new_exception", "new", r.NotFound),
    Case(OTHER, 409, "new_exception", "new", r.Conflict),
    Case(OTHER, 410, "api_not_available_exception", "not in serverless mode", r.NotAvailable),
    Case(OTHER, 500, "null_pointer_exception", "oops", r.ServerError),
    Case(OTHER, 418, "teapot_exception", "short and stout", r.ApiError),
)


def refused(case):
    body = render_error(case.status, case.kind, case.reason, metadata=case.metadata)
    return classify(case.operation, parse_error(case.status, body), request="POST /x")


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.operation}-{case.error.__name__}")
def test_a_refusal_is_recognised(case):
    error = refused(case)
    assert type(error) is case.error
    assert (error.status, error.type, error.reason) == (case.status, case.kind, case.reason)
    assert {name: getattr(error, name) for name in case.fields} == case.fields


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.operation}-{case.error.__name__}")
def test_a_refusal_is_one_sentence_with_status_and_reason(case):
    message = str(refused(case))
    assert message.startswith(f"POST /x was refused with {case.status}")
    assert case.reason.rstrip(";") in message
    assert "\n" not in message


def test_every_kind_of_refusal_is_exercised():
    assert {row.error for row in ERROR_RULES} <= {case.error for case in CASES}


def test_fragments_are_in_lower_case_as_reasons_are_when_compared():
    assert all(row.fragment == row.fragment.lower() for row in ERROR_RULES)


def test_every_row_can_win():
    for index, row in enumerate(ERROR_RULES):
        for earlier in ERROR_RULES[:index]:
            hidden = (
                row.operations <= earlier.operations
                and row.status == earlier.status
                and earlier.kind in (None, row.kind)
                and earlier.fragment in row.fragment
            )
            assert not hidden, (row, earlier)


def test_the_reason_per_node_is_kept():
    body = render_error(
        429,
        STATUS,
        "no ML nodes with sufficient capacity were found",
        caused_by=("illegal_state_exception", "n1: not enough memory"),
    )
    error = classify(START, parse_error(429, body), request="POST /x")
    assert [cause.reason for cause in error.causes] == ["n1: not enough memory"]


def test_the_resource_is_taken_from_the_metadata_first():
    body = render_error(404, MISSING, "nothing here", metadata={"resource.id": ["a", "b"]})
    error = classify(START, parse_error(404, body), request="POST /x")
    assert error.resource_id == "a,b"


@pytest.mark.parametrize(
    ("kind", "fate"),
    [
        (r.NotEnoughCapacity, OutcomeKind.NO_CAPACITY),
        (r.NotStarted, OutcomeKind.NOT_STARTED),
        (r.OwnedByEndpoint, OutcomeKind.ENDPOINT_OWNED),
        (r.AdaptiveAllocationsEnabled, OutcomeKind.ADAPTIVE_ENABLED),
        (r.DeploymentNotFound, OutcomeKind.GONE),
        (r.Unauthenticated, OutcomeKind.FORBIDDEN),
        (r.MissingPrivilege, OutcomeKind.FORBIDDEN),
        (r.LicenceNotCompliant, OutcomeKind.FORBIDDEN),
        (r.MasterNotDiscovered, OutcomeKind.UNKNOWN),
        (r.ClusterBlocked, OutcomeKind.UNKNOWN),
        (r.ClusterEventTimedOut, OutcomeKind.UNKNOWN),
        (r.NoAdaptiveAllocations, OutcomeKind.UNSUPPORTED),
        (r.NotPositive, OutcomeKind.INVALID),
        (r.LowPriorityLimit, OutcomeKind.INVALID),
        (r.EndpointMissing, OutcomeKind.INVALID),
        (r.BadRequest, OutcomeKind.INVALID),
    ],
)
def test_the_fate_of_an_update(kind, fate):
    case = next(case for case in CASES if case.error is kind and case.operation is UPDATE)
    assert outcome_kind_of(refused(case)) is fate


def test_a_full_thread_pool_is_not_a_full_cluster():
    busy = Case(UPDATE, 429, REJECTED, "rejected execution", r.ServerBusy)
    assert outcome_kind_of(refused(busy)) is OutcomeKind.UNKNOWN
