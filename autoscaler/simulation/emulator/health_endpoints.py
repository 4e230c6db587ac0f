"""`_cluster/health`, and what it can wait for.

The cluster is always green: only the number of nodes, and of active shards, can be waited for.

Source: elastic/elasticsearch, rest-api-spec cluster.health and TransportClusterHealthAction.java.
"""

import operator
import re
from collections.abc import Callable, Sequence

from autoscaler.simulation.emulator.calls import ApiEndpoint, Call, StatusDocument
from autoscaler.simulation.emulator.emulation import Emulation
from autoscaler.simulation.emulator.parameters import illegal_argument, parse_integer

_ACTIVE_SHARDS = 1
_TIMEOUT_S = 30.0
_COMPARISONS: dict[str, Callable[[int, int], bool]] = {
    "": operator.eq,
    ">=": operator.ge,
    "ge": operator.ge,
    "<=": operator.le,
    "le": operator.le,
    ">": operator.gt,
    "gt": operator.gt,
    "<": operator.lt,
    "lt": operator.lt,
}
_CHOICES = {
    "expand_wildcards": ("all", "closed", "hidden", "none", "open"),
    "level": ("cluster", "indices", "shards"),
    "wait_for_events": ("high", "immediate", "languid", "low", "normal", "urgent"),
    "wait_for_status": ("green", "red", "yellow"),
}
_SWITCHES = ("local", "wait_for_no_initializing_shards", "wait_for_no_relocating_shards")
_WAITS = ("wait_for_active_shards", "wait_for_nodes")


async def get_health(emulation: Emulation, call: Call) -> object:
    """The health; 408 if what was waited for did not happen in time."""
    for name, allowed in _CHOICES.items():
        _require_choices(call, name, allowed)
    for name in _SWITCHES:
        call.query.boolean(name, False)
    enough_nodes, enough_shards = _nodes_wanted(call), _shards_wanted(call)
    timeout_s = call.query.duration_s("timeout")
    healthy = await emulation.until(
        lambda: enough_shards and enough_nodes(_number_of_nodes(emulation)),
        timeout_s=_TIMEOUT_S if timeout_s is None else timeout_s,
    )
    document = _document(emulation, timed_out=not healthy)
    if call.query.text("level", "cluster").lower() != "cluster":
        document["indices"] = {}
    return StatusDocument(status=200 if healthy else 408, document=document)


def _number_of_nodes(emulation: Emulation) -> int:
    return len(emulation.cluster.nodes) + 1  # the one that responds


def _document(emulation: Emulation, *, timed_out: bool) -> dict[str, object]:
    unassigned = {"unassigned_shards": 0}
    if emulation.cluster.behaviour.unassigned_primary_shards:
        unassigned["unassigned_primary_shards"] = 0
    return {
        "cluster_name": emulation.name,
        "status": "green",
        "timed_out": timed_out,
        "number_of_nodes": _number_of_nodes(emulation),
        "number_of_data_nodes": 1,
        "active_primary_shards": _ACTIVE_SHARDS,
        "active_shards": _ACTIVE_SHARDS,
        "relocating_shards": 0,
        "initializing_shards": 0,
        **unassigned,
        "delayed_unassigned_shards": 0,
        "number_of_pending_tasks": 0,
        "number_of_in_flight_fetch": 0,
        "task_max_waiting_in_queue_millis": 0,
        "active_shards_percent_as_number": 100.0,
    }


def _require_choices(call: Call, name: str, allowed: Sequence[str]) -> None:
    for value in call.query.text(name, "").lower().split(","):
        if value and value not in allowed:
            raise illegal_argument(f"unknown value [{value}] of [{name}]: use one of {allowed}")


def _nodes_wanted(call: Call) -> Callable[[int], bool]:
    """The condition of `wait_for_nodes`, such as `3`, `>=3` or `ge(3)`."""
    text = call.query.get("wait_for_nodes")
    if text is None:
        return lambda _: True
    found = re.fullmatch(r"(>=|<=|>|<|)(\d{1,9})|(ge|le|gt|lt)\((\d{1,9})\)", text.strip())
    if found is None:
        raise illegal_argument(f"Failed to parse [wait_for_nodes] with value [{text}]")
    compare = _COMPARISONS[found[1] or found[3] or ""]
    wanted = int(found[2] or found[4])
    return lambda nodes: compare(nodes, wanted)


def _shards_wanted(call: Call) -> bool:
    """Whether as many shards are active as `wait_for_active_shards` requires."""
    text = call.query.text("wait_for_active_shards", "0")
    if text == "all":
        return True
    wanted = parse_integer("wait_for_active_shards", text)
    if wanted < 0:
        raise illegal_argument(f"cannot parse ActiveShardCount[{text}]")
    return wanted <= _ACTIVE_SHARDS


ENDPOINTS = (
    ApiEndpoint(
        method="GET",
        path="/_cluster/health",
        handler=get_health,
        action="cluster:monitor/health",
        parameters=frozenset({*_CHOICES, *_SWITCHES, *_WAITS, "timeout", "master_timeout"}),
        needs_master=True,
    ),
)
