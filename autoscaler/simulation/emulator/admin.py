"""`/_emulator/*`: control of the emulator, beyond the API of a cluster.

GET    state                            the whole state, with the ledger of each deployment
GET    faults                           the active faults; POST adds one, DELETE removes all
POST   nodes                            adds a node
DELETE nodes/{node}                     removes it
POST   nodes/{node}/swallow?calls=3     omits its statistics from the next responses
POST   nodes/{node}/version?number=9.2  sets the version of this node; without number: resets it
POST   deployments/{id}/crash?node=ml-1 ends its process on the node
POST   deployments/{id}/drift           its count of pending requests drifts from now on
POST   deployments/{id}/adaptive        settings of adaptive allocations, as in `_update`
POST   deployments/{id}/load            starts a load, replacing any other; DELETE ends it
DELETE deployments/{id}                 stops the deployment by force
POST   conditions                       master, licence, upgrade mode, growing hardware

`admin_inference` has those for inference endpoints.
"""

import math
from typing import Any, cast

import msgspec
from msgspec import UNSET, Struct, UnsetType

from autoscaler.simulation.cluster import AdaptivePatch, NodeSpec, SimulatedDeployment
from autoscaler.simulation.emulator.bodies import parse_body
from autoscaler.simulation.emulator.calls import ApiEndpoint, Call, Handler
from autoscaler.simulation.emulator.emulation import Emulation
from autoscaler.simulation.emulator.faults import Fault
from autoscaler.simulation.emulator.parameters import illegal_argument
from autoscaler.simulation.errors import no_such_deployment
from autoscaler.simulation.loads import Load
from autoscaler.simulation.version_facts import release_of
from autoscaler.wire.deployments import AdaptivePatchDocument

_DONE = {"acknowledged": True}


async def get_state(emulation: Emulation, call: Call) -> object:
    cluster = emulation.cluster
    return {
        "now": cluster.now,
        "version": cluster.behaviour.number,
        "conditions": {
            "master": emulation.has_master,
            "licence_expired": emulation.licence_expired,
            "upgrade_mode": cluster.upgrade_mode,
            "can_grow": cluster.can_grow,
            "writes_blocked": emulation.writes_blocked,
            "mixed_versions": cluster.mixed_versions,
        },
        "faults": _faults(emulation),
        "nodes": {id_: msgspec.to_builtins(node) for id_, node in cluster.nodes.items()},
        "models": sorted(cluster.models),
        "deployments": {
            id_: _deployment(deployment, cluster.now)
            for id_, deployment in cluster.deployments.items()
        },
        "endpoints": {
            id_: msgspec.to_builtins(endpoint) for id_, endpoint in emulation.endpoints.items()
        },
        "out_of_memory": msgspec.to_builtins(cluster.resident_memory.out_of_memory),
        "loads": {id_: msgspec.to_builtins(load) for id_, load in emulation.loads.items()},
    }


def _deployment(deployment: SimulatedDeployment, now: float) -> dict[str, Any]:
    ledger = deployment.ledger
    routes = {}
    for node_id, route in deployment.routes.items():
        counters = route.counters(now)
        routes[node_id] = {
            "state": route.state,
            "reason": route.reason,
            "current_allocations": route.current_allocations,
            "target_allocations": route.target_allocations,
            "counters": None if counters is None else msgspec.to_builtins(counters),
        }
    return {
        "model_id": deployment.model_id,
        "state": deployment.state,
        "requested_allocations": deployment.requested,
        "running_allocations": deployment.running,
        "routes": routes,
        "ledger": {
            "requests": ledger.requests,
            "completed": ledger.completed,
            "rejected": ledger.rejected,
            "timed_out": ledger.timed_out,
            "failed": ledger.failed,
            "requested_allocation_s": ledger.requested_allocation_s,
            "running_allocation_s": ledger.running_allocation_s,
            "changes": ledger.changes,
        },
    }


async def get_faults(emulation: Emulation, call: Call) -> object:
    return _faults(emulation)


def _faults(emulation: Emulation) -> dict[str, Any]:
    return {
        "requests": [msgspec.to_builtins(fault) for fault in emulation.faults.active],
        "swallowed_nodes": dict(emulation.faults.swallowed),
    }


async def add_fault(emulation: Emulation, call: Call) -> object:
    emulation.faults.add(parse_body(call.body, Fault, parser="fault"))
    return _DONE


async def clear_faults(emulation: Emulation, call: Call) -> object:
    emulation.faults.clear()
    return _DONE


async def add_node(emulation: Emulation, call: Call) -> object:
    node = parse_body(call.body, NodeSpec, parser="node")
    if node.node_id in emulation.cluster.nodes:
        raise illegal_argument(f"node [{node.node_id}] already exists; use another node_id")
    emulation.cluster.add_node(node)
    return _DONE


async def remove_node(emulation: Emulation, call: Call) -> object:
    emulation.cluster.remove_node(_node_id(emulation, call.ids["node"]))
    return _DONE


async def swallow(emulation: Emulation, call: Call) -> object:
    node_id = _node_id(emulation, call.ids["node"])
    calls = call.query.integer("calls")
    if calls is not None and calls < 1:
        raise illegal_argument(f"[calls] must be at least 1, not [{calls}]")
    emulation.faults.swallow(node_id, calls)
    return _DONE


async def set_version(emulation: Emulation, call: Call) -> object:
    node_id = _node_id(emulation, call.ids["node"])
    number = call.query.get("number")
    try:
        emulation.set_version(node_id, None if number is None else str(release_of(number)))
    except ValueError as error:
        raise illegal_argument(f"[number] {error}") from error
    return _DONE


async def crash(emulation: Emulation, call: Call) -> object:
    deployment = _found(emulation, call)
    emulation.cluster.crash_process(deployment.deployment_id, _process_node(deployment, call))
    return _DONE


async def drift(emulation: Emulation, call: Call) -> object:
    deployment = _found(emulation, call)
    given = call.query.get("pending_per_request") or ""
    try:
        per_request = float(given)
    except ValueError:
        per_request = math.nan
    if not math.isfinite(per_request):
        raise illegal_argument(f"[pending_per_request] must be a number, not [{given}]")
    emulation.cluster.let_pending_drift(
        deployment.deployment_id, _process_node(deployment, call), per_request
    )
    return _DONE


def _process_node(deployment: SimulatedDeployment, call: Call) -> str:
    node_id = call.query.get("node") or next(iter(deployment.routes), "")
    if node_id not in deployment.routes:
        raise illegal_argument(
            f"deployment [{deployment.deployment_id}] has no process on node [{node_id}]"
        )
    return node_id


async def set_adaptive(emulation: Emulation, call: Call) -> object:
    deployment = _found(emulation, call)
    body = parse_body(call.body, AdaptivePatchDocument, parser="adaptive_allocations")
    emulation.cluster.update_deployment(
        deployment.deployment_id,
        adaptive=AdaptivePatch(
            enabled=body.enabled,
            min_number_of_allocations=body.min_number_of_allocations,
            max_number_of_allocations=body.max_number_of_allocations,
        ),
        internal=True,
    )
    return _DONE


async def start_load(emulation: Emulation, call: Call) -> object:
    deployment = _found(emulation, call)
    # Type checkers do not accept a union as a class.
    load = parse_body(call.body, cast("type[Load]", Load), parser="load")
    try:
        emulation.start_load(deployment.deployment_id, load)
    except ValueError as error:
        raise illegal_argument(str(error)) from error
    return _DONE


async def stop_load(emulation: Emulation, call: Call) -> object:
    emulation.stop_load(call.ids["id"])
    return _DONE


async def delete_deployment(emulation: Emulation, call: Call) -> object:
    emulation.cluster.stop_deployment(_found(emulation, call).deployment_id, force=True)
    return _DONE


class ConditionsBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Conditions of a cluster. Unset ones are unchanged."""

    master: bool | UnsetType = UNSET
    licence_expired: bool | UnsetType = UNSET
    upgrade_mode: bool | UnsetType = UNSET
    can_grow: bool | UnsetType = UNSET
    writes_blocked: bool | UnsetType = UNSET


async def set_conditions(emulation: Emulation, call: Call) -> object:
    body = parse_body(call.body, ConditionsBody, parser="conditions")
    if body.master is not UNSET:
        emulation.has_master = body.master
    if body.licence_expired is not UNSET:
        emulation.licence_expired = body.licence_expired
    if body.upgrade_mode is not UNSET:
        emulation.cluster.upgrade_mode = body.upgrade_mode
    if body.can_grow is not UNSET:
        emulation.cluster.can_grow = body.can_grow
    if body.writes_blocked is not UNSET:
        emulation.writes_blocked = body.writes_blocked
    return _DONE


def _found(emulation: Emulation, call: Call) -> SimulatedDeployment:
    deployment = emulation.cluster.deployments.get(call.ids["id"])
    if deployment is None:
        raise no_such_deployment(call.ids["id"])
    return deployment


def _node_id(emulation: Emulation, id_or_name: str) -> str:
    for node in emulation.cluster.nodes.values():
        if id_or_name in (node.node_id, node.name):
            return node.node_id
    raise illegal_argument(f"there is no ML node [{id_or_name}]")


def _endpoint(method: str, path: str, handler: Handler, *parameters: str) -> ApiEndpoint:
    return ApiEndpoint(
        method=method,
        path=f"/_emulator/{path}",
        handler=handler,
        parameters=frozenset(parameters),
    )


ENDPOINTS = (
    _endpoint("GET", "state", get_state),
    _endpoint("GET", "faults", get_faults),
    _endpoint("POST", "faults", add_fault),
    _endpoint("DELETE", "faults", clear_faults),
    _endpoint("POST", "nodes", add_node),
    _endpoint("DELETE", "nodes/{node}", remove_node),
    _endpoint("POST", "nodes/{node}/swallow", swallow, "calls"),
    _endpoint("POST", "nodes/{node}/version", set_version, "number"),
    _endpoint("POST", "deployments/{id}/crash", crash, "node"),
    _endpoint("POST", "deployments/{id}/drift", drift, "node", "pending_per_request"),
    _endpoint("POST", "deployments/{id}/adaptive", set_adaptive),
    _endpoint("POST", "deployments/{id}/load", start_load),
    _endpoint("DELETE", "deployments/{id}/load", stop_load),
    _endpoint("DELETE", "deployments/{id}", delete_deployment),
    _endpoint("POST", "conditions", set_conditions),
)
