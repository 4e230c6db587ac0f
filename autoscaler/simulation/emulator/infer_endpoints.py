"""`_infer`, its former path `deployment/_infer`, and `cache/_clear`."""

import zlib
from collections.abc import Sequence

from autoscaler.simulation.admission import LANGUAGE_IDENTIFICATION
from autoscaler.simulation.emulator.bodies import parse_body, task_of
from autoscaler.simulation.emulator.calls import ApiEndpoint, Call
from autoscaler.simulation.emulator.emulation import Emulation
from autoscaler.simulation.emulator.parameters import illegal_argument, parse_duration_s
from autoscaler.simulation.errors import SimulatedApiError, no_such_deployment
from autoscaler.simulation.versions import VersionBehaviour
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
    return InferResponse(inference_results=await _results(emulation, call, _request(call)))


async def infer_one(emulation: Emulation, call: Call) -> object:
    """The former path: one document, whose result is the response.

    Source: elastic/elasticsearch, `RestInferTrainedModelDeploymentAction.java`.
    """
    if not call.body:
        raise SimulatedApiError(400, "status_exception", "requires body")
    request = _request(call)
    if len(request.docs) != 1:
        raise SimulatedApiError(
            400,
            "validation_exception",
            "Validation Failed: 1: multiple documents are not supported;",
        )
    (result,) = await _results(emulation, call, request)
    return result


def _request(call: Call) -> InferRequest:
    return parse_body(call.body, InferRequest, parser="infer_trained_model_request")


async def _results(emulation: Emulation, call: Call, body: InferRequest) -> list[dict[str, object]]:
    """The results of the documents.

    Raises:
        SimulatedApiError: the model cannot be used, a document lacks the input field, or its
            request failed.
    """
    emulation.require_licence()
    field = _input_field(emulation, call.ids["id"], body)
    for document in body.docs:
        if not isinstance(document.get(field), str):
            raise SimulatedApiError(
                400, "status_exception", f"Input field [{field}] does not exist in the document"
            )
    timeout_s = call.query.duration_s("timeout")
    if timeout_s is None:
        timeout_s = parse_duration_s("timeout", body.timeout) if body.timeout else _TIMEOUT_S
    requests = emulation.cluster.infer(call.ids["id"], len(body.docs), timeout_s=timeout_s)
    await emulation.until(
        lambda: (
            any(request.error for request in requests) or all(request.done for request in requests)
        ),
        # The cluster itself ends every request: at its time-out, or at a second one after a wait.
        timeout_s=2.0 * timeout_s + 1.0,
    )
    for request in requests:
        if request.error is not None:
            raise request.error
    return [_result(document[field]) for document in body.docs]


def _input_field(emulation: Emulation, target_id: str, body: InferRequest) -> str:
    """The field that the model reads, as its configuration says.

    Raises:
        SimulatedApiError: 403: the request is for another task than that of the model; 404, 409:
            there is no such model, or it is not deployed.
    """
    if target_id == LANGUAGE_IDENTIFICATION:
        raise illegal_argument(f"inference with the built-in model [{target_id}] is not emulated")
    asked = None
    if isinstance(body.inference_config, dict):
        asked = task_of(body.inference_config, parser="infer_trained_model_request")
    model_id = emulation.cluster.directory.model_id_of(target_id)
    stored = emulation.models.get(model_id)  # the task of a model of a scenario is unknown
    if (
        asked is not None
        and stored is not None
        and asked not in stored.settings["inference_config"]
    ):
        tasks = ", ".join(stored.settings["inference_config"])
        raise SimulatedApiError(
            403,
            "status_exception",
            f"Trained model [{model_id}] is configured for task [{tasks}] but called with task "
            f"[{asked}]",
        )
    return emulation.model(model_id).field_names[0]


def _result(text: str) -> dict[str, object]:
    """Two values that depend only on the text, so that clients can recognise their results."""
    seed = zlib.crc32(text.encode())
    return {"predicted_value": [(seed & 0xFFFF) / 0xFFFF, (seed >> 16) / 0xFFFF]}


_INFER = "cluster:monitor/xpack/ml/inference/infer"

_ALWAYS = (
    ApiEndpoint(
        method="POST",
        path="/_ml/trained_models/{id}/deployment/cache/_clear",
        handler=clear_cache,
        action="cluster:admin/xpack/ml/trained_models/deployment/clear_cache",
    ),
    ApiEndpoint(
        method="POST",
        path="/_ml/trained_models/{id}/_infer",
        handler=infer,
        action=_INFER,
        parameters=frozenset({"timeout"}),
    ),
)

_FORMER = (
    ApiEndpoint(
        method="POST",
        path="/_ml/trained_models/{id}/deployment/_infer",
        handler=infer_one,
        action=_INFER,
        parameters=frozenset({"timeout"}),
    ),
)


def endpoints_of(behaviour: VersionBehaviour) -> Sequence[ApiEndpoint]:
    """The endpoints of inference that a version has."""
    return (*_ALWAYS, *_FORMER) if behaviour.deployment_infer else _ALWAYS
