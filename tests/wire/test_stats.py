"""The statistics: complete, sparse and damaged responses."""

import json

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoscaler.core.values import AdaptiveAllocations
from autoscaler.wire.stats import MalformedStats, StatsDocument, parse_size, parse_stats

STARTED = {
    "node": {"n1": {"name": "ml-a"}},
    "routing_state": {"routing_state": "started"},
    "inference_count": 4410,
    "average_inference_time_ms": 38.25,
    "average_inference_time_ms_excluding_cache_hits": 41.5,
    "inference_cache_hit_count": 340,
    "last_access": 1760999999123,
    "number_of_pending_requests": 4,
    "rejected_execution_count": 1,
    "timeout_count": 2,
    "start_time": 1760990004567,
    "threads_per_allocation": 2,
    "number_of_allocations": 2,
    "peak_throughput_per_minute": 611,
    "throughput_last_minute": 380,
}
STARTING = {
    "node": {"n2": {"name": "ml-b"}},
    "routing_state": {"routing_state": "starting", "reason": "loading"},
    "peak_throughput_per_minute": 0,
    "throughput_last_minute": 0,
}


def model(deployment_id="search", **more):
    return {
        "model_id": "embed",
        "model_size_stats": {"model_size_bytes": 9, "required_native_memory_bytes": 43},
        "deployment_stats": {
            "deployment_id": deployment_id,
            "model_id": "embed",
            "number_of_allocations": 3,
            "adaptive_allocations": {"enabled": False},
            "state": "started",
            "allocation_status": {
                "allocation_count": 2,
                "target_allocation_count": 3,
                "state": "started",
            },
            "cache_size": "86.7mb",
            "priority": "normal",
            "start_time": 1760990000000,
            "inference_count": 4410,
            "nodes": [STARTED, STARTING],
            **more,
        },
    }


def parsed(*models, count=None):
    document = {"count": len(models) if count is None else count, "trained_model_stats": models}
    return parse_stats(json.dumps(document).encode())


def test_a_complete_response():
    page = parsed(model(), count=7)
    (found,) = page.deployments
    assert page.total_models == 7
    assert (found.deployment_id, found.model_id, found.state) == ("search", "embed", "started")
    assert (found.allocations, found.running_allocations, found.target_allocations) == (3, 2, 3)
    assert found.adaptive == AdaptiveAllocations(enabled=False)
    assert found.cache_bytes == 90911539
    assert found.server_created_at == 1760990000.0
    assert found.required_memory_bytes == 43
    started, starting = found.nodes
    assert (started.node_id, started.name, started.routing_state) == ("n1", "ml-a", "started")
    assert started.mean_inference_s == 0.03825
    assert started.mean_inference_without_hits_s == 0.0415
    assert started.errors + started.rejections + started.timeouts == 3
    assert started.reports
    assert (starting.routing_state, starting.routing_reason) == ("starting", "loading")
    assert not starting.reports


def test_the_memory_that_processes_use():
    size = {
        "required_native_memory_bytes": 43,
        "runtime_native_memory_bytes": 44,
        "peak_runtime_native_memory_bytes": 45,
    }
    (found,) = parsed({**model(), "model_size_stats": size}).deployments
    assert (found.runtime_memory_bytes, found.peak_runtime_memory_bytes) == (44, 45)
    (found,) = parsed(model()).deployments
    assert (found.runtime_memory_bytes, found.peak_runtime_memory_bytes) == (None, None)


def test_counters_that_are_absent_are_zero_and_averages_unknown():
    (found,) = parsed(model(nodes=[{"routing_state": {"routing_state": "started"}}])).deployments
    (node,) = found.nodes
    assert (node.node_id, node.completed, node.pending) == ("", 0, 0)
    assert (node.errors, node.rejections, node.timeouts) == (0, 0, 0)
    assert node.mean_inference_s is None
    assert found.errors == found.rejections == found.timeouts == 0


def test_before_8_8_a_deployment_has_the_name_of_its_model():
    (found,) = parsed({"model_id": "embed", "deployment_stats": {}}).deployments
    assert found.deployment_id == found.model_id == "embed"
    assert found.adaptive is None


def test_models_without_deployments_are_omitted():
    assert parsed({"model_id": "lang_ident_model_1"}).deployments == ()


@pytest.mark.parametrize(
    "damage",
    [
        {"number_of_allocations": -1},
        {"number_of_allocations": 1.5},
        {"nodes": {}},
        {"nodes": [STARTED | {"inference_count": 2**60}]},
        {"nodes": [STARTED | {"average_inference_time_ms": "fast"}]},
        {"start_time": "2025-10-20"},
    ],
    ids=lambda damage: next(iter(damage)),
)
def test_damage_affects_only_its_deployment(damage):
    page = parsed(model("a"), model("b", **damage), model("c"))
    assert [d.deployment_id for d in page.deployments] == ["a", "c"]
    ((place, what),) = page.unreadable
    assert place == "b"
    assert what.startswith("trained_model_stats[1]: ")


def test_damage_without_a_deployment_id_is_named_by_its_location():
    page = parsed(model("a"), "nonsense")
    assert [place for place, _ in page.unreadable] == ["trained_model_stats[1]"]


def test_two_entries_with_one_id_are_unreadable():
    page = parsed(model("a"), model("b"), model("a"))
    assert [d.deployment_id for d in page.deployments] == ["b"]
    assert [place for place, _ in page.unreadable] == ["a"]


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"null", b'{"count":', b'{"count":-1}', b"\xff", b'{"a":' * 9999]
)
def test_a_document_other_than_statistics(body):
    with pytest.raises(MalformedStats):
        parse_stats(body)


@settings(deadline=None, derandomize=True)
@given(st.recursive(st.none() | st.integers() | st.text(), st.lists))
def test_other_entries_are_read_with_any_damaged_entry(entry):
    page = parsed(model("a"), entry)
    assert "a" in {d.deployment_id for d in page.deployments}


def test_statistics_survive_a_round_trip():
    body = {"count": 1, "trained_model_stats": [model()]}
    read = msgspec.convert(body, StatsDocument)
    again = parse_stats(msgspec.json.encode(read))
    assert again == parsed(model())


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("0b", 0),
        ("512b", 512),
        ("1kb", 1024),
        ("1.5MB", 1572864),
        ("2gb", 2 * 2**30),
        ("1tb", 2**40),
        ("-1", None),
        ("many", None),
        ("1 eb", None),
        ("", None),
        (None, None),
    ],
)
def test_sizes(text, size):
    assert parse_size(text) == size
