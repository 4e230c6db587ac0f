"""`_nodes` and `_ml/memory`: the nodes and their memory."""

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from autoscaler.simulation.cluster import MemoryReservation, NodeSpec
from autoscaler.simulation.emulator.calls import ApiEndpoint, Call
from autoscaler.simulation.emulator.emulation import Emulation
from autoscaler.simulation.emulator.rendering import format_size
from autoscaler.simulation.memory import JVM_HEAP_BYTES
from autoscaler.wire.cluster import (
    JvmMemory,
    MemoryOfNode,
    MemoryResponse,
    MlMemory,
    NodeInfo,
    NodeMemoryDocument,
    NodesHeader,
)

BUILD_HASH = "0" * 40
_TRANSPORT_ADDRESS = "127.0.0.1:9300"
_TRANSPORT_VERSION = 8_841_000
_INDEX_VERSION = 8_525_000

COORDINATOR = NodeSpec(node_id="coordinating-node", name="es-0", processors=2)
"""The node that responds. It has no machine learning, so that clients must filter the nodes."""

_NO_MEMORY = MemoryReservation(
    ml_max_bytes=0, native_code_overhead_bytes=0, native_inference_bytes=0
)


async def get_nodes(emulation: Emulation, call: Call) -> object:
    nodes = _nodes_matching(emulation, call.ids.get("filter", "_all"))
    return {
        "_nodes": NodesHeader(total=len(nodes), successful=len(nodes)),
        "cluster_name": emulation.name,
        "nodes": {node.node_id: _node_info(emulation, node) for node in nodes},
    }


class _NodeInfo(NodeInfo, kw_only=True):
    """The fields that the daemon does not read, too."""

    transport_address: str = _TRANSPORT_ADDRESS
    host: str = "127.0.0.1"
    ip: str = "127.0.0.1"
    build_flavor: str = "default"
    build_type: str = "docker"
    build_hash: str = BUILD_HASH
    transport_version: int | UnsetType = UNSET
    index_version: int | UnsetType = UNSET
    component_versions: Mapping[str, int] | UnsetType = UNSET


def _node_info(emulation: Emulation, node: NodeSpec) -> NodeInfo:
    info = _NodeInfo(
        name=node.name,
        version=emulation.version_of(node.node_id),
        roles=_roles(node),
        attributes=_attributes(emulation, node),
    )
    if emulation.cluster.behaviour.transport_version_of_nodes:
        info.transport_version = _TRANSPORT_VERSION
    if emulation.cluster.behaviour.index_version_of_nodes:
        info.index_version = _INDEX_VERSION
        info.component_versions = {"ml_config_version": 12_000_099}
    return info


async def get_memory(emulation: Emulation, call: Call) -> object:
    nodes = _nodes_matching(emulation, call.ids.get("filter", "_all"))
    response = MemoryResponse(
        header=NodesHeader(total=len(nodes), successful=len(nodes)),
        cluster_name=emulation.name,
        nodes={node.node_id: _memory_of(emulation, node) for node in nodes},
    )
    if not call.human:
        return response
    document = msgspec.to_builtins(response)
    _add_readable_sizes(document)
    return document


def _memory_of(emulation: Emulation, node: NodeSpec) -> MemoryOfNode:
    is_ml = node is not COORDINATOR
    memory = emulation.cluster.memory_of(node.node_id) if is_ml else _NO_MEMORY
    ml = MlMemory(
        max_in_bytes=memory.ml_max_bytes,
        native_code_overhead_in_bytes=memory.native_code_overhead_bytes,
        anomaly_detectors_in_bytes=0,
        data_frame_analytics_in_bytes=0,
        native_inference_in_bytes=memory.native_inference_bytes,
    )
    return MemoryOfNode(
        name=node.name,
        transport_address=_TRANSPORT_ADDRESS,
        attributes=_attributes(emulation, node),
        roles=_roles(node),
        ephemeral_id=f"{node.node_id}-e",
        mem=NodeMemoryDocument(
            total_in_bytes=node.memory_bytes, adjusted_total_in_bytes=node.memory_bytes, ml=ml
        ),
        jvm=JvmMemory(
            heap_max_in_bytes=JVM_HEAP_BYTES,
            java_inference_max_in_bytes=JVM_HEAP_BYTES * 2 // 5 if is_ml else 0,
        ),
    )


def _nodes_matching(emulation: Emulation, node_filter: str) -> list[NodeSpec]:
    """The nodes for a filter of ids, names, wildcards and `role:true`, separated by commas."""
    nodes = [COORDINATOR, *emulation.cluster.nodes.values()]
    tokens = node_filter.split(",")
    return [node for node in nodes if any(_is_match(node, token) for token in tokens)]


def _is_match(node: NodeSpec, token: str) -> bool:
    name, colon, value = token.partition(":")
    if colon:
        return (name in _roles(node)) == (value == "true")
    return token == "_all" or fnmatchcase(node.node_id, token) or fnmatchcase(node.name, token)  # noqa: S105


def _roles(node: NodeSpec) -> list[str]:
    return ["data", "ingest", "master"] if node is COORDINATOR else ["ml", "remote_cluster_client"]


def _attributes(emulation: Emulation, node: NodeSpec) -> dict[str, str]:
    if node is COORDINATOR:
        return {"xpack.installed": "true"}
    return {
        "ml.allocated_processors": str(node.processors),
        "ml.allocated_processors_double": str(float(node.processors)),
        "ml.config_version": "12.0.0",
        "ml.machine_memory": str(node.memory_bytes),
        "ml.max_jvm_size": str(JVM_HEAP_BYTES),
        "xpack.installed": "true",
    } | ({"availability_zone": node.zone} if node.zone else {})


def _add_readable_sizes(document: dict[str, Any]) -> None:
    """Add the readable sizes of `?human`."""
    for name, value in list(document.items()):
        if isinstance(value, dict):
            _add_readable_sizes(value)
        elif name.endswith("_in_bytes"):
            document[name.removesuffix("_in_bytes")] = format_size(value)


_NODES = "cluster:monitor/nodes/info"
_MEMORY = "cluster:monitor/xpack/ml/memory/stats/get"

# Other APIs, none of which is emulated, begin with the same paths.
_FILTER = "{filter:(?!(?:hot_threads|stats|usage)(?:/|$))[^/]+}"
_METRIC = "{metric:(?!(?:_repositories_metering|hot_threads|stats|usage)$)[^/]+}"

ENDPOINTS = (
    ApiEndpoint(method="GET", path="/_nodes", handler=get_nodes, action=_NODES),
    ApiEndpoint(method="GET", path=f"/_nodes/{_FILTER}", handler=get_nodes, action=_NODES),
    ApiEndpoint(
        method="GET", path=f"/_nodes/{_FILTER}/{_METRIC}", handler=get_nodes, action=_NODES
    ),
    ApiEndpoint(method="GET", path="/_ml/memory/_stats", handler=get_memory, action=_MEMORY),
    ApiEndpoint(
        method="GET", path="/_ml/memory/{filter}/_stats", handler=get_memory, action=_MEMORY
    ),
)
