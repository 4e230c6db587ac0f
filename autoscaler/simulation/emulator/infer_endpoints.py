"""`_infer`, and `cache/_clear`."""

import zlib

from autoscaler.simulation.emulator.bodies import parse_body
from autoscaler.simulation.emulator.calls import ApiEndpoint, Call
from autoscaler.simulation.emulator.emulation import Emulation
from autoscaler.simulation.errors import SimulatedApiError, no_such_deployment
from autoscaler.wire.deployments import InferRequest, InferResponse

_TIMEOUT_S = 10.0


async def clear_cache(emulation: Emulation, call: Call) -> object:
    """Accepted, without effect: cache hits are random, because no texts are stored."""
    if call.ids["id"] not in emulation.cluster.deployments:
        raise no_such_deployment(call.ids["id"])
    return {"cleared": True}


async def infer(emulation: Emulation, call: Call) -> InferResponse:
    """Returns when the simulated requests are done. If one document fails, all fail."""
    if not call.body:
        raise SimulatedApiError(400, "parse_exception", "request body is required")
    body = parse_body(call.body, InferRequest, parser="infer_trained_model_request")
    field = _input_field(emulation, call.ids["id"])
    for document in body.docs:
        if not isinstance(document.get(field), str):
            raise SimulatedApiError(
                400, "status_exception", f"Input field [{field}] does not exist in the document"
            )
    timeout_s = call.query.duration_s("timeout")
    timeout_s = _TIMEOUT_S if timeout_s is None else timeout_s
    requests = emulation.cluster.infer(call.ids["id"], len(body.docs), timeout_s=timeout_s)
    await emulation.until(
        lambda: (
            any(request.error for request in requests) or all(request.done for request in requests)
        ),
        # The cluster itself ends every request at its time-out.
        timeout_s=timeout_s + 1.0,
    )
    for request in requests:
        if request.error is not None:
            raise request.error
    return InferResponse(inference_results=[_result(document[field]) for document in body.docs])


def _input_field(emulation: Emulation, target_id: str) -> str:
    """The field that the model reads, as its configuration says."""
    deployment = emulation.cluster.deployments.get(target_id)
    model_id = target_id if deployment is None else deployment.model_id
    return emulation.model(model_id).field_names[0]


def _result(text: str) -> dict[str, object]:
    """Two values that depend only on the text, so that clients can recognise their results."""
    seed = zlib.crc32(text.encode())
    return {"predicted_value": [(seed & 0xFFFF) / 0xFFFF, (seed >> 16) / 0xFFFF]}


ENDPOINTS = (
    ApiEndpoint(
        method="POST",
        path="/_ml/trained_models/{id}/deployment/cache/_clear",
        handler=clear_cache,
        action="cluster:admin/xpack/ml/trained_models/deployment/clear_cache",
        parameters=frozenset({"timeout"}),
    ),
    ApiEndpoint(
        method="POST",
        path="/_ml/trained_models/{id}/_infer",
        handler=infer,
        action="cluster:monitor/xpack/ml/inference/infer",
        parameters=frozenset({"timeout"}),
    ),
)
