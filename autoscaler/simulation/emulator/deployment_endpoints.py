"""`deployment/_start`, `_update` and `_stop`."""

from collections.abc import Mapping, Sequence
from typing import TypeVar

from msgspec import UNSET, Struct, UnsetType
from msgspec.structs import asdict

from autoscaler.simulation.cluster import AdaptivePatch, AdaptiveSettings, SimulatedDeployment
from autoscaler.simulation.emulator.bodies import parse_body
from autoscaler.simulation.emulator.calls import ApiEndpoint, Call
from autoscaler.simulation.emulator.emulation import Emulation
from autoscaler.simulation.emulator.parameters import (
    illegal_argument,
    parse_bytes,
    parse_duration_s,
)
from autoscaler.simulation.emulator.rendering import assignment_response
from autoscaler.simulation.errors import (
    SimulatedApiError,
    deployment_timeout,
    invalid_request,
)
from autoscaler.simulation.validation import StartParameters, check_start, check_update
from autoscaler.wire.deployments import (
    AdaptivePatchDocument,
    AssignmentResponse,
    StartRequest,
    StopRequest,
    StopResponse,
    UpdateRequest,
)

_LEVELS = ("starting", "started", "fully_allocated")
_PRIORITIES = ("normal", "low")


class StartRequested(Struct, frozen=True, kw_only=True):
    """A `_start`: its parameters, and what to wait for."""

    parameters: StartParameters
    cache_bytes: int | None
    wait_for: str
    timeout_s: float


def requested_start(emulation: Emulation, call: Call) -> StartRequested:
    """What a call of `_start` is for.

    Raises:
        SimulatedApiError: 400: it is invalid in itself.
    """
    behaviour, query = emulation.cluster.behaviour, call.query
    body = parse_body(call.body, StartRequest, parser="start_trained_model_deployment_request")
    in_query = query.get("deployment_id")
    _require_known(
        emulation,
        {
            "adaptive_allocations": body.adaptive_allocations,
            "deployment_id": in_query or body.deployment_id,
        },
    )
    _require_same_id(call.ids["id"], body.model_id)
    wait_for = _one_of("wait_for", query.get("wait_for") or body.wait_for, _LEVELS, "started")
    timeout_s = _timeout_s(call, body.timeout, default_s=behaviour.start_timeout_s)
    threads = _integer(
        call,
        {
            "threads_per_allocation": body.threads_per_allocation,
            "inference_threads": body.inference_threads,
        },
    )
    cache_size = query.get("cache_size") or body.cache_size
    parameters = StartParameters(
        deployment_id=in_query or _given(body.deployment_id),
        number_of_allocations=_integer(
            call,
            {
                "number_of_allocations": body.number_of_allocations,
                "model_threads": body.model_threads,
            },
        ),
        threads_per_allocation=1 if threads is None else threads,
        queue_capacity=_integer(call, {"queue_capacity": body.queue_capacity}),
        priority=_one_of("priority", query.get("priority") or body.priority, _PRIORITIES, "normal"),
        adaptive=_adaptive_settings(body.adaptive_allocations),
    )
    if not behaviour.serverless:  # which has its own number and settings
        check_start(parameters, behaviour)
    return StartRequested(
        parameters=parameters,
        cache_bytes=parse_bytes("cache_size", cache_size) if cache_size else None,
        wait_for=wait_for,
        timeout_s=timeout_s,
    )


async def start(emulation: Emulation, call: Call) -> AssignmentResponse:
    """Start a deployment and wait for it. After a time-out, it continues to start."""
    requested = requested_start(emulation, call)
    emulation.require_licence()
    deployment = emulation.cluster.start_deployment(
        call.ids["id"], cache_bytes=requested.cache_bytes, **asdict(requested.parameters)
    )
    await _wait_for(emulation, deployment, requested.wait_for, requested.timeout_s)
    return assignment_response(emulation.cluster, deployment)


async def _wait_for(
    emulation: Emulation, deployment: SimulatedDeployment, level: str, timeout_s: float
) -> None:
    """Wait until a deployment has reached a state, or no node loads it that could change this.

    One failed route is enough to delete the deployment. In versions with the 409, the others are
    waited for before.
    """
    cluster, id_ = emulation.cluster, deployment.deployment_id
    patient = cluster.behaviour.failed_start_is_a_conflict

    def failed() -> bool:
        has_failed = any(route.state == "failed" for route in deployment.routes.values())
        return has_failed and not (patient and deployment.loading)

    def decided() -> bool:
        return (
            cluster.deployments.get(id_) is not deployment
            or failed()
            or _LEVELS.index(deployment.allocation_state()) >= _LEVELS.index(level)
            or not deployment.loading
        )

    if not await emulation.until(decided, timeout_s=timeout_s):
        raise deployment_timeout(id_, timeout_s)
    if cluster.deployments.get(id_) is not deployment:
        raise SimulatedApiError(
            400,
            "status_exception",
            f"Error waiting for the model deployment [{id_}]: it was removed while starting",
        )
    if failed():
        reasons = ", ".join(
            f"{node}: {route.reason}"
            for node, route in deployment.routes.items()
            if route.state == "failed"
        )
        cluster.stop_deployment(id_, force=True)
        raise SimulatedApiError(
            409 if cluster.behaviour.failed_start_is_a_conflict else 500,
            "status_exception",
            f"Could not start trained model deployment [{id_}], the following nodes failed with "
            f"errors [{reasons}]",
        )


Change = tuple[int | None, AdaptivePatch | UnsetType | None]
"""A number of allocations, and a change of the settings of adaptive allocations."""


def requested_update(emulation: Emulation, call: Call) -> Change:
    """The change that a call of `_update` is for.

    Raises:
        SimulatedApiError: 400: it is invalid in itself.
    """
    allocations = call.query.integer("number_of_allocations")
    adaptive: AdaptivePatch | UnsetType | None = UNSET
    if "number_of_allocations" in call.query:
        if not emulation.cluster.behaviour.update_query_parameter:
            raise illegal_argument(
                f"request [{call.path}] contains unrecognized parameter: [number_of_allocations]"
            )
    elif not call.body:
        raise SimulatedApiError(400, "parse_exception", "request body is required")
    else:  # with the parameter, the body is ignored
        body = parse_body(
            call.body, UpdateRequest, parser="update_trained_model_deployment_request"
        )
        _require_known(emulation, {"adaptive_allocations": body.adaptive_allocations})
        _require_same_id(call.ids["id"], body.model_id)
        if body.timeout:
            parse_duration_s("timeout", body.timeout)
        allocations = _first_given(body.number_of_allocations, body.model_threads)
        if allocations is None and not emulation.cluster.behaviour.update_may_be_empty:
            allocations = 0  # which is refused
        adaptive = _adaptive_patch(body.adaptive_allocations)
    check_update(allocations, adaptive if isinstance(adaptive, AdaptivePatch) else None)
    return allocations, adaptive


async def update(emulation: Emulation, call: Call) -> AssignmentResponse:
    allocations, adaptive = requested_update(emulation, call)
    emulation.require_licence()
    deployment = emulation.cluster.update_deployment(
        call.ids["id"], number_of_allocations=allocations, adaptive=adaptive
    )
    return assignment_response(emulation.cluster, deployment)


def requested_stop(_: Emulation, call: Call) -> StopRequest:
    """The body of a call of `_stop`; with one, the server does not read the query.

    Raises:
        SimulatedApiError: 400: it is invalid in itself.
    """
    body = parse_body(call.body, StopRequest, parser="stop_trained_model_deployment_request")
    _require_same_id(call.ids["id"], body.id)
    if call.body:
        call.query.require_known(call.path, frozenset())
    return body


async def stop(emulation: Emulation, call: Call) -> StopResponse:
    body = requested_stop(emulation, call)
    emulation.cluster.stop_deployment(
        call.ids["id"],
        force=call.query.boolean("force", _given(body.force) or False),
        allow_no_match=call.query.boolean("allow_no_match", body.allow_no_match is not False),
    )
    return StopResponse(stopped=True)


Value = TypeVar("Value")


def _given(value: Value | UnsetType) -> Value | None:
    return None if isinstance(value, UnsetType) else value


def _first_given(*values: int | UnsetType) -> int | None:
    """The value of a field, or that of its deprecated name."""
    return next((value for value in values if not isinstance(value, UnsetType)), None)


def _integer(call: Call, fields: Mapping[str, int | UnsetType]) -> int | None:
    """The value in the query, or in the body, of a field or its deprecated name."""
    in_query = (call.query.integer(name) for name in fields)
    return next((n for n in in_query if n is not None), _first_given(*fields.values()))


def _one_of(name: str, value: str | UnsetType, allowed: Sequence[str], default: str) -> str:
    if not value:
        return default
    if value.lower() not in allowed:
        raise illegal_argument(
            f"[{name}] must be one of [{', '.join(allowed)}], but [{value}] was given"
        )
    return value.lower()


def _timeout_s(call: Call, in_body: str | UnsetType, *, default_s: float) -> float:
    timeout_s = call.query.duration_s("timeout")
    if timeout_s is None:
        timeout_s = parse_duration_s("timeout", in_body) if in_body else default_s
    if timeout_s <= 0.0:
        raise invalid_request("[timeout] must be positive")
    return timeout_s


def _require_same_id(in_path: str, in_body: str | UnsetType) -> None:
    if in_body and in_body != in_path:
        raise SimulatedApiError(
            400,
            "status_exception",
            f"Inconsistent id; [{in_body}] specified in the body differs from [{in_path}] "
            "specified as a URL argument",
        )


def _require_known(emulation: Emulation, fields: Mapping[str, object]) -> None:
    """Refuse fields of the body that the emulated version does not have."""
    behaviour = emulation.cluster.behaviour
    known = {
        "adaptive_allocations": behaviour.adaptive_allocations,
        "deployment_id": behaviour.deployment_id,
    }
    for name, value in fields.items():
        if value is not UNSET and not known[name]:
            raise SimulatedApiError(
                400, "x_content_parse_exception", f"[1:2] unknown field [{name}]"
            )


def _adaptive_patch(
    document: AdaptivePatchDocument | UnsetType | None,
) -> AdaptivePatch | UnsetType | None:
    if document is None or isinstance(document, UnsetType):
        return document
    return AdaptivePatch(
        enabled=document.enabled,
        min_number_of_allocations=document.min_number_of_allocations,
        max_number_of_allocations=document.max_number_of_allocations,
    )


def _adaptive_settings(
    document: AdaptivePatchDocument | UnsetType | None,
) -> AdaptiveSettings | None:
    patch = _adaptive_patch(document)
    return patch.applied_to(None) if isinstance(patch, AdaptivePatch) else None


_PATH = "/_ml/trained_models/{id}"
_ADMIN = "cluster:admin/xpack/ml/trained_models/deployment"
_START_PARAMETERS = frozenset(
    {
        "cache_size",
        "deployment_id",
        "inference_threads",
        "model_threads",
        "number_of_allocations",
        "priority",
        "queue_capacity",
        "threads_per_allocation",
        "timeout",
        "wait_for",
    }
)

ENDPOINTS = (
    ApiEndpoint(
        method="POST",
        path=f"{_PATH}/deployment/_start",
        handler=start,
        validate=requested_start,
        action=f"{_ADMIN}/start",
        parameters=_START_PARAMETERS,
        needs_master=True,
    ),
    ApiEndpoint(
        method="POST",
        path=f"{_PATH}/deployment/_update",
        handler=update,
        validate=requested_update,
        action=f"{_ADMIN}/update",
        parameters=frozenset({"number_of_allocations", "timeout", "master_timeout"}),
        needs_master=True,
    ),
    ApiEndpoint(
        method="POST",
        path=f"{_PATH}/deployment/_stop",
        handler=stop,
        validate=requested_stop,
        action=f"{_ADMIN}/stop",
        parameters=frozenset({"allow_no_match", "force"}),
        needs_master=True,
    ),
)
