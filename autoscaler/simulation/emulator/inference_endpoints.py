"""`_inference`: endpoints, which may own deployments that only they may change."""

from typing import Any

from msgspec import UNSET, Struct, UnsetType

from autoscaler.simulation.emulator.bodies import parse_body
from autoscaler.simulation.emulator.calls import Call, Endpoint
from autoscaler.simulation.emulator.emulation import Emulation, InferenceEndpoint
from autoscaler.simulation.errors import ApiError, invalid_request
from autoscaler.wire.deployments import AdaptivePatch as AdaptivePatchDocument


class ServiceSettings(Struct, frozen=True, kw_only=True):
    """Other settings cannot be changed; they are accepted and ignored, as the server does."""

    num_allocations: int | UnsetType = UNSET
    adaptive_allocations: AdaptivePatchDocument | UnsetType | None = UNSET


class UpdateEndpointRequest(Struct, frozen=True, kw_only=True):
    service_settings: ServiceSettings = ServiceSettings()


async def get_all(emulation: Emulation, call: Call) -> object:
    endpoints = sorted(emulation.endpoints.values(), key=lambda endpoint: endpoint.inference_id)
    return {"endpoints": [_document(emulation, endpoint) for endpoint in endpoints]}


async def get_one(emulation: Emulation, call: Call) -> object:
    return {"endpoints": [_document(emulation, _found(emulation, call.ids["inference_id"]))]}


async def update(emulation: Emulation, call: Call) -> object:
    endpoint = _found(emulation, call.ids["inference_id"])
    settings = parse_body(
        call.body, UpdateEndpointRequest, parser="update_inference_model"
    ).service_settings
    if not isinstance(settings.num_allocations, UnsetType):
        _scale(emulation, endpoint, settings.num_allocations)
    return _document(emulation, endpoint)


def _scale(emulation: Emulation, endpoint: InferenceEndpoint, allocations: int) -> None:
    if allocations < 1:
        raise invalid_request("[num_allocations] must be a positive integer")
    deployment = emulation.cluster.deployments.get(endpoint.serves)
    if deployment is not None and deployment.adaptive is not None and deployment.adaptive.enabled:
        raise invalid_request("[num_allocations] cannot be set if adaptive allocations is enabled")
    emulation.cluster.update_deployment(
        endpoint.serves, number_of_allocations=allocations, internal=True
    )


def _found(emulation: Emulation, inference_id: str) -> InferenceEndpoint:
    endpoint = emulation.endpoints.get(inference_id)
    if endpoint is None:
        raise ApiError(
            404, "resource_not_found_exception", f"Inference endpoint not found [{inference_id}]"
        )
    return endpoint


def _document(emulation: Emulation, endpoint: InferenceEndpoint) -> dict[str, Any]:
    settings: dict[str, Any] = {"model_id": endpoint.model_id, "num_threads": 1}
    if endpoint.deployment_id is not None:
        settings["deployment_id"] = endpoint.deployment_id
    deployment = emulation.cluster.deployments.get(endpoint.serves)
    if deployment is not None:
        settings["num_allocations"] = deployment.requested
        settings["num_threads"] = deployment.parameters.threads_per_allocation
    return {
        "inference_id": endpoint.inference_id,
        "task_type": endpoint.task_type,
        "service": "elasticsearch",
        "service_settings": settings,
    }


_GET, _UPDATE = "cluster:monitor/xpack/inference/get", "cluster:admin/xpack/inference/update"

ENDPOINTS = (
    Endpoint(method="GET", path="/_inference", handler=get_all, action=_GET),
    Endpoint(method="GET", path="/_inference/_all", handler=get_all, action=_GET),
    Endpoint(method="GET", path="/_inference/{inference_id}", handler=get_one, action=_GET),
    Endpoint(
        method="PUT",
        path="/_inference/{inference_id}/_update",
        handler=update,
        action=_UPDATE,
        needs_master=True,
    ),
    Endpoint(
        method="PUT",
        path="/_inference/{task_type}/{inference_id}/_update",
        handler=update,
        action=_UPDATE,
        needs_master=True,
    ),
)
