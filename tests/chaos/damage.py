"""Damaged statistics: parts that are missing, and figures that no cluster sends."""

import random
from typing import Any

import msgspec

_ODD: tuple[Any, ...] = (None, -1, -(2**40), 2**63, 1e300, "12", "", [], {}, True, [3], {"a": 1})


def damaged(body: bytes, rng: random.Random) -> tuple[bytes, frozenset[str]]:
    """The statistics with some damage, and the ids of the deployments that it concerns."""
    document: dict[str, Any] = msgspec.json.decode(body)
    entries = [
        entry for entry in document.get("trained_model_stats", ()) if "deployment_stats" in entry
    ]
    if not entries:
        return body, frozenset()
    entry = rng.choice(entries)
    statistics = entry["deployment_stats"]
    tainted = frozenset({statistics.get("deployment_id") or statistics["model_id"]})
    nodes = statistics.get("nodes") or []
    match rng.choice(("figure", "figure", "figure", "entry", "node", "backwards", "empty")):
        case "figure":
            if not _set_odd(rng.choice([statistics, *nodes, *nodes]), rng):
                tainted = frozenset()
        case "entry":
            document["trained_model_stats"].remove(entry)
        case "node" if nodes:
            nodes.remove(rng.choice(nodes))
        case "backwards" if nodes:
            node = rng.choice(nodes)
            for name in ("inference_count", "error_count", "timeout_count"):
                if name in node:
                    node[name] //= 2
        case "empty":
            statistics["nodes"] = []
        case _:
            return body, frozenset()
    damage = msgspec.json.encode(document)
    is_changed = damage != msgspec.json.encode(msgspec.json.decode(body))
    return damage, tainted if is_changed else frozenset()  # counts of 0 cannot go backwards


_NAMES = frozenset({"deployment_id", "model_id", "node", "nodes"})
_NEEDED = frozenset(
    {
        "inference_count",
        "number_of_pending_requests",
        "error_count",
        "rejected_execution_count",
        "timeout_count",
        "number_of_allocations",
        "routing_state",
        "allocation_status",
        "state",
    }
)
"""The figures without which a decrease is not safe."""

_SUMS = frozenset({"inference_count", "error_count", "rejected_execution_count", "timeout_count"})
"""The figures of a deployment that only add up those of its nodes."""


def _set_odd(part: dict[str, Any], rng: random.Random) -> bool:
    """Give one figure of a deployment or a node a value that it cannot have; whether a decrease is
    not safe without it."""
    name = rng.choice(sorted(part.keys() - _NAMES))
    part[name] = rng.choice(_ODD)
    return name in (_NEEDED - _SUMS if "nodes" in part else _NEEDED)
