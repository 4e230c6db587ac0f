"""The response of `GET _ml/trained_models/_stats`.

Source: elastic/elasticsearch-specification, `specification/ml/_types/TrainedModel.ts`. Fields
differ between versions, and counters are omitted while they are 0, so every field has a default.
The structs serve both directions: a value that equals its default is not written.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from sys import intern
from typing import Annotated

import msgspec
from msgspec import Meta, Raw, Struct

from autoscaler.core.values import AdaptiveAllocations, DeploymentStats, NodeStats

# Values above these are damage, not load. Above 2**53, a double is not exact.
Count = Annotated[int, Meta(ge=0, le=2**53)]
Milliseconds = Annotated[float, Meta(ge=0.0, le=1e12)]
EpochMillis = Annotated[int, Meta(ge=0, le=2**53)]

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


class MalformedStats(ValueError):
    """The document is not a response of `_stats`. The message names the location."""


class _Document(Struct, omit_defaults=True, gc=False):
    """Base of documents. They are trees, so the garbage collector need not traverse them."""


class NodeDescription(_Document, kw_only=True):
    name: str = ""
    ephemeral_id: str = ""
    transport_address: str = ""
    external_id: str = ""
    attributes: dict[str, str] = {}
    roles: list[str] = []
    version: str = ""
    min_index_version: int = 0
    max_index_version: int = 0


class RoutingStateAndReason(Struct, frozen=True, omit_defaults=True, gc=False, kw_only=True):
    routing_state: str = ""
    reason: str = ""


class NodeDocument(_Document, kw_only=True):
    """`nodes[]`: a route that is not started has only the first two fields and two zeros."""

    node: dict[str, NodeDescription] | None = None  # one key, the node's id; absent on serverless
    routing_state: RoutingStateAndReason = RoutingStateAndReason()
    inference_count: Count | None = None
    average_inference_time_ms: Milliseconds | None = None
    average_inference_time_ms_excluding_cache_hits: Milliseconds | None = None
    inference_cache_hit_count: Count | None = None
    last_access: EpochMillis | None = None
    number_of_pending_requests: Count | None = None
    error_count: Count = 0
    rejected_execution_count: Count = 0
    timeout_count: Count = 0
    start_time: EpochMillis | None = None
    threads_per_allocation: Count | None = None
    number_of_allocations: Count | None = None
    peak_throughput_per_minute: Count | None = None
    throughput_last_minute: Count | None = None
    average_inference_time_ms_last_minute: Milliseconds | None = None
    inference_cache_hit_count_last_minute: Count | None = None
    average_inference_process_memory_rss_bytes: Count | None = None


class AllocationStatus(_Document, kw_only=True):
    allocation_count: Count | None = None
    target_allocation_count: Count | None = None
    state: str = ""


class AdaptiveAllocationsDocument(_Document, kw_only=True):
    enabled: bool | None = None
    min_number_of_allocations: Count | None = None
    max_number_of_allocations: Count | None = None


class DeploymentDocument(_Document, kw_only=True):
    deployment_id: str = ""  # since 8.8; before, the model id
    model_id: str = ""
    threads_per_allocation: Count | None = None
    number_of_allocations: Count | None = None
    adaptive_allocations: AdaptiveAllocationsDocument | None = None
    queue_capacity: Count | None = None
    state: str = ""
    reason: str = ""
    allocation_status: AllocationStatus | None = None
    cache_size: str | None = None
    priority: str = ""
    start_time: EpochMillis | None = None
    error_count: Count = 0
    rejected_execution_count: Count = 0
    timeout_count: Count = 0
    inference_count: Count = 0
    peak_throughput_per_minute: Count | None = None
    nodes: list[NodeDocument] | None = None  # always sent, possibly empty


class ModelSizeStats(_Document, kw_only=True):
    model_size_bytes: Count | None = None
    required_native_memory_bytes: Count | None = None
    runtime_native_memory_bytes: Count | None = None  # this and the next: what processes use
    peak_runtime_native_memory_bytes: Count | None = None


class InferenceStats(_Document, kw_only=True):
    failure_count: Count | None = None
    inference_count: Count | None = None
    cache_miss_count: Count | None = None
    missing_all_fields_count: Count | None = None
    timestamp: EpochMillis | None = None


class ModelDocument(_Document, kw_only=True):
    """`trained_model_stats[]`: one entry per deployment, or one for a model without any."""

    model_id: str = ""
    model_size_stats: ModelSizeStats | None = None
    pipeline_count: Count | None = None
    inference_stats: InferenceStats | None = None
    deployment_stats: DeploymentDocument | None = None


class StatsDocument(Struct, kw_only=True):
    count: Count = 0  # matching models, possibly more than the page has
    trained_model_stats: list[ModelDocument] = []


class _Page(Struct, kw_only=True):
    """A `StatsDocument` with undecoded entries."""

    count: Count = 0
    trained_model_stats: list[Raw] = []


class StatsPage(Struct, frozen=True, kw_only=True):
    """One decoded page."""

    total_models: int
    deployments: tuple[DeploymentStats, ...]
    unreadable: tuple[tuple[str, str], ...]  # (deployment id or place, error)
    pipelines: Mapping[str, int | None] = {}  # that use it, by deployment id; None: not reported


_page = msgspec.json.Decoder(_Page)
_model = msgspec.json.Decoder(ModelDocument)


def parse_stats(body: bytes) -> StatsPage:
    """Read one page of statistics. A damaged entry affects only its own deployment.

    Raises:
        MalformedStats: the whole document cannot be read; the message names the location.
    """
    try:
        # The decoder does not check the bytes that it skips, and damage is rarely isolated.
        if not body.isascii():
            body.decode()
        page = _page.decode(body)
    except msgspec.ValidationError as error:
        raise MalformedStats(f"the statistics are malformed: {error}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedStats(f"the statistics are not JSON: {error}") from error
    deployments: dict[str, DeploymentStats] = {}
    unreadable: list[tuple[str, str]] = []
    pipelines: dict[str, int | None] = {}
    # Entry by entry, so that at most one is in memory in both forms.
    for index, entry in enumerate(page.trained_model_stats):
        try:
            model = _model.decode(entry)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            place = f"trained_model_stats[{index}]"
            unreadable.append((_id_of(bytes(entry)) or place, f"{place}: {error}"))
            continue
        if model.deployment_stats is None:
            continue
        stats = _deployment(model, model.deployment_stats)
        if stats.deployment_id in deployments:
            unreadable.append((stats.deployment_id, "two entries have this deployment id"))
        deployments[stats.deployment_id] = stats
        pipelines[stats.deployment_id] = model.pipeline_count
    for deployment_id, _ in unreadable:
        deployments.pop(deployment_id, None)
    return StatsPage(
        total_models=page.count,
        deployments=tuple(deployments.values()),
        unreadable=tuple(unreadable),
        pipelines=pipelines,
    )


def _id_of(entry: bytes) -> str | None:
    """The deployment id of an unreadable entry, found in its bytes."""
    found = re.search(rb'"deployment_id"\s*:\s*"([^"\\]+)"', entry)
    return found[1].decode(errors="replace") if found else None


def _deployment(model: ModelDocument, document: DeploymentDocument) -> DeploymentStats:
    status = document.allocation_status or AllocationStatus()
    size = model.model_size_stats
    # Strings repeat in every response. Interned, they are stored once and compared by identity.
    model_id = intern(document.model_id or model.model_id)
    # Positional here and in `_node`: keywords take five times as long, and a large cluster has
    # thousands of these in every response. A round trip through the emulator tests the order.
    return DeploymentStats(
        intern(document.deployment_id) or model_id,
        model_id,
        intern(document.state),
        document.reason,
        intern(document.priority) or "normal",
        document.number_of_allocations,
        status.allocation_count,
        status.target_allocation_count,
        intern(status.state),
        document.threads_per_allocation,
        document.queue_capacity,
        parse_size(document.cache_size),
        _adaptive(document.adaptive_allocations),
        None if document.start_time is None else document.start_time / 1000.0,
        document.inference_count,
        document.error_count,
        document.rejected_execution_count,
        document.timeout_count,
        document.peak_throughput_per_minute or 0,
        size.required_native_memory_bytes if size else None,
        tuple([_node(node) for node in document.nodes or ()]),
        size.runtime_native_memory_bytes if size else None,
        size.peak_runtime_native_memory_bytes if size else None,
    )


def _node(document: NodeDocument) -> NodeStats:
    node_id, name = "", ""
    if document.node:
        node_id, description = next(iter(document.node.items()))
        name = description.name
    started_ms, accessed_ms = document.start_time, document.last_access
    completed, mean_ms = document.inference_count or 0, document.average_inference_time_ms
    without_hits_ms = document.average_inference_time_ms_excluding_cache_hits
    last_minute_ms = document.average_inference_time_ms_last_minute
    return NodeStats(
        node_id,
        intern(document.routing_state.routing_state),
        intern(name),
        document.routing_state.reason,
        None if started_ms is None else started_ms / 1000.0,
        document.number_of_allocations,
        document.threads_per_allocation,
        completed,
        document.inference_cache_hit_count or 0,
        document.error_count,
        document.rejected_execution_count,
        document.timeout_count,
        # Only the mean is reported; differences between observations need the total.
        0.0 if mean_ms is None else completed * mean_ms / 1000.0,
        None if mean_ms is None else mean_ms / 1000.0,
        None if without_hits_ms is None else without_hits_ms / 1000.0,
        document.number_of_pending_requests or 0,
        None if accessed_ms is None else accessed_ms / 1000.0,
        document.throughput_last_minute or 0,
        document.peak_throughput_per_minute or 0,
        None if last_minute_ms is None else last_minute_ms / 1000.0,
        document.inference_cache_hit_count_last_minute or 0,
        document.average_inference_process_memory_rss_bytes,
    )


def _adaptive(document: AdaptiveAllocationsDocument | None) -> AdaptiveAllocations | None:
    if document is None:
        return None
    return AdaptiveAllocations(
        enabled=bool(document.enabled),
        minimum=document.min_number_of_allocations,
        maximum=document.max_number_of_allocations,
    )


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
