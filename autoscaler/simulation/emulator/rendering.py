"""The simulated deployments in Elasticsearch's JSON."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec import UNSET

from autoscaler.simulation.cluster import SimulatedCluster, SimulatedDeployment
from autoscaler.simulation.deployment import AdaptiveSettings
from autoscaler.simulation.emulator.matching import Page
from autoscaler.simulation.emulator.serverless import one_unnamed_node
from autoscaler.simulation.memory import MemoryStatistics
from autoscaler.simulation.route import Route
from autoscaler.simulation.statistics import Counters
from autoscaler.wire import deployments
from autoscaler.wire import stats_document as stats

LANGUAGE_MODEL_BYTES = 1_053_992
"""The size of the model that identifies languages, which every cluster has."""


def stats_document(
    cluster: SimulatedCluster,
    page: Page,
    *,
    missing_nodes: frozenset[str] = frozenset(),
    versions: dict[str, str] | None = None,
    human: bool = False,
) -> dict[str, Any]:
    """The response of `_stats`, without the statistics of the nodes `missing_nodes`."""
    entries = [
        entry
        for model_id in page.models
        for entry in _model_entries(cluster, page, model_id, missing_nodes, versions or {})
    ]
    document: dict[str, Any] = msgspec.to_builtins(
        stats.StatsDocument(count=page.count, trained_model_stats=entries)
    )
    if human:
        for entry in document["trained_model_stats"]:
            _add_readable_values(entry)
    return document


def _model_entries(
    cluster: SimulatedCluster,
    page: Page,
    model_id: str,
    missing_nodes: frozenset[str],
    versions: dict[str, str],
) -> Iterable[stats.ModelDocument]:
    model = cluster.models.get(model_id)
    size = stats.ModelSizeStats(
        model_size_bytes=LANGUAGE_MODEL_BYTES, required_native_memory_bytes=0
    )
    if model is not None:
        size = stats.ModelSizeStats(
            model_size_bytes=model.size_bytes,
            required_native_memory_bytes=cluster.required_memory_bytes(model_id),
        )
        runtime = cluster.resident_memory.of_model(model_id)
        if cluster.memory_statistics is MemoryStatistics.MODEL and runtime is not None:
            size.runtime_native_memory_bytes, size.peak_runtime_native_memory_bytes = runtime
    deployed = [
        deployment
        for _, deployment in sorted(cluster.deployments.items())
        if deployment.model_id == model_id
        and page.includes_deployment(deployment.deployment_id, model_id)
    ]
    for deployment in deployed:
        rendered = _deployment_document(cluster, deployment, missing_nodes, versions)
        yield stats.ModelDocument(
            model_id=model_id,
            model_size_stats=size,
            pipeline_count=_pipelines_of(cluster, deployment),
            inference_stats=_inference_stats(rendered, cluster.now),
            deployment_stats=rendered,
        )
    if not deployed:
        yield stats.ModelDocument(model_id=model_id, model_size_stats=size, pipeline_count=0)


def _inference_stats(rendered: stats.DeploymentDocument, now: float) -> stats.InferenceStats:
    failures = [rendered.error_count, rendered.timeout_count, rendered.rejected_execution_count]
    return stats.InferenceStats(
        failure_count=sum([count or 0 for count in failures]),
        inference_count=rendered.inference_count,
        cache_miss_count=0,
        missing_all_fields_count=0,
        timestamp=_millis(now),
    )


def _deployment_document(
    cluster: SimulatedCluster,
    deployment: SimulatedDeployment,
    missing_nodes: frozenset[str],
    versions: dict[str, str],
) -> stats.DeploymentDocument:
    parameters = deployment.parameters
    nodes = [
        _node_document(cluster, route, versions, silent=route.node_id in missing_nodes)
        for route in deployment.routes.values()
    ]
    serverless = cluster.behaviour.serverless
    if serverless:
        nodes = one_unnamed_node(nodes)
    document = stats.DeploymentDocument(
        deployment_id=parameters.deployment_id if cluster.behaviour.deployment_id else "",
        model_id=parameters.model_id,
        threads_per_allocation=parameters.threads_per_allocation,
        number_of_allocations=deployment.requested,
        queue_capacity=parameters.queue_capacity,
        state="" if serverless else deployment.reported_state(),
        reason=deployment.reported_reason() or "",
        cache_size=format_size(parameters.cache_bytes),
        priority=parameters.priority,
        start_time=_millis(deployment.start_time),
        error_count=sum(node.error_count or 0 for node in nodes),
        rejected_execution_count=sum(node.rejected_execution_count or 0 for node in nodes),
        timeout_count=sum(node.timeout_count or 0 for node in nodes),
        inference_count=sum(node.inference_count or 0 for node in nodes),
        peak_throughput_per_minute=sum(node.peak_throughput_per_minute or 0 for node in nodes),
        nodes=nodes,
    )
    if cluster.behaviour.adaptive_allocations and deployment.adaptive is not None:
        document.adaptive_allocations = stats.AdaptiveAllocationsDocument(
            enabled=bool(deployment.adaptive.enabled),
            min_number_of_allocations=deployment.adaptive.min_number_of_allocations,
            max_number_of_allocations=deployment.adaptive.max_number_of_allocations,
        )
    if deployment.state != "stopping" and not serverless:
        document.allocation_status = stats.AllocationStatus(
            allocation_count=deployment.running,
            target_allocation_count=deployment.requested,
            state=deployment.allocation_state(),
        )
    return document


def _node_document(
    cluster: SimulatedCluster, route: Route, versions: dict[str, str], *, silent: bool
) -> stats.NodeDocument:
    """The entry of a node; for a `silent` node, only the data of the routing table."""
    document = stats.NodeDocument(
        node={route.node_id: _node_description(cluster, route.node_id, versions)},
        routing_state=stats.RoutingStateAndReason(
            routing_state=route.state if silent else route.reported_state, reason=route.reason
        ),
        peak_throughput_per_minute=0,
        throughput_last_minute=0,
    )
    counters = None if silent else route.counters(cluster.now)
    if counters is not None:
        _add_counters(document, counters)
        if cluster.memory_statistics is not MemoryStatistics.NONE:
            document.average_inference_process_memory_rss_bytes = counters.resident_bytes
    return document


def _add_counters(document: stats.NodeDocument, counters: Counters) -> None:
    document.inference_count = counters.completed
    if counters.completed:
        document.average_inference_time_ms = counters.mean_inference_ms
        document.average_inference_time_ms_excluding_cache_hits = (
            counters.mean_inference_ms_without_hits
        )
    document.inference_cache_hit_count = counters.cache_hits
    document.last_access = None if counters.last_access is None else _millis(counters.last_access)
    document.number_of_pending_requests = counters.pending
    document.error_count = counters.errors
    document.rejected_execution_count = counters.rejections
    document.timeout_count = counters.timeouts
    document.start_time = _millis(counters.start_time)
    document.threads_per_allocation = counters.threads_per_allocation
    document.number_of_allocations = counters.allocations
    document.peak_throughput_per_minute = counters.peak_per_minute
    document.throughput_last_minute = counters.completed_last_minute
    document.average_inference_time_ms_last_minute = counters.mean_inference_ms_last_minute
    document.inference_cache_hit_count_last_minute = counters.cache_hits_last_minute


def _node_description(
    cluster: SimulatedCluster, node_id: str, versions: dict[str, str]
) -> stats.NodeDescription:
    node = cluster.nodes.get(node_id)
    name = node_id if node is None else node.name
    return stats.NodeDescription(
        name=name,
        ephemeral_id=f"{node_id}-e",
        transport_address="127.0.0.1:9300",
        external_id=name,
        attributes={} if node is None else {"ml.machine_memory": str(node.memory_bytes)},
        roles=["ml"],
        version=versions.get(node_id, cluster.behaviour.number),
        min_index_version=7_000_099,
        max_index_version=8_525_000,
    )


def assignment_response(
    cluster: SimulatedCluster, deployment: SimulatedDeployment
) -> deployments.AssignmentResponse:
    """The response of `_start` and `_update`."""
    parameters, behaviour = deployment.parameters, cluster.behaviour
    task = deployments.TaskParameters(
        model_id=parameters.model_id,
        model_bytes=parameters.model_bytes,
        threads_per_allocation=parameters.threads_per_allocation,
        number_of_allocations=deployment.requested,
        queue_capacity=parameters.queue_capacity,
        cache_size=format_size(parameters.cache_bytes) if parameters.cache_bytes else "0",
        priority=parameters.priority,
    )
    if behaviour.deployment_id:
        task.deployment_id = parameters.deployment_id
    if behaviour.memory_parameters:
        task.per_deployment_memory_bytes = task.per_allocation_memory_bytes = 0
    return deployments.AssignmentResponse(
        assignment=deployments.AssignmentDocument(
            task_parameters=task,
            routing_table={
                route.node_id: deployments.RouteDocument(
                    current_allocations=route.current_allocations,
                    target_allocations=route.target_allocations,
                    routing_state=route.state,
                    reason=route.reason,
                )
                for route in deployment.routes.values()
            },
            assignment_state=deployment.state,
            reason=deployment.reason or UNSET,
            start_time=iso_time(deployment.start_time),
            max_assigned_allocations=deployment.max_assigned_allocations,
            adaptive_allocations=(
                _adaptive_settings(deployment.adaptive) if behaviour.adaptive_allocations else UNSET
            ),
        )
    )


def _adaptive_settings(
    settings: AdaptiveSettings | None,
) -> deployments.AdaptiveSettingsDocument | None:
    if settings is None:
        return None
    rendered = deployments.AdaptiveSettingsDocument(enabled=bool(settings.enabled))
    if settings.min_number_of_allocations is not None:
        rendered.min_number_of_allocations = settings.min_number_of_allocations
    if settings.max_number_of_allocations is not None:
        rendered.max_number_of_allocations = settings.max_number_of_allocations
    return rendered


def format_size(size_bytes: int) -> str:
    """A size as Elasticsearch prints it: at most one decimal, truncated and not rounded.

    >>> format_size(91_000_321)
    '86.7mb'
    >>> format_size(0)
    '0b'
    """
    for exponent, unit in ((5, "pb"), (4, "tb"), (3, "gb"), (2, "mb"), (1, "kb")):
        if size_bytes >= 1024**exponent:
            tenths = size_bytes * 10 // 1024**exponent
            return f"{tenths // 10}.{tenths % 10}{unit}".replace(".0", "")
    return f"{size_bytes}b"


def iso_time(at: float) -> str:
    """Unix seconds as UTC with milliseconds."""
    moment = datetime.fromtimestamp(_millis(at) / 1000, tz=UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _add_readable_values(entry: dict[str, Any]) -> None:
    """Add the readable sizes and times of `?human`."""
    size = entry.get("model_size_stats", {})
    for name in [name for name in size if name.endswith("_bytes")]:
        size[name.removesuffix("_bytes")] = format_size(size[name])
    timed = entry.get("deployment_stats", {})
    for part in (timed, *timed.get("nodes", ())):
        for name in ("start_time", "last_access"):
            if name in part:
                part[f"{name}_string"] = iso_time(part[name] / 1000)


def _millis(at: float) -> int:
    return round(at * 1000)


def _pipelines_of(cluster: SimulatedCluster, deployment: SimulatedDeployment) -> int:
    """The number of ingest pipelines that name the deployment or its model."""
    names = {deployment.deployment_id, deployment.model_id}
    return sum(used in names for used in cluster.pipelines.values())
