"""Joins three partial descriptions of the nodes into one, by node id."""

import math

from msgspec import UNSET
from msgspec.structs import replace

from autoscaler.core.values import Cluster, NodeCapacity
from autoscaler.wire.cluster import (
    MemoryOfNode,
    MemoryResponse,
    MlInfoResponse,
    NodeInfo,
    NodesResponse,
)

MAX_PROCESSORS = 1e6
"""Processors of a node above which the figure is damaged."""


def cluster_of(
    nodes: NodesResponse | None, memory: MemoryResponse | None, ml_info: MlInfoResponse | None
) -> Cluster | None:
    """The machine learning nodes as far as they are known; None if nothing is known.

    Any of the three may be missing, because they need different privileges. Upgrade mode is left to
    `with_upgrade_mode`.
    """
    if nodes is None and memory is None:
        return None
    described = nodes.nodes if nodes is not None else {}
    measured = memory.nodes if memory is not None else {}
    capacities = tuple(
        _capacity(node_id, described.get(node_id), measured.get(node_id))
        for node_id in sorted({*described, *measured})
        if _runs_models(described.get(node_id), measured.get(node_id))
    )
    return Cluster(nodes=capacities, upgrade_mode=None, growable=_growable(capacities, ml_info))


def with_upgrade_mode(
    cluster: Cluster | None, ml_info: MlInfoResponse | None, before: Cluster | None
) -> Cluster | None:
    """The cluster with upgrade mode, which is known even if no node could be read.

    A response without it is damaged, because each version has it; nothing may be changed then.
    Without a response, upgrade mode remains, and damage for as long as the nodes are kept.
    Otherwise it is unknown, and changes are possible, because the request may lack a privilege, and
    serverless does not have it.

    Args:
        cluster: as read now.
        before: as known until now.
    """
    mode: bool | None = None
    odd = False
    if ml_info is not None:
        mode, odd = ml_info.upgrade_mode, ml_info.upgrade_mode is None
    elif before is not None:
        mode, odd = before.upgrade_mode, before.upgrade_mode_odd
        if cluster is not before:
            mode, odd = mode or None, False
    if cluster is None and not (mode or odd):
        return None
    return replace(cluster or Cluster(nodes=()), upgrade_mode=mode, upgrade_mode_odd=odd)


def _growable(nodes: tuple[NodeCapacity, ...], ml_info: MlInfoResponse | None) -> bool | None:
    """Whether nodes are added under load; None if that is unknown.

    `total_ml_processors` is reported only where the reachable processors are certain, which they
    are not while nodes may become larger. It includes nodes that may be added. A value below the
    present processors means that nodes are being removed; the result is then None.

    Source: elastic/elasticsearch, ml/action/TransportMlInfoAction.java.
    """
    reachable = ml_info.limits.total_ml_processors if ml_info is not None else UNSET
    if reachable is UNSET:
        return None
    present = math.floor(sum(node.processors or 0.0 for node in nodes))
    return None if reachable < present else reachable > present


def _runs_models(described: NodeInfo | None, measured: MemoryOfNode | None) -> bool:
    return any(node is not None and "ml" in node.roles for node in (described, measured))


def _capacity(
    node_id: str, described: NodeInfo | None, measured: MemoryOfNode | None
) -> NodeCapacity:
    attributes = {
        **(measured.attributes if measured else {}),
        **(described.attributes if described else {}),
    }
    # 0 until the node has reported the size of its share, which is unknown until then.
    ml = measured.mem.ml if measured and measured.mem.ml.max_in_bytes > 0 else None
    machine_bytes = _size(attributes, "ml.machine_memory")
    if machine_bytes is None and measured is not None:
        machine_bytes = _plausible(measured.mem.total_in_bytes)
    return NodeCapacity(
        node_id=node_id,
        name=(described.name if described else "") or (measured.name if measured else ""),
        version=described.version if described else "",
        processors=_processors(attributes),
        ml_memory_bytes=ml.max_in_bytes if ml else None,
        free_ml_memory_bytes=ml.free_bytes if ml else None,
        job_memory_bytes=ml.job_bytes if ml else None,
        machine_memory_bytes=machine_bytes,
        max_ml_memory_bytes=_max_ml_memory(machine_bytes, _size(attributes, "ml.max_jvm_size")),
    )


_MIN_MACHINE_BYTES, _MAX_MACHINE_BYTES = 2**28, 2**50
"""Plausible bounds of the memory of a machine. Any other size is damaged or in another unit."""

_SYSTEM_BYTES = 200 * 2**20  # that Elasticsearch reserves for the operating system

_MAX_ML_FRACTION = 0.9
"""The fraction of a machine that machine learning gets at most.

Source: elastic/elasticsearch, ml/utils/NativeMemoryCalculator.java.
"""


def _max_ml_memory(machine_bytes: int | None, heap_bytes: int | None) -> int | None:
    """Maximum bytes for machine learning under any settings; None: unknown."""
    if machine_bytes is None:
        return None
    left = machine_bytes - (heap_bytes or 0) - _SYSTEM_BYTES
    return min(left, round(_MAX_ML_FRACTION * machine_bytes)) if left > 0 else None


def _size(attributes: dict[str, str], name: str) -> int | None:
    try:
        return _plausible(int(attributes[name]))
    except (KeyError, ValueError):
        return None


def _plausible(size_bytes: int) -> int | None:
    return size_bytes if _MIN_MACHINE_BYTES <= size_bytes <= _MAX_MACHINE_BYTES else None


def _processors(attributes: dict[str, str]) -> float | None:
    """Processors that allocations may use; the fractional attribute exists since 8.5."""
    for name in ("ml.allocated_processors_double", "ml.allocated_processors"):
        try:
            processors = float(attributes[name])
        except (KeyError, ValueError):
            continue
        if 0.0 < processors <= MAX_PROCESSORS:  # also excludes nan
            return processors
    return None
