"""The figures that a decision needs and that an entry of `_stats` lacks, or that are unreadable.

They are named in the reason for which a deployment is held. Figures that may be left out are not
among them: a count that is 0, a mean without requests, and all figures of a node that did not
respond.
"""

from collections.abc import Iterator

from autoscaler.core.values import STARTED, STOPPING, DeploymentStats
from autoscaler.wire.stats_document import DeploymentDocument, NodeDocument

ADAPTIVE = "adaptive_allocations"
NODE = "node"

_ROUTING_STATES = frozenset({"starting", STARTED, STOPPING, "stopped", "failed"})
_OTHER_FIGURES = (
    "inference_cache_hit_count",
    "number_of_pending_requests",
    "error_count",
    "rejected_execution_count",
    "timeout_count",
    "start_time",
    "number_of_allocations",
)
"""The figures of a node, besides the inferences, that a started route always has."""


def unknown_figures(document: DeploymentDocument, stats: DeploymentStats) -> tuple[str, ...]:
    """The names of the figures, in the order of the response.

    Args:
        stats: the values that were read from the document.
    """
    if (
        stats.state
        and stats.allocations is not None
        and stats.running_allocations is not None
        and stats.target_allocations is not None
        and document.nodes is not None
        and all(map(_is_complete, document.nodes))
        and not has_node_twice(stats)
    ):
        return ()  # the usual case
    names = list(_of_deployment(document, stats))
    for node in document.nodes or ():
        of_node = tuple(_of_node(node, names_nodes=not is_serverless(document)))
        where = next((each.name or id_ for id_, each in (node.node or {}).items()), "")
        names += [f"{name} of {f'node {where}' if where else 'a node'}" for name in of_node]
    return tuple(names)


_PRIORITIES = frozenset({"", "low", "normal"})
"""The priorities that a response has. Only a request may have them in capitals.

Source: elastic/elasticsearch, xpack/core/ml/inference/assignment/Priority.java.
"""


def is_priority_unknown(document: DeploymentDocument) -> bool:
    """Whether the priority is null, or one that Elasticsearch does not have."""
    return document.priority not in _PRIORITIES


def is_serverless(document: DeploymentDocument) -> bool:
    """Whether the entry has the form of serverless, which reports no state and names no nodes."""
    return document.state == "" and document.allocation_status is None


def is_settings_unknown(document: DeploymentDocument) -> bool:
    """Whether it is not known if adaptive allocations are enabled, or if more than one allocation
    is permitted, which low priority does not."""
    adaptive = document.adaptive_allocations
    return is_priority_unknown(document) or (adaptive is not None and adaptive.enabled is None)


def lacks_identity(node: NodeDocument) -> bool:
    """Whether it is unknown which node this is, or whether it serves the deployment."""
    return not node.node or node.routing_state.routing_state not in _ROUTING_STATES


def has_node_twice(stats: DeploymentStats) -> bool:
    """Whether two of its routes are on the same node, or on nodes without an id. Which totals are
    whose is unknown then."""
    return len({node.node_id for node in stats.nodes}) < len(stats.nodes)


def _is_complete(node: NodeDocument) -> bool:
    """Whether the node serves, and reports what is always reported then."""
    return (
        node.routing_state.routing_state == STARTED
        and bool(node.node)
        and node.start_time is not None
        and node.number_of_allocations is not None
        and node.inference_count is not None
        and node.number_of_pending_requests is not None
        and (node.average_inference_time_ms is not None or not node.inference_count)
        and node.inference_cache_hit_count is not None
        and None not in (node.error_count, node.rejected_execution_count, node.timeout_count)
    )


def _of_deployment(document: DeploymentDocument, stats: DeploymentStats) -> Iterator[str]:
    if is_priority_unknown(document):
        yield "priority"
    elif stats.allocations is None:
        yield "number_of_allocations" if document.number_of_allocations is None else ADAPTIVE
    if not stats.state:
        yield "state"
    status = document.allocation_status
    if status is None or (
        status.allocation_count is None and status.target_allocation_count is None
    ):
        if not is_serverless(document) and stats.state != STOPPING:
            yield "allocation_status"
    elif status.allocation_count is None:
        yield "allocation_count"
    elif status.target_allocation_count is None:
        yield "target_allocation_count"
    if document.nodes is None or has_node_twice(stats):
        yield "nodes"


def _of_node(node: NodeDocument, *, names_nodes: bool) -> Iterator[str]:
    """The unknown figures of a node that responded, if it serves the deployment or may do so."""
    state = node.routing_state.routing_state
    if (state != STARTED and state in _ROUTING_STATES) or not _responded(node):
        return
    if names_nodes and not node.node:
        yield NODE
    if state not in _ROUTING_STATES:
        yield "routing_state"
    if node.inference_count is None:
        yield "inference_count"
    elif node.inference_count and node.average_inference_time_ms is None:
        yield "average_inference_time_ms"
    for name in _OTHER_FIGURES:
        if getattr(node, name) is None:
            yield name


def _responded(node: NodeDocument) -> bool:
    figures = (
        node.start_time,
        node.number_of_allocations,
        node.inference_count,
        node.number_of_pending_requests,
    )
    return any(figure is not None for figure in figures)
