"""Every known error response of the API becomes the error that callers act on."""

import pytest
from msgspec import Struct

from autoscaler.adapters.elasticsearch import api_errors as r
from autoscaler.adapters.elasticsearch.error_mapping import outcome_kind_of
from autoscaler.adapters.elasticsearch.error_rules import ERROR_RULES, Operation, classify
from autoscaler.core.decision import OutcomeKind
from autoscaler.wire.errors import parse_error, render_error

UPDATE, START, STOP, OTHER = Operation
INVALID = "action_request_validation_exception"
MERGED = "validation_exception"
STATUS = "status_exception"
ILLEGAL = "illegal_argument_exception"
PARSE = "x_content_parse_exception"
MISSING = "resource_not_found_exception"
SECURITY = "security_exception"
BLOCKED = "cluster_block_exception"
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
    cause: str = ""


CASES = (
    # _update
    Case(
        UPDATE,
        400,
        INVALID,
        "Validation Failed: 1: [number_of_allocations] must be a positive integer;",
        r.BadRequest,
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
        r.BadRequest,
    ),
    Case(
        UPDATE,
        400,
        INVALID,
        "Validation Failed: 1: [max_number_of_allocations] must be a positive integer;",
        r.BadRequest,
    ),
    Case(
        UPDATE,
        400,
        INVALID,
        "[min_number_of_allocations] must not be larger than [max_number_of_allocations];",
        r.BadRequest,
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
        r.BadRequest,
    ),
    Case(
        UPDATE,
        400,
        MERGED,
        "[number_of_allocations] must be 1 when [priority] is low",
        r.BadRequest,
    ),
    Case(UPDATE, 400, STATUS, "inconsistent id; [a] in the body, [b] in the path", r.BadRequest),
    Case(UPDATE, 400, PARSE, "[1:9] unknown field [allocations]", r.UnparsableRequest),
    Case(
        UPDATE,
        400,
        PARSE,
        "[1:2] [update_trained_model_deployment_request] unknown field [adaptive_allocations]",
        r.NoAdaptiveAllocations,
    ),
    Case(UPDATE, 400, ILLEGAL, "failed to parse [x] as an integer", r.UnparsableRequest),
    Case(UPDATE, 400, "parse_exception", "request body is required", r.BadRequest),
    Case(
        UPDATE,
        404,
        MISSING,
        "No known model deployment with id [elser]",
        r.DeploymentNotFound,
    ),
    Case(
        UPDATE,
        409,
        STATUS,
        "cannot update deployment [elser] that is in [starting] state, not in [started] state",
        r.NotStarted,
    ),
    Case(
        UPDATE,
        409,
        STATUS,
        "deployment [elser] was created by inference endpoint [elser] and must be updated through "
        "the inference API",
        r.OwnedByEndpoint,
    ),
    Case(UPDATE, 409, STATUS, "another reason", r.Conflict),
    Case(UPDATE, 429, STATUS, "not while upgrade mode is enabled", r.UpgradeModeEnabled),
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
        {"user": "scaler"},
    ),
    Case(
        UPDATE,
        403,
        SECURITY,
        "current license is non-compliant for [ml]",
        r.LicenceNotCompliant,
    ),
    Case(UPDATE, 503, "cluster_block_exception", "blocked by: [no master]", r.ServerError),
    Case(UPDATE, 503, "master_not_discovered_exception", "", r.ServerError),
    Case(
        UPDATE,
        503,
        "process_cluster_event_timeout_exception",
        "failed to process cluster event within 30s",
        r.ServerError,
    ),
    Case(UPDATE, 429, REJECTED, "rejected execution", r.TooManyRequests),  # a full thread pool
    Case(UPDATE, 405, "", "Incorrect HTTP method for uri [/x]", r.NoUpdate),
    Case(UPDATE, 400, "", "no handler found for uri [/x] and method [POST]", r.NoUpdate),
    Case(OTHER, 405, "", "Incorrect HTTP method for uri [/x]", r.EndpointMissing),
    Case(OTHER, 400, "", "no handler found for uri [/x] and method [GET]", r.EndpointMissing),
    # _start
    Case(START, 400, INVALID, "[queue_capacity] must be a positive integer", r.BadRequest),
    Case(
        START,
        400,
        INVALID,
        "[threads_per_allocation] must be a power of 2 less than or equal to 32",
        r.BadRequest,
    ),
    Case(
        START,
        400,
        INVALID,
        "[queue_capacity] must be less than 100000",
        r.BadRequest,
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
        r.BadRequest,
    ),
    Case(START, 400, INVALID, "[wait_for] must be one of these", r.BadRequest),
    Case(START, 400, ILLEGAL, "No enum constant Priority.MIDDLING", r.BadRequest),
    Case(START, 400, STATUS, "the id [a] is taken by another model", r.BadRequest),
    Case(START, 400, STATUS, "[a] is not a PyTorch model", r.BadRequest),
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
    Case(START, 400, ILLEGAL, "not enough memory on node [n1]", r.NotEnoughCapacity),
    Case(START, 400, STATUS, "inference endpoint [a] already exists with this id", r.BadRequest),
    Case(START, 400, "resource_already_exists_exception", "assignment exists", r.DeploymentExists),
    Case(START, 400, STATUS, "the assignment was removed while waiting", r.BadRequest),
    Case(UPDATE, 403, BLOCKED, "index [.ml-x] blocked by: [read-only];", r.IndexRefused),
    Case(UPDATE, 403, BLOCKED, "blocked by: [cluster read-only (api)];", r.ClusterBlocked),
    Case(UPDATE, 403, "new_exception", "this one not", r.Forbidden),
    Case(START, 403, SECURITY, f"{UNAUTHORISED} on indices [.ml-x]", r.IndexRefused),
    Case(START, 403, SECURITY, f"{UNAUTHORISED} on restricted indices [.ml-x]", r.IndexRefused),
    Case(START, 403, STATUS, "cannot start while an upgrade is in progress", r.MixedVersions),
    Case(START, 403, SECURITY, "current license is non-compliant for [ml]", r.LicenceNotCompliant),
    Case(START, 403, SECURITY, UNAUTHORISED, r.MissingPrivilege),
    Case(
        START,
        404,
        MISSING,
        "Could not find trained model [elser]",
        r.ModelNotFound,
    ),
    Case(
        START,
        404,
        MISSING,
        "Could not find trained model definition [elser]",
        r.DefinitionNotFound,
    ),
    Case(START, 408, STATUS, "the model is still being downloaded", r.ModelDownloading),
    Case(
        START,
        408,
        "model_deployment_timeout_exception",
        "Timed out after [30s] waiting for the deployment",
        r.StartTimedOut,
    ),
    Case(START, 408, STATUS, "Timed out after [20s] waiting", r.StartTimedOut),
    Case(START, 408, STATUS, "the request took too long", r.ServerTimeout),
    Case(START, 409, STATUS, "[elser] has already been started", r.AlreadyStarted),
    Case(START, 409, STATUS, "[elser] is already started", r.AlreadyStarted),
    Case(START, 409, STATUS, "deployment [elser] already exists", r.AlreadyStarted),
    Case(START, 409, STATUS, "a feature reset is in progress", r.Conflict),
    Case(START, 409, STATUS, "the ML feature is being reset", r.Conflict),
    Case(START, 409, STATUS, "another reason", r.StartConflict),
    Case(START, 409, "new_exception", "it has already been started", r.StartConflict),
    Case(
        START, 409, STATUS, "no ML nodes with sufficient capacity were found", r.NotEnoughCapacity
    ),
    Case(START, 409, STATUS, "not started", r.NotEnoughCapacity, cause="insufficient processors"),
    Case(START, 409, STATUS, "there are not enough resources", r.NotEnoughCapacity),
    Case(START, 409, STATUS, "failed with errors [n1: the process ended]", r.RoutesFailed),
    Case(START, 409, STATUS, "all nodes failed: {n1=the process ended}", r.RoutesFailed),
    Case(START, 409, STATUS, "not enough memory on [n1]", r.NotEnoughCapacity),
    Case(START, 500, STATUS, "no ML nodes with sufficient capacity found", r.NotEnoughCapacity),
    Case(START, 500, STATUS, "failed with errors [n1: not enough memory]", r.NotEnoughCapacity),
    Case(START, 500, STATUS, "failed with errors [n1: the process ended]", r.RoutesFailed),
    Case(START, 500, "null_pointer_exception", "insufficient", r.ServerError),
    Case(
        START,
        429,
        STATUS,
        "the limit of deployments [100] is reached",
        r.TooManyDeployments,
    ),
    Case(
        START,
        429,
        STATUS,
        "no ML nodes with sufficient capacity were found",
        r.NotEnoughCapacity,
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
    Case(START, 500, STATUS, "an unknown error", r.ServerError),
    Case(START, 503, "unavailable_shards_exception", "[.ml-x][0]", r.IndexUnavailable),
    Case(START, 503, "no_shard_available_action_exception", "", r.IndexUnavailable),
    Case(START, 503, "search_phase_execution_exception", "all failed", r.IndexUnavailable),
    Case(START, 503, BLOCKED, "index [.ml-x] blocked by: [read];", r.IndexUnavailable),
    Case(START, 404, "index_not_found_exception", "no such index [.ml-x]", r.NotFound),
    # _stop
    Case(STOP, 404, MISSING, "No known model deployment with id [x]", r.DeploymentNotFound),
    Case(STOP, 409, STATUS, "used by pipelines [p]; use force", r.DeploymentInUse),
    Case(STOP, 400, STATUS, "ids differ", r.BadRequest),
    Case(STOP, 400, ILLEGAL, "inconsistent id", r.BadRequest),
    Case(STOP, 503, "master_not_discovered_exception", "", r.ServerError),
    # any operation
    Case(OTHER, 401, SECURITY, "missing authentication credentials", r.Unauthenticated),
    Case(OTHER, 403, SECURITY, UNAUTHORISED, r.MissingPrivilege),
    Case(OTHER, 429, REJECTED, "the thread pool is full", r.TooManyRequests),
    Case(OTHER, 429, "circuit_breaking_exception", "data too large", r.TooManyRequests),
    Case(OTHER, 503, "master_not_discovered_exception", "", r.ServerError),
    Case(
        OTHER,
        429,
        "process_cluster_event_timeout_exception",
        "failed to process cluster event within 30s",
        r.ServerError,
    ),
    # unknown types
    Case(UPDATE, 400, "new_exception", "new", r.BadRequest),
    Case(OTHER, 404, "new_exception", "new", r.NotFound),
    Case(OTHER, 409, "new_exception", "new", r.Conflict),
    Case(OTHER, 410, "api_not_available_exception", "not in serverless mode", r.NotAvailable),
    Case(OTHER, 500, "null_pointer_exception", "oops", r.ServerError),
    Case(OTHER, 418, "teapot_exception", "short and stout", r.ApiError),
)


def rejected(case):
    cause = ("illegal_state_exception", case.cause) if case.cause else None
    body = render_error(case.status, case.kind, case.reason, caused_by=cause)
    return classify(case.operation, parse_error(case.status, body), request="POST /x")


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.operation}-{case.error.__name__}")
def test_an_error_response_becomes_the_expected_error(case):
    error = rejected(case)
    assert type(error) is case.error
    assert (error.status, error.type, error.reason) == (case.status, case.kind, case.reason)
    assert {name: getattr(error, name) for name in case.fields} == case.fields


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.operation}-{case.error.__name__}")
def test_the_message_is_one_sentence_with_status_and_reason(case):
    message = str(rejected(case))
    assert message.startswith(f"POST /x was refused with {case.status}")
    assert case.reason.rstrip(";") in message
    assert "\n" not in message


def test_every_error_of_the_rules_has_a_case():
    assert {rule.error for rule in ERROR_RULES} <= {case.error for case in CASES}


def test_fragments_are_in_lower_case():
    assert all(rule.fragment == rule.fragment.lower() for rule in ERROR_RULES)


def test_no_rule_is_hidden_by_an_earlier_one():
    for index, rule in enumerate(ERROR_RULES):
        for earlier in ERROR_RULES[:index]:
            hidden = (
                rule.operations <= earlier.operations
                and rule.status == earlier.status
                and earlier.kind in (None, rule.kind)
                and earlier.fragment in rule.fragment
            )
            assert not hidden, (rule, earlier)


OUTCOMES = {
    r.NotEnoughCapacity: OutcomeKind.NO_CAPACITY,
    r.NotStarted: OutcomeKind.NOT_STARTED,
    r.OwnedByEndpoint: OutcomeKind.ENDPOINT_OWNED,
    r.ContradictoryRequest: OutcomeKind.ADAPTIVE_ENABLED,
    r.AdaptiveAllocationsEnabled: OutcomeKind.ADAPTIVE_ENABLED,
    r.DeploymentNotFound: OutcomeKind.GONE,
    r.Unauthenticated: OutcomeKind.FORBIDDEN,
    r.MissingPrivilege: OutcomeKind.FORBIDDEN,
    r.LicenceNotCompliant: OutcomeKind.FORBIDDEN,
    r.ServerError: OutcomeKind.UNKNOWN,
    r.TooManyRequests: OutcomeKind.UNKNOWN,
    r.NoAdaptiveAllocations: OutcomeKind.UNSUPPORTED,
    r.UnparsableRequest: OutcomeKind.INVALID,
    r.ClusterBlocked: OutcomeKind.FORBIDDEN,
    r.IndexRefused: OutcomeKind.INVALID,
    r.Forbidden: OutcomeKind.UNRECOGNISED,
    r.Conflict: OutcomeKind.UNRECOGNISED,
    r.UpgradeModeEnabled: OutcomeKind.INVALID,
    r.NoUpdate: OutcomeKind.INVALID,
    r.BadRequest: OutcomeKind.INVALID,
}


@pytest.mark.parametrize(
    "case",
    [case for case in CASES if case.operation is UPDATE],
    ids=lambda case: f"{case.error.__name__}-{case.kind}-{case.status}",
)
def test_the_outcome_of_a_rejected_update(case):
    expected = OUTCOMES[case.error]
    if (case.status, case.kind) == (400, "new_exception"):
        expected = OutcomeKind.UNRECOGNISED
    assert outcome_kind_of(rejected(case)) is expected


STARTS = {
    r.NotEnoughCapacity: OutcomeKind.NO_CAPACITY,
    r.TooManyDeployments: OutcomeKind.NO_CAPACITY,
    r.StartConflict: OutcomeKind.UNRECOGNISED,
    r.ServerTimeout: OutcomeKind.UNKNOWN,
    r.ServerError: OutcomeKind.UNKNOWN,
    r.MissingPrivilege: OutcomeKind.FORBIDDEN,
    r.LicenceNotCompliant: OutcomeKind.FORBIDDEN,
    r.ModelNotFound: OutcomeKind.GONE,
    r.NoAdaptiveAllocations: OutcomeKind.UNSUPPORTED,
    r.ContradictoryRequest: OutcomeKind.ADAPTIVE_ENABLED,
}
"""Any other refusal of a start concerns that deployment alone."""

SUCCESSES = (r.AlreadyStarted, r.DeploymentExists, r.StartTimedOut)


@pytest.mark.parametrize(
    "case",
    [case for case in CASES if case.operation is START and case.error not in SUCCESSES],
    ids=lambda case: f"{case.error.__name__}-{case.kind}-{case.status}",
)
def test_the_outcome_of_a_refused_start(case):
    expected = STARTS.get(case.error, OutcomeKind.INVALID)
    assert outcome_kind_of(rejected(case)) is expected


def test_the_message_contains_the_reasons_of_the_nodes():
    body = render_error(
        409,
        STATUS,
        "no ML nodes with sufficient capacity were found",
        caused_by=("illegal_state_exception", "[n1]: free processors [0]"),
    )
    message = str(classify(START, parse_error(409, body), request="POST /x"))
    assert "were found ([n1]: free processors [0]); add machine learning nodes" in message
