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


_METRICS = frozenset(
    {
        "_all",
        "aggregations",
        "http",
        "indices",
        "ingest",
        "jvm",
        "os",
        "plugins",
        "process",
        "remote_cluster_server",
        "settings",
        "thread_pool",
        "transport",
    }
)
"""The names of sections. A path with nothing else after `_nodes` selects sections, not nodes."""

_MASTER_ROLES = frozenset({"data", "ingest", "master"})
_ML_ROLES = frozenset({"ml", "remote_cluster_client"})
_OTHER_ROLES = frozenset(
    {
        "data_cold",
        "data_content",
        "data_frozen",
        "data_hot",
        "data_warm",
        "index",
        "search",
        "transform",
        "voting_only",
    }
)
_ROLES = _MASTER_ROLES | _ML_ROLES | _OTHER_ROLES


async def get_nodes(emulation: Emulation, call: Call) -> object:
    call.query.boolean("flat_settings", False)
    chosen, metrics = call.ids.get("filter", "_all"), call.ids.get("metric", "_all")
    if "metric" not in call.ids and set(chosen.split(",")) <= _METRICS:
        chosen, metrics = "_all", chosen
    nodes = _nodes_matching(emulation, chosen)
    with_system = not {"_all", "os"}.isdisjoint(metrics.split(","))
    return {
        "_nodes": NodesHeader(total=len(nodes), successful=len(nodes)),
        "cluster_name": emulation.name,
        "nodes": {
            node.node_id: _node_info(emulation, node, with_system=with_system) for node in nodes
        },
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
    os: Mapping[str, object] | UnsetType = UNSET


def _node_info(emulation: Emulation, node: NodeSpec, *, with_system: bool) -> NodeInfo:
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
    if with_system:
        info.os = {
            "refresh_interval_in_millis": 1000,
            "name": "Linux",
            "pretty_name": "Linux",
            "arch": "amd64",
            "version": "6.1",
            "available_processors": node.processors,
            "allocated_processors": node.processors,
        }
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
    """The nodes for a filter of ids, names, wildcards, roles and attributes, between commas.

    Each part adds nodes, and `role:false` removes some of those that the parts before it added.
    Source: elastic/elasticsearch, DiscoveryNodes.java.
    """
    nodes = [COORDINATOR, *emulation.cluster.nodes.values()]
    chosen: set[str] = set()
    for token in node_filter.split(","):
        name, _, value = token.partition(":")
        matching = {node.node_id for node in nodes if _is_match(emulation, node, token)}
        if name in _ROLES and value == "false":
            chosen -= matching
        else:
            chosen |= matching
    return [node for node in nodes if node.node_id in chosen]


def _is_match(emulation: Emulation, node: NodeSpec, token: str) -> bool:
    if token in ("_local", "_master"):
        return node is COORDINATOR
    name, colon, value = token.partition(":")
    if colon and name in _ROLES:
        return name in _roles(node)
    if colon:
        return any(
            fnmatchcase(key, name) and fnmatchcase(text, value)
            for key, text in _attributes(emulation, node).items()
        )
    return token == "_all" or fnmatchcase(node.node_id, token) or fnmatchcase(node.name, token)  # noqa: S105


def _roles(node: NodeSpec) -> list[str]:
    return sorted(_MASTER_ROLES if node is COORDINATOR else _ML_ROLES)


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

_NODES_PARAMETERS = frozenset({"flat_settings", "timeout"})

ENDPOINTS = tuple(
    ApiEndpoint(
        method="GET",
        path=path,
        handler=get_nodes,
        action=_NODES,
        parameters=_NODES_PARAMETERS,
    )
    for path in ("/_nodes", f"/_nodes/{_FILTER}", f"/_nodes/{_FILTER}/{_METRIC}")
) + tuple(
    ApiEndpoint(
        method="GET",
        path=path,
        handler=get_memory,
        action=_MEMORY,
        parameters=frozenset({"master_timeout", "timeout"}),
        needs_master=True,
    )
    for path in ("/_ml/memory/_stats", "/_ml/memory/{filter}/_stats")
)
