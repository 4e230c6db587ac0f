"""`_inference`: endpoints, which may own deployments.

Source: elastic/elasticsearch, `TransportUpdateInferenceModelAction.java`,
`ElasticsearchInternalServiceSettings.java` and `ServiceUtils.java`.
"""

from collections.abc import Sequence
from typing import Any

from msgspec import UNSET, Struct, UnsetType
from msgspec.structs import replace

from autoscaler.simulation.cluster import AdaptivePatch
from autoscaler.simulation.emulator.bodies import parse_body
from autoscaler.simulation.emulator.calls import ApiEndpoint, Call
from autoscaler.simulation.emulator.emulation import Emulation, EndpointSettings, InferenceEndpoint
from autoscaler.simulation.errors import (
    SimulatedApiError,
    conflict,
    invalid_state,
    not_found,
)
from autoscaler.simulation.versions import VersionBehaviour
from autoscaler.wire.deployments import AdaptivePatchDocument

_ANY = "any"
"""The task type that stands for all."""

_TASK_TYPES = frozenset(
    {_ANY, "chat_completion", "completion", "rerank", "sparse_embedding", "text_embedding"}
)


class ServiceSettings(Struct, frozen=True, kw_only=True):
    """The settings in an update. A null counts as unset; other settings are ignored."""

    num_allocations: int | UnsetType | None = UNSET
    adaptive_allocations: AdaptivePatchDocument | UnsetType | None = UNSET
    num_threads: int | UnsetType | None = UNSET


class UpdateEndpointBody(Struct, frozen=True, kw_only=True):
    task_type: str | UnsetType = UNSET
    service_settings: ServiceSettings = ServiceSettings()


class EndpointChange(Struct, frozen=True, kw_only=True):
    """A change of a deployment: its allocations, or its settings of adaptive allocations."""

    allocations: int | None = None
    adaptive: AdaptivePatch | UnsetType = UNSET

    @property
    def stored(self) -> EndpointSettings:
        """What the endpoint stores, in place of all that it had stored."""
        if isinstance(self.adaptive, AdaptivePatch):
            return EndpointSettings(adaptive=self.adaptive.applied_to(None))
        return EndpointSettings(num_allocations=self.allocations)


async def get_all(emulation: Emulation, call: Call) -> object:
    behaviour = emulation.cluster.behaviour
    task_type = _known(call.ids.get("task_type", _ANY))
    endpoints = sorted(emulation.endpoints.values(), key=lambda endpoint: endpoint.inference_id)
    endpoints = [each for each in endpoints if task_type in (_ANY, each.task_type)]
    if behaviour.lists_one_endpoint_each:
        endpoints = list({endpoint.serves: endpoint for endpoint in endpoints}.values())
    return _listed(emulation, endpoints)


async def get_one(emulation: Emulation, call: Call) -> object:
    inference_id = call.ids["inference_id"]
    task_type = _known(call.ids.get("task_type", _ANY))
    endpoint = emulation.endpoints.get(inference_id)
    if endpoint is None:
        raise _unknown(f"Inference endpoint not found [{inference_id}]")
    if task_type not in (_ANY, endpoint.task_type):
        raise _bad(
            f"Requested task type [{task_type}] does not match the task type "
            f"[{endpoint.task_type}] of the inference endpoint"
        )
    return _listed(emulation, [endpoint])


async def update(emulation: Emulation, call: Call) -> object:
    inference_id = call.ids["inference_id"]
    if not call.body:
        raise SimulatedApiError(400, "parse_exception", "request body is required")
    request = parse_body(call.body, UpdateEndpointBody, parser="update_inference_model")
    behaviour = emulation.cluster.behaviour
    in_body = request.task_type if behaviour.task_type_in_body else UNSET
    task_type = _known(_task_type(call.ids.get("task_type"), in_body))
    endpoint = emulation.endpoints.get(inference_id)
    if endpoint is None or (endpoint.deployment_id and not behaviour.updates_attached_endpoints):
        raise _unknown(
            f"The inference endpoint [{inference_id}] does not exist and cannot be updated"
        )
    if task_type != endpoint.task_type:
        raise _bad("Task type must match the task type of the existing endpoint")
    change = _change(request.service_settings, behaviour, call)
    settings = change.stored
    if behaviour.endpoint_keeps_settings and settings == endpoint.settings:
        return _document(emulation, endpoint)  # whatever its deployment is
    if endpoint.serves not in emulation.cluster.deployments:
        raise not_found(
            inference_id, f"The model of inference endpoint [{inference_id}] is not deployed"
        )
    if behaviour.endpoint_owned_conflict:
        _require_ownership(endpoint)
    emulation.cluster.update_deployment(
        endpoint.serves,
        number_of_allocations=change.allocations,
        adaptive=change.adaptive,
        by_endpoint=True,
    )
    updated = replace(endpoint, settings=settings)
    emulation.endpoints[inference_id] = updated
    return _document(emulation, updated)


def _known(task_type: str) -> str:
    """The task type, unless there is none with this name."""
    if task_type.lower() not in _TASK_TYPES:
        raise _bad(f"Unknown task_type [{task_type}]")
    return task_type.lower()


def _task_type(in_path: str | None, in_body: str | UnsetType) -> str:
    """The task type, which is required in the path or in the body."""
    if isinstance(in_body, UnsetType):
        if in_path is None:
            raise _bad("model is missing required setting [task_type]")
        return in_path
    if in_path not in (None, in_body):
        raise _bad(
            f"Cannot resolve conflicting task_type parameter in the request URL [{in_path}] and "
            f"the request body [{in_body}]"
        )
    return in_body


def _change(settings: ServiceSettings, behaviour: VersionBehaviour, call: Call) -> EndpointChange:
    """The change for these settings, as far as the version supports them.

    Raises:
        SimulatedApiError: 400: no setting, two settings, or a setting that cannot be changed.
    """
    allocations = settings.num_allocations if isinstance(settings.num_allocations, int) else None
    if not behaviour.inference_adaptive:  # other settings are ignored
        if allocations is None:
            body = call.body.decode(errors="replace")
            raise _bad(f"Failed to parse [num_allocations] of update request [{body}]")
        return EndpointChange(allocations=allocations)
    if behaviour.inference_threads_fixed and isinstance(settings.num_threads, int):
        raise invalid_state("[num_threads] cannot be updated")
    document = settings.adaptive_allocations
    if not isinstance(document, AdaptivePatchDocument):
        if allocations is None:
            raise invalid_state(
                "[service_settings] does not contain one of the required settings "
                "[num_allocations, adaptive_allocations]"
            )
        if allocations < 1:
            raise invalid_state(
                f"[service_settings] Invalid value [{allocations}]. [num_allocations] must be a "
                "positive integer"
            )
        return EndpointChange(allocations=allocations)
    if allocations is not None:
        raise invalid_state("[num_allocations] cannot be set if [adaptive_allocations] is set")
    return EndpointChange(
        adaptive=AdaptivePatch(
            enabled=document.enabled,
            min_number_of_allocations=document.min_number_of_allocations,
            max_number_of_allocations=document.max_number_of_allocations,
        )
    )


def _require_ownership(endpoint: InferenceEndpoint) -> None:
    """Refuse to change a deployment through an endpoint that did not create it."""
    if endpoint.deployment_id is not None:
        raise conflict(
            f"Inference endpoint [{endpoint.inference_id}] cannot update deployment "
            f"[{endpoint.deployment_id}], which it did not create: it must be updated through the "
            "trained model API"
        )


def _bad(reason: str) -> SimulatedApiError:
    return SimulatedApiError(400, "status_exception", reason)


def _unknown(reason: str) -> SimulatedApiError:
    return SimulatedApiError(404, "resource_not_found_exception", reason)


def _listed(
    emulation: Emulation, endpoints: Sequence[InferenceEndpoint]
) -> dict[str, list[dict[str, Any]]]:
    """The list of endpoints, in the form of the version.

    Raises:
        SimulatedApiError: 500: one of them cannot be read.
    """
    for endpoint in endpoints:
        if endpoint.broken:
            raise SimulatedApiError(
                500,
                "status_exception",
                f"Failed to parse stored model [{endpoint.inference_id}] for "
                f"[{endpoint.service}] service",
            )
    key = emulation.cluster.behaviour.endpoint_list
    documents = [_document(emulation, endpoint) for endpoint in endpoints]
    if key == "models":
        documents = [{"model_id": each.pop("inference_id")} | each for each in documents]
    return {key: documents}


def _document(emulation: Emulation, endpoint: InferenceEndpoint) -> dict[str, Any]:
    settings: dict[str, Any] = {"model_id": endpoint.model_id, "num_threads": 1}
    deployment = emulation.cluster.deployments.get(endpoint.serves)
    if deployment is not None:
        settings["num_allocations"] = deployment.requested
        settings["num_threads"] = deployment.parameters.threads_per_allocation
        adaptive = endpoint.settings.adaptive
        if adaptive is not None:
            settings["adaptive_allocations"] = {"enabled": bool(adaptive.enabled)} | {
                name: bound
                for name in ("min_number_of_allocations", "max_number_of_allocations")
                if (bound := getattr(adaptive, name)) is not None
            }
    if endpoint.deployment_id is not None:
        settings["deployment_id"] = endpoint.deployment_id
    document = {
        "inference_id": endpoint.inference_id,
        "task_type": endpoint.task_type,
        "service": endpoint.service,
        "service_settings": settings,
    }
    if emulation.cluster.behaviour.empty_task_settings:
        document["task_settings"] = {}
    return document


_GET, _UPDATE = "cluster:monitor/xpack/inference/get", "cluster:admin/xpack/inference/update"

_READING = (
    ApiEndpoint(method="GET", path="/_inference", handler=get_all, action=_GET),
    ApiEndpoint(method="GET", path="/_inference/_all", handler=get_all, action=_GET),
    ApiEndpoint(method="GET", path="/_inference/{inference_id}", handler=get_one, action=_GET),
    ApiEndpoint(method="GET", path="/_inference/{task_type}/_all", handler=get_all, action=_GET),
    ApiEndpoint(
        method="GET",
        path="/_inference/{task_type}/{inference_id}",
        handler=get_one,
        action=_GET,
    ),
)


def _updating(parameters: frozenset[str]) -> Sequence[ApiEndpoint]:
    return [
        ApiEndpoint(
            method="PUT",
            path=f"/_inference/{task_type}{{inference_id}}/_update",
            handler=update,
            action=_UPDATE,
            parameters=parameters,
            needs_master=True,
        )
        for task_type in ("", "{task_type}/")
    ]


def endpoints_of(behaviour: VersionBehaviour) -> Sequence[ApiEndpoint]:
    """What a version has of the inference API."""
    reading = _READING if behaviour.inference_api else ()
    if not behaviour.inference_update:
        return reading
    timeout = {"timeout"} if behaviour.endpoint_update_timeout else set[str]()
    return (*reading, *_updating(frozenset(timeout)))
