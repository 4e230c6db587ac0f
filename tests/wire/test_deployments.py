"""Bodies of the deployment APIs: unset, null and unknown fields."""

import msgspec
import pytest

from autoscaler.wire.deployments import (
    AdaptivePatchDocument,
    AdaptiveSettingsDocument,
    AssignmentDocument,
    AssignmentResponse,
    InferRequest,
    RouteDocument,
    StartRequest,
    StopRequest,
    TaskParameters,
    UpdateRequest,
)

RESPONSE = {
    "assignment": {
        "task_parameters": {
            "model_id": "embed",
            "deployment_id": "embed-search",
            "model_bytes": 91000321,
            "threads_per_allocation": 2,
            "number_of_allocations": 4,
            "queue_capacity": 10000,
            "cache_size": "86.7mb",
            "priority": "normal",
            "per_deployment_memory_bytes": 0,
            "per_allocation_memory_bytes": 0,
        },
        "routing_table": {
            "n1": {
                "current_allocations": 2,
                "target_allocations": 2,
                "routing_state": "started",
                "reason": "",
            }
        },
        "assignment_state": "started",
        "start_time": "2025-10-20T08:13:20.000Z",
        "max_assigned_allocations": 2,
        "adaptive_allocations": None,
    }
}


def test_an_assignment_survives_a_round_trip():
    read = msgspec.convert(RESPONSE, AssignmentResponse)
    assert read.assignment.task_parameters.number_of_allocations == 4
    assert read.assignment.routing_table["n1"].routing_state == "started"
    assert msgspec.json.decode(msgspec.json.encode(read)) == RESPONSE


def test_older_versions_leave_fields_out():
    bare = AssignmentDocument(
        task_parameters=TaskParameters(model_id="m"), routing_table={"n1": RouteDocument()}
    )
    written = msgspec.to_builtins(bare)
    assert "adaptive_allocations" not in written
    assert "deployment_id" not in written["task_parameters"]
    assert msgspec.convert(written, AssignmentDocument) == bare


def test_settings_of_adaptive_allocations():
    settings = AdaptiveSettingsDocument(enabled=True, max_number_of_allocations=8)
    assert msgspec.to_builtins(settings) == {"enabled": True, "max_number_of_allocations": 8}


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"number_of_allocations": 3},
        {"model_threads": 3},
        {"number_of_allocations": 3, "adaptive_allocations": {"enabled": False}},
        {"adaptive_allocations": None},
        {"adaptive_allocations": {}},
        {"adaptive_allocations": {"max_number_of_allocations": None}},
        {"adaptive_allocations": {"enabled": True, "min_number_of_allocations": 1}},
        {"model_id": "m", "timeout": "30s"},
    ],
    ids=str,
)
def test_unset_and_null_differ(body):
    read = msgspec.convert(body, UpdateRequest)
    assert msgspec.json.decode(msgspec.json.encode(read)) == body


@pytest.mark.parametrize(
    ("form", "body"),
    [
        (UpdateRequest, {"allocations": 3}),
        (UpdateRequest, {"number_of_allocations": "3"}),
        (UpdateRequest, {"adaptive_allocations": {"minimum": 3}}),
        (AdaptivePatchDocument, {"enabled": "yes"}),
        (StartRequest, {"threads": 3}),
        (StopRequest, {"forced": True}),
        (InferRequest, {"docs": [{}], "colour": 1}),
        (InferRequest, {}),
    ],
)
def test_requests_are_strict(form, body):
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(msgspec.json.encode(body), type=form)
