"""`/_emulator/endpoints` and `…/own`: adds and removes inference endpoints.

POST   endpoints                        adds an endpoint that owns the deployment with its id, which
                                        is started if necessary, or one attached to `deployment_id`
DELETE endpoints/{id}                   removes it; its deployment stays
POST   deployments/{id}/own             makes an endpoint with this id own it; DELETE: removes that
"""

from msgspec import Struct

from autoscaler.simulation.cluster import AdaptiveSettings
from autoscaler.simulation.deployment import SimulatedDeployment
from autoscaler.simulation.emulator.bodies import parse_body
from autoscaler.simulation.emulator.calls import ApiEndpoint, Call
from autoscaler.simulation.emulator.emulation import Emulation, InferenceEndpoint, settings_of
from autoscaler.simulation.emulator.parameters import illegal_argument
from autoscaler.simulation.errors import no_such_deployment

_DONE = {"acknowledged": True}


class NewEndpoint(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of a new endpoint, with the parameters of the deployment that it owns."""

    inference_id: str
    model_id: str = ""  # of a deployment that does not exist yet
    deployment_id: str | None = None  # attached to it, instead of owning one
    task_type: str = "text_embedding"
    service: str = "elasticsearch"
    num_allocations: int | None = None
    num_threads: int = 1
    adaptive_allocations: AdaptiveSettings | None = None
    broken: bool = False


async def add_endpoint(emulation: Emulation, call: Call) -> object:
    body = parse_body(call.body, NewEndpoint, parser="endpoint")
    if not emulation.cluster.behaviour.inference_api:
        raise illegal_argument("this version has no inference API")
    if body.inference_id in emulation.endpoints:
        raise illegal_argument(f"endpoint [{body.inference_id}] already exists; use another id")
    serving = body.deployment_id or body.inference_id
    deployment = emulation.cluster.deployments.get(serving)
    if deployment is None and body.deployment_id is not None:
        raise no_such_deployment(body.deployment_id)
    deployment = deployment or _started(emulation, body)
    emulation.add_endpoint(
        InferenceEndpoint(
            inference_id=body.inference_id,
            model_id=deployment.model_id,
            task_type=body.task_type,
            service=body.service,
            deployment_id=body.deployment_id,
            settings=settings_of(deployment),
            broken=body.broken,
        )
    )
    return _DONE


def _started(emulation: Emulation, body: NewEndpoint) -> SimulatedDeployment:
    return emulation.cluster.start_deployment(
        body.model_id,
        deployment_id=body.inference_id,
        number_of_allocations=body.num_allocations,
        threads_per_allocation=body.num_threads,
        adaptive=body.adaptive_allocations,
    )


async def remove_endpoint(emulation: Emulation, call: Call) -> object:
    if call.ids["id"] not in emulation.endpoints:
        raise illegal_argument(f"there is no endpoint [{call.ids['id']}]")
    emulation.remove_endpoint(call.ids["id"])
    return _DONE


async def own(emulation: Emulation, call: Call) -> object:
    deployment = _found(emulation, call)
    emulation.add_endpoint(
        InferenceEndpoint(
            inference_id=deployment.deployment_id,
            model_id=deployment.model_id,
            settings=settings_of(deployment),
        )
    )
    return _DONE


async def disown(emulation: Emulation, call: Call) -> object:
    emulation.remove_endpoint(_found(emulation, call).deployment_id)
    return _DONE


def _found(emulation: Emulation, call: Call) -> SimulatedDeployment:
    deployment = emulation.cluster.deployments.get(call.ids["id"])
    if deployment is None:
        raise no_such_deployment(call.ids["id"])
    return deployment


ENDPOINTS = tuple(
    ApiEndpoint(method=method, path=f"/_emulator/{path}", handler=handler)
    for method, path, handler in (
        ("POST", "endpoints", add_endpoint),
        ("DELETE", "endpoints/{id}", remove_endpoint),
        ("POST", "deployments/{id}/own", own),
        ("DELETE", "deployments/{id}/own", disown),
    )
)
