"""The response of `GET _ml/trained_models/_stats`, as it is sent.

Source: elastic/elasticsearch-specification, `specification/ml/_types/TrainedModel.ts`. Fields
differ between versions, and counters are omitted while they are 0, so every field has a default.
The structs serve both directions: a value that equals its default is not written.
"""

import re
from functools import lru_cache
from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

from autoscaler.wire.bounds import Name

# Values above these are damage, not load. From 2**53, a double is not exact.
Count = Annotated[int, Meta(ge=0, lt=2**53)]
Int32 = Annotated[int, Meta(ge=0, le=2**31 - 1)]  # what the server itself counts in 32 bits
Milliseconds = Annotated[float, Meta(ge=0.0, le=1e12)]
AverageBytes = Annotated[float, Meta(ge=0.0, lt=2.0**53)]  # an average may have a fraction
EpochMillis = Annotated[int, Meta(ge=0, lt=2**53)]

FILTER_PATH = (
    "count,trained_model_stats.model_id,trained_model_stats.model_size_stats,"
    "trained_model_stats.pipeline_count,"
    "trained_model_stats.deployment_stats,"
    "-trained_model_stats.deployment_stats.nodes.node.*.attributes,"
    "-trained_model_stats.deployment_stats.nodes.node.*.roles,"
    "-trained_model_stats.deployment_stats.nodes.node.*.version,"
    "-trained_model_stats.deployment_stats.nodes.node.*.*_*"
)
"""The fields that the client requests: deployments, without the descriptions of nodes."""


class _Document(Struct, omit_defaults=True, gc=False):
    """Base of documents. They are trees, so the garbage collector need not traverse them."""


class NodeDescription(_Document, kw_only=True):
    name: Name = ""
    ephemeral_id: str = ""
    transport_address: str = ""
    external_id: str = ""
    attributes: dict[str, str] = {}
    roles: list[str] = []
    version: str = ""
    min_index_version: int = 0
    max_index_version: int = 0


class RoutingStateAndReason(Struct, frozen=True, omit_defaults=True, gc=False, kw_only=True):
    routing_state: Name = ""
    reason: str = ""


class NodeDocument(_Document, kw_only=True):
    """`nodes[]`: a route that is not started has only the first two fields and two zeros."""

    node: dict[Name, NodeDescription] | None = None  # one key, the node's id; absent on serverless
    routing_state: RoutingStateAndReason = RoutingStateAndReason()
    inference_count: Count | None = None
    average_inference_time_ms: Milliseconds | None = None
    average_inference_time_ms_excluding_cache_hits: Milliseconds | None = None
    inference_cache_hit_count: Count | UnsetType | None = UNSET  # null is unknown
    last_access: EpochMillis | None = None
    number_of_pending_requests: Int32 | None = None
    error_count: Int32 | None = 0  # of this and the next two, only null is unknown
    rejected_execution_count: Int32 | None = 0
    timeout_count: Int32 | None = 0
    start_time: EpochMillis | None = None
    threads_per_allocation: Int32 | None = None
    number_of_allocations: Int32 | None = None
    peak_throughput_per_minute: Count | None = None
    throughput_last_minute: Count | None = None
    average_inference_time_ms_last_minute: Milliseconds | None = None
    inference_cache_hit_count_last_minute: Count | None = None
    average_inference_process_memory_rss_bytes: AverageBytes | None = None


class AllocationStatus(_Document, kw_only=True):
    allocation_count: Int32 | None = None
    target_allocation_count: Int32 | None = None
    state: Name = ""


class AdaptiveAllocationsDocument(_Document, kw_only=True):
    enabled: bool | None = None
    min_number_of_allocations: Int32 | None = None
    max_number_of_allocations: Int32 | None = None


class DeploymentDocument(_Document, kw_only=True):
    deployment_id: Name = ""  # since 8.8; before, the model id
    model_id: Name = ""
    threads_per_allocation: Int32 | None = None
    number_of_allocations: Int32 | None = None
    adaptive_allocations: AdaptiveAllocationsDocument | None = None
    queue_capacity: Int32 | None = None
    state: Name | None = ""  # this and allocation_status are absent on serverless; null is unknown
    reason: str = ""
    allocation_status: AllocationStatus | None = None
    cache_size: Name | None = None
    priority: Name | None = ""  # absent before 8.6; null is unknown
    start_time: EpochMillis | None = None
    error_count: Count | None = 0  # of this and the next three, only null is unknown
    rejected_execution_count: Count | None = 0
    timeout_count: Count | None = 0
    inference_count: Count | None = 0
    peak_throughput_per_minute: Count | None = None
    nodes: list[NodeDocument] | None = None  # always sent, possibly empty


class ModelSizeStats(_Document, kw_only=True):
    model_size_bytes: Count | None = None
    required_native_memory_bytes: Count | None = None
    runtime_native_memory_bytes: AverageBytes | None = None  # this and the next: what processes use
    peak_runtime_native_memory_bytes: AverageBytes | None = None


class InferenceStats(_Document, kw_only=True):
    failure_count: Count | None = None
    inference_count: Count | None = None
    cache_miss_count: Count | None = None
    missing_all_fields_count: Count | None = None
    timestamp: EpochMillis | None = None


class ModelDocument(_Document, kw_only=True):
    """`trained_model_stats[]`: one entry per deployment, or one for a model without any."""

    model_id: Name = ""
    model_size_stats: ModelSizeStats | None = None
    pipeline_count: Count | None = None
    inference_stats: InferenceStats | None = None
    deployment_stats: DeploymentDocument | None = None


class StatsDocument(Struct, kw_only=True):
    count: Count = 0  # matching models, possibly more than the page has
    trained_model_stats: list[ModelDocument] = []


_UNITS = {"": 1, "b": 1, "kb": 2**10, "mb": 2**20, "gb": 2**30, "tb": 2**40, "pb": 2**50}


@lru_cache(maxsize=1024)
def parse_size(text: str | None) -> int | None:
    """Bytes of a size as Elasticsearch prints it; None for any other text.

    >>> parse_size("86.7mb")
    90911539
    >>> parse_size("0")
    0
    """
    found = re.fullmatch(r"(\d{1,18}(?:\.\d{1,9})?)\s*([kmgtp]?b?)", (text or "").lower())
    return int(float(found[1]) * _UNITS[found[2]]) if found and found[2] in _UNITS else None
