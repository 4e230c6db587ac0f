"""Whether the body of a 200 confirms a change.

A proxy, another version or a defect may respond 200 to a change that was not made. A response that
does not name the requested deployment and settings is therefore no success: whether the change was
made is unknown, and the next observation shows it.

Source: elastic/elasticsearch, `CreateTrainedModelAssignmentAction.java`,
`StopTrainedModelDeploymentAction.java`, `TransportUpdateInferenceModelAction.java`.
"""

from msgspec import UNSET, UnsetType

from autoscaler.adapters.elasticsearch.errors import Unconfirmed
from autoscaler.wire.deployments import (
    AdaptivePatchDocument,
    AdaptiveSettingsDocument,
    AssignmentDocument,
    StopResponse,
)
from autoscaler.wire.inference import EndpointDocument

AdaptivePatch = AdaptivePatchDocument | UnsetType | None


def confirm_assignment(
    assignment: AssignmentDocument,
    request: str,
    *,
    deployment_id: str,
    allocations: int | UnsetType = UNSET,
    adaptive: AdaptivePatch = UNSET,
) -> None:
    """
    Raises:
        Unconfirmed: the assignment is not that of the deployment with these settings.
    """
    task = assignment.task_parameters
    _require(bool(task.model_id), request, "it has no assignment")
    if task.deployment_id is not UNSET:  # since 8.8
        found = task.deployment_id
        _require(found == deployment_id, request, f"it is about deployment {found!r}")
    if allocations is not UNSET:
        count = task.number_of_allocations
        _require(count == allocations, request, f"it has {count} allocations, not {allocations}")
    if isinstance(adaptive, AdaptivePatchDocument):
        settings = assignment.adaptive_allocations
        _require(
            _has_settings(settings, adaptive),
            request,
            "it does not have the requested settings of adaptive allocations",
        )


def confirm_stop(response: StopResponse, request: str) -> None:
    """
    Raises:
        Unconfirmed: the response does not confirm that the deployment is stopped on all nodes.
    """
    _require(response.stopped, request, "it says that the deployment is not stopped")
    failures = len(response.node_failures) + len(response.task_failures)
    _require(not failures, request, f"it reports {failures} failed nodes or tasks")


def confirm_endpoint(
    endpoint: EndpointDocument, request: str, *, inference_id: str, allocations: int | UnsetType
) -> None:
    """
    Another number is no contradiction, because an endpoint may show the present allocations of its
    deployment (elastic/elasticsearch#115233). Settings of adaptive allocations are not included:
    the first versions ignore them.

    Raises:
        Unconfirmed: the response is not this endpoint, with a number if one was set.
    """
    _require(
        endpoint.inference_id == inference_id,
        request,
        f"it is about endpoint {endpoint.inference_id or 'without an id'}",
    )
    if allocations is not UNSET:
        found = endpoint.service_settings.get("num_allocations")
        _require(isinstance(found, int), request, f"num_allocations is {found}")


def _has_settings(
    found: AdaptiveSettingsDocument | UnsetType | None, requested: AdaptivePatchDocument
) -> bool:
    if not isinstance(found, AdaptiveSettingsDocument):
        return found is None and not requested.enabled
    return all(
        wanted in (UNSET, None) or present == wanted
        for present, wanted in (
            (found.enabled, requested.enabled),
            (found.min_number_of_allocations, requested.min_number_of_allocations),
            (found.max_number_of_allocations, requested.max_number_of_allocations),
        )
    )


def _require(confirmed: bool, request: str, found: str) -> None:
    if not confirmed:
        raise Unconfirmed(
            f"the response to {request} is a 200, but does not confirm the change: {found}; "
            "the next statistics show whether it was made"
        )
