"""Statistics of deployments, from the response of `GET _ml/trained_models/_stats`."""

import re
from collections.abc import Mapping
from sys import intern
from typing import Any

import msgspec
from msgspec import Raw, Struct

from autoscaler.core.flow.planning import Parts, whole
from autoscaler.core.values import STARTED, AdaptiveAllocations, DeploymentStats, NodeStats
from autoscaler.wire.bounds import MAX_NAME, MAX_TEXT, count_values, listed, shortened
from autoscaler.wire.lenient import Unreadable, parse_leniently, read_leniently
from autoscaler.wire.names import names_several
from autoscaler.wire.stats_document import (
    AdaptiveAllocationsDocument,
    AllocationStatus,
    Count,
    DeploymentDocument,
    ModelDocument,
    NodeDocument,
    parse_size,
)
from autoscaler.wire.unknown_figures import (
    has_node_twice,
    is_priority_unknown,
    is_serverless,
    is_settings_unknown,
    lacks_identity,
    unknown_figures,
)


class MalformedStats(ValueError):
    """The document is not a response of `_stats`. The message names the location."""


MAX_ENTRIES = 20_000
"""Entries of one page. A page has a thousand models, of which each may be deployed more than once.
Elasticsearch itself allows a hundred deployments by default."""

MAX_ROUTES = 1_000
"""Nodes that one deployment may run on."""

MAX_ROUTES_IN_ALL = 100_000
"""Nodes of all deployments together."""

MAX_ENTRY_BYTES = 2 * 2**20
"""Bytes of one entry; 2 kB for each node."""

MAX_LENIENT_VALUES = 500_000
"""JSON values of a page with an odd value outside the entries. It is decoded as a whole, which
takes several times the memory and the time."""

MAX_LENIENT_ENTRIES = 5_000
"""Entries with odd values of which the rest is read, because that takes twenty times as long. Other
entries with odd values are unreadable as a whole."""

_UNREADABLE_WITHOUT = ("deployment_stats", "deployment_stats.deployment_id")
"""Values without which it is not known which deployment an entry is about."""

_PARENTS = (".", "..")
"""Ids that proxies take for parts of a path to remove, even if they are percent-encoded. Not valid
in Elasticsearch."""

_ADAPTIVE = "deployment_stats.adaptive_allocations"


class _Page(Struct, kw_only=True):
    """A `StatsDocument` with undecoded entries."""

    count: Count | None = None
    trained_model_stats: list[Raw] = []


class _LenientPage(Struct, kw_only=True):
    count: Count | None = None
    trained_model_stats: list[Any] = []


class StatsPage(Struct, frozen=True, kw_only=True):
    """One decoded page."""

    total_models: int | None  # None: unknown
    entries: int
    deployments: tuple[DeploymentStats, ...]
    unreadable: tuple[tuple[str, str], ...]  # (deployment id or place, error)
    unreadable_figures: tuple[tuple[str, str], ...] = ()  # (deployment id, errors); unknown figures
    # (deployment id, figures that a decision needs, and that are absent or unreadable)
    unknown_figures: tuple[tuple[str, tuple[str, ...]], ...] = ()
    pipelines: Mapping[str, int | None] = {}  # that use it, by deployment id; None: not reported


_page = msgspec.json.Decoder(_Page)
_model = msgspec.json.Decoder(ModelDocument)


def parse_stats(body: bytes) -> StatsPage:
    """As `parse_stats_in_parts`, without an interruption."""
    return whole(parse_stats_in_parts(body))


def parse_stats_in_parts(body: bytes) -> Parts[StatsPage]:
    """Read one page of statistics. A figure that cannot be read is unknown, and a damaged entry
    affects only its own deployment. Yields before each entry.

    Raises:
        MalformedStats: the whole document cannot be read; the message names the location.
    """
    page = _page_of(body)
    if (entries := len(page.trained_model_stats)) > MAX_ENTRIES:
        raise MalformedStats(f"the statistics have {entries} entries, more than {MAX_ENTRIES}")
    routes, lenient = 0, MAX_LENIENT_ENTRIES
    deployments: dict[str, DeploymentStats] = {}
    unreadable: list[tuple[str, str]] = []
    figures: dict[str, str] = {}
    unknown: dict[str, tuple[str, ...]] = {}
    pipelines: dict[str, int | None] = {}
    # Entry by entry, so that at most one is in memory in both forms.
    for index, entry in enumerate(page.trained_model_stats):
        yield
        try:
            model, problems = _model_of(entry, lenient=lenient > 0)
        except Unreadable as error:
            lenient -= 1
            place = f"trained_model_stats[{index}]"
            unreadable.append((_id_of(entry) or place, shortened(f"{place}: {error}")))
            continue
        lenient -= bool(problems)
        if model.deployment_stats is None:
            continue
        routes += len(model.deployment_stats.nodes or ())
        if routes > MAX_ROUTES_IN_ALL:
            raise MalformedStats(f"the statistics have more than {MAX_ROUTES_IN_ALL} nodes")
        stats = _deployment(model, model.deployment_stats)
        if problems:
            figures[stats.deployment_id] = listed(problems, "; ")
        if is_settings_unknown(model.deployment_stats) or any(
            problem.startswith(_ADAPTIVE) for problem in problems
        ):
            # Which setting is in force is unknown, and so is the value that it has.
            stats = msgspec.structs.replace(stats, allocations=None, adaptive=None)
        if names := unknown_figures(model.deployment_stats, stats):
            unknown[stats.deployment_id] = names
            stats = _without_unidentified(model.deployment_stats, stats)
        if names_several(stats.deployment_id):
            unreadable.append((stats.deployment_id, "requests with its id would be for several"))
        if stats.deployment_id in _PARENTS:
            unreadable.append((stats.deployment_id, "its id would change the path of requests"))
        if stats.deployment_id in deployments:
            unreadable.append((stats.deployment_id, "two entries have this deployment id"))
        deployments[stats.deployment_id] = stats
        pipelines[stats.deployment_id] = model.pipeline_count
    for deployment_id, _ in unreadable:
        deployments.pop(deployment_id, None)
        figures.pop(deployment_id, None)
        unknown.pop(deployment_id, None)
    return StatsPage(
        total_models=page.count,
        entries=len(page.trained_model_stats),
        deployments=tuple(deployments.values()),
        unreadable=tuple(unreadable),
        unreadable_figures=tuple(figures.items()),
        unknown_figures=tuple(unknown.items()),
        pipelines=pipelines,
    )


def _page_of(body: bytes) -> _Page | _LenientPage:
    """The page, with entries that are not decoded yet, or at least are plain objects."""
    try:
        # The decoder does not check the bytes that it skips, and damage is rarely isolated.
        if not body.isascii():
            body.decode()
        return _page.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as strict:
        try:
            if count_values(body) > MAX_LENIENT_VALUES:
                raise ValueError
            page, problems = read_leniently(parse_leniently(body), _LenientPage)
        except (ValueError, RecursionError):
            page, problems = _LenientPage(), ("",)
        if any(not problem.startswith("count") for problem in problems):
            kind = "malformed" if isinstance(strict, msgspec.ValidationError) else "not JSON"
            raise MalformedStats(f"the statistics are {kind}: {strict}") from strict
        return page


def _model_of(entry: Raw | Any, *, lenient: bool) -> tuple[ModelDocument, tuple[str, ...]]:
    """One entry, and its figures that cannot be read.

    Args:
        lenient: whether it is read if it has such figures.

    Raises:
        Unreadable: the deployment of the entry cannot be determined, or the entry is too large.
    """
    if isinstance(entry, Raw) and memoryview(entry).nbytes > MAX_ENTRY_BYTES:
        raise Unreadable(f"the entry is larger than {MAX_ENTRY_BYTES >> 20} MiB")
    model, problems = _decoded(entry, lenient=lenient)
    if model.deployment_stats is not None and len(model.deployment_stats.nodes or ()) > MAX_ROUTES:
        raise Unreadable(f"deployment_stats.nodes: more than {MAX_ROUTES} nodes")
    return model, problems


def _decoded(entry: Raw | Any, *, lenient: bool) -> tuple[ModelDocument, tuple[str, ...]]:
    try:
        if isinstance(entry, Raw):
            return _model.decode(entry), ()
        return msgspec.convert(entry, ModelDocument), ()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as strict:
        if not lenient:
            raise Unreadable(str(strict)) from strict
        try:
            plain = parse_leniently(bytes(entry)) if isinstance(entry, Raw) else entry
            model, problems = read_leniently(
                plain, ModelDocument, whole=[AdaptiveAllocationsDocument]
            )
        except (ValueError, RecursionError):
            raise Unreadable(str(strict)) from strict
        for problem in problems:
            place = problem.partition(":")[0]
            if place in _UNREADABLE_WITHOUT:
                raise Unreadable(problem) from strict
            if place == "deployment_stats.allocation_status" and model.deployment_stats:
                model.deployment_stats.allocation_status = AllocationStatus()  # not absent
        return model, problems


_ID = re.compile(rb'"deployment_id"\s*:\s*"([^"\\]{1,%d})"' % MAX_NAME)


def _id_of(entry: Raw | Any) -> str | None:
    """The deployment id of an unreadable entry."""
    if isinstance(entry, Raw):
        found = _ID.search(memoryview(entry)[:MAX_ENTRY_BYTES])
        return found[1].decode(errors="replace") if found else None
    stats = entry.get("deployment_stats") if isinstance(entry, dict) else None
    name = stats.get("deployment_id") if isinstance(stats, dict) else None
    return name if isinstance(name, str) and 0 < len(name) <= MAX_NAME else None


def _deployment(model: ModelDocument, document: DeploymentDocument) -> DeploymentStats:
    status, requested = document.allocation_status, document.number_of_allocations
    state = document.state or ""
    if status is None:
        status = AllocationStatus()
        if document.state == "":  # serverless leaves out both (elastic/kibana#179299)
            state = _state_of(document)
            status.allocation_count = _acknowledged(document)
            status.target_allocation_count = requested
    size = model.model_size_stats
    # Strings repeat in every response. Interned, they are stored once and compared by identity.
    model_id = intern(document.model_id or model.model_id)
    # Positional here and in `_node`: keywords take five times as long, and a large cluster has
    # thousands of these in every response. A round trip through the emulator tests the order.
    return DeploymentStats(
        intern(document.deployment_id) or model_id,
        model_id,
        intern(state),
        document.reason[:MAX_TEXT],
        "" if is_priority_unknown(document) else intern(document.priority or "normal"),
        requested,
        status.allocation_count,
        status.target_allocation_count,
        intern(status.state),
        document.threads_per_allocation or _acknowledged_threads(document),
        document.queue_capacity,
        parse_size(document.cache_size),
        _adaptive(document.adaptive_allocations),
        None if document.start_time is None else document.start_time / 1000.0,
        document.inference_count,
        document.error_count,
        document.rejected_execution_count,
        document.timeout_count,
        document.peak_throughput_per_minute,
        size.required_native_memory_bytes if size else None,
        tuple([_node(node) for node in document.nodes or ()]),
        _rounded(size.runtime_native_memory_bytes) if size else None,
        _rounded(size.peak_runtime_native_memory_bytes) if size else None,
    )


def _without_unidentified(document: DeploymentDocument, stats: DeploymentStats) -> DeploymentStats:
    """The statistics, in which a node that cannot be identified counts as one that did not
    respond."""
    ambiguous = has_node_twice(stats)
    if is_serverless(document) and not ambiguous:
        return stats
    nodes = [
        msgspec.structs.replace(node, server_started_at=None)
        if ambiguous or lacks_identity(each)
        else node
        for node, each in zip(stats.nodes, document.nodes or (), strict=True)
    ]
    return msgspec.structs.replace(stats, nodes=tuple(nodes))


def _state_of(document: DeploymentDocument) -> str:
    """The state of a deployment that reports none, from its routes."""
    states = {node.routing_state.routing_state for node in document.nodes or ()}
    if STARTED in states or (not states and document.number_of_allocations == 0):
        return STARTED
    return states.pop() if len(states) == 1 else "starting"


def _acknowledged(document: DeploymentDocument) -> int | None:
    """The allocations of the started routes, as acknowledged by their processes; None: unknown."""
    counts = [
        node.number_of_allocations
        for node in document.nodes or ()
        if node.routing_state.routing_state == STARTED
    ]
    return None if None in counts else sum([count or 0 for count in counts])


def _acknowledged_threads(document: DeploymentDocument) -> int | None:
    """The threads of each allocation, as its processes acknowledge them, which are fewer where the
    node has fewer; None: unknown. Without any, no allocation is known to fit or not to fit."""
    threads = [node.threads_per_allocation or 0 for node in document.nodes or ()]
    return max(threads, default=0) or None


def _node(document: NodeDocument) -> NodeStats:
    node_id, name = "", ""
    if document.node:
        node_id, description = next(iter(document.node.items()))
        name = description.name
    started_ms, accessed_ms = document.start_time, document.last_access
    completed, mean_ms = document.inference_count, document.average_inference_time_ms
    errors, rejections = document.error_count, document.rejected_execution_count
    timeouts, pending = document.timeout_count, document.number_of_pending_requests
    hits = document.inference_cache_hit_count
    if (
        completed is None
        or pending is None
        or errors is None
        or rejections is None
        or timeouts is None
        or hits is None
        or (mean_ms is None and completed > 0)
    ):
        # A started route that works has all of these (`AssignmentStats.NodeStats`). Without one
        # of them, its load is unknown: it counts as one that did not respond.
        started_ms = None
        completed, pending = completed or 0, pending or 0
        errors, rejections, timeouts = errors or 0, rejections or 0, timeouts or 0
    without_hits_ms = document.average_inference_time_ms_excluding_cache_hits
    last_minute_ms = document.average_inference_time_ms_last_minute
    return NodeStats(
        intern(node_id),
        intern(document.routing_state.routing_state),
        intern(name),
        document.routing_state.reason[:MAX_TEXT],
        None if started_ms is None else started_ms / 1000.0,
        document.number_of_allocations,
        document.threads_per_allocation,
        completed,
        hits or 0,
        errors,
        rejections,
        timeouts,
        # Only the mean is reported; differences between observations need the total.
        0.0 if mean_ms is None else completed * mean_ms / 1000.0,
        None if mean_ms is None else mean_ms / 1000.0,
        None if without_hits_ms is None else without_hits_ms / 1000.0,
        pending,
        None if accessed_ms is None else accessed_ms / 1000.0,
        document.throughput_last_minute,
        document.peak_throughput_per_minute,
        None if last_minute_ms is None else last_minute_ms / 1000.0,
        document.inference_cache_hit_count_last_minute,
        _rounded(document.average_inference_process_memory_rss_bytes),
    )


def _rounded(size_bytes: float | None) -> int | None:
    return None if size_bytes is None else round(size_bytes)


def _adaptive(document: AdaptiveAllocationsDocument | None) -> AdaptiveAllocations | None:
    if document is None:
        return None
    return AdaptiveAllocations(
        enabled=bool(document.enabled),
        minimum=document.min_number_of_allocations,
        maximum=document.max_number_of_allocations,
    )
