"""The differences of the API on serverless, where nodes are hidden.

Sources: elastic/elasticsearch-specification, the `@availability` notes of each request; the text of
the refusal is public in elastic/elastic-labs#450. That statistics have no node names is known from
elastic/elasticsearch#124318; how the nodes are merged into one is an assumption.
"""

from collections.abc import Iterable, Sequence

from msgspec.structs import replace

from autoscaler.simulation.emulator.calls import ApiEndpoint, Call
from autoscaler.simulation.emulator.emulation import Emulation
from autoscaler.simulation.errors import SimulatedApiError
from autoscaler.wire import stats_document as stats

_MISSING = (
    "/_cluster/",
    "/_ml/info",
    "/_ml/memory/",
    "/_ml/set_upgrade_mode",
    "/_nodes",
    "/_xpack",
)

_BEST_FIRST = ("started", "starting", "stopping", "stopped", "failed")


def available_on_serverless(endpoint: ApiEndpoint) -> ApiEndpoint:
    """The endpoint, or a refusal for its path if serverless does not have it."""
    if not endpoint.path.startswith(_MISSING):
        return endpoint
    return replace(endpoint, handler=_not_available, needs_master=False)


async def _not_available(emulation: Emulation, call: Call) -> object:
    raise SimulatedApiError(
        410,
        "api_not_available_exception",
        f"Request for uri [{call.path}] with method [{call.method}] exists but is not available "
        "when running in serverless mode",
    )


def one_unnamed_node(nodes: Sequence[stats.NodeDocument]) -> list[stats.NodeDocument]:
    """The entries of all nodes merged into one without a name: sums, and the latest times."""
    if not nodes:
        return []
    state = min(
        (node.routing_state for node in nodes),
        key=lambda state: _BEST_FIRST.index(state.routing_state),
    )
    ready = [node for node in nodes if node.inference_count is not None]
    document = stats.NodeDocument(
        routing_state=state,
        peak_throughput_per_minute=_sum(node.peak_throughput_per_minute for node in nodes),
        throughput_last_minute=_sum(node.throughput_last_minute for node in nodes),
    )
    if ready:
        _add_counters(document, ready)
    return [document]


def _add_counters(document: stats.NodeDocument, ready: Sequence[stats.NodeDocument]) -> None:
    document.inference_count = _sum(node.inference_count for node in ready)
    document.inference_cache_hit_count = _sum(node.inference_cache_hit_count or 0 for node in ready)
    document.average_inference_time_ms = _mean(
        (node.average_inference_time_ms, node.inference_count) for node in ready
    )
    document.average_inference_time_ms_excluding_cache_hits = _mean(
        (
            node.average_inference_time_ms_excluding_cache_hits,
            (node.inference_count or 0) - (node.inference_cache_hit_count or 0),
        )
        for node in ready
    )
    document.average_inference_time_ms_last_minute = _mean(
        (node.average_inference_time_ms_last_minute, node.throughput_last_minute) for node in ready
    )
    document.inference_cache_hit_count_last_minute = _sum(
        node.inference_cache_hit_count_last_minute for node in ready
    )
    document.last_access = _latest(node.last_access for node in ready)
    document.start_time = _latest(node.start_time for node in ready)
    document.number_of_pending_requests = _sum(node.number_of_pending_requests for node in ready)
    document.error_count = _sum(node.error_count for node in ready)
    document.rejected_execution_count = _sum(node.rejected_execution_count for node in ready)
    document.timeout_count = _sum(node.timeout_count for node in ready)
    document.threads_per_allocation = ready[0].threads_per_allocation
    document.number_of_allocations = _sum(node.number_of_allocations for node in ready)


def _sum(values: Iterable[int | None]) -> int:
    return sum(value or 0 for value in values)


def _latest(instants: Iterable[int | None]) -> int | None:
    return max((instant for instant in instants if instant is not None), default=None)


def _mean(parts: Iterable[tuple[float | None, int | None]]) -> float | None:
    """The mean of means weighted by their counts; None if there are none."""
    known = [(mean, count) for mean, count in parts if mean is not None and count]
    total = sum(count for _, count in known)
    return sum(mean * count for mean, count in known) / total if total else None
