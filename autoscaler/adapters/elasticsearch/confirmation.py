"""Whether the body of a 200 confirms a change.

A proxy, another version or a defect may respond 200 to a change that was not made. A response that
is not about the deployment is therefore no success: whether the change was made is unknown, and the
next observation shows it. Other settings in it are no contradiction: an accepted change may take
effect later or never, which observations show, too.

Source: elastic/elasticsearch, `CreateTrainedModelAssignmentAction.java`,
`StopTrainedModelDeploymentAction.java`, `TransportUpdateInferenceModelAction.java`.
"""

from msgspec import UNSET

from autoscaler.adapters.elasticsearch.errors import Unconfirmed
from autoscaler.wire.deployments import AssignmentDocument, StopResponse
from autoscaler.wire.inference import EndpointDocument


def confirm_assignment(assignment: AssignmentDocument, request: str, deployment_id: str) -> None:
    """
    Raises:
        Unconfirmed: the assignment is not that of the deployment.
    """
    task = assignment.task_parameters
    _require(bool(task.model_id), request, "it has no assignment")
    if task.deployment_id is not UNSET:  # since 8.8
        found = task.deployment_id
        _require(found == deployment_id, request, f"it is about deployment {found!r}")


def confirm_stop(response: StopResponse, request: str) -> None:
    """
    Raises:
        Unconfirmed: the response does not confirm that the deployment is stopped on all nodes.
    """
    _require(response.stopped, request, "it says that the deployment is not stopped")
    failures = len(response.node_failures) + len(response.task_failures)
    _require(not failures, request, f"it reports {failures} failed nodes or tasks")


def confirm_endpoint(endpoint: EndpointDocument, request: str, inference_id: str) -> None:
    """
    Raises:
        Unconfirmed: the response is not about this endpoint.
    """
    _require(
        endpoint.inference_id == inference_id,
        request,
        f"it is about endpoint {endpoint.inference_id or 'without an id'}",
    )


def _require(confirmed: bool, request: str, found: str) -> None:
    if not confirmed:
        raise Unconfirmed(
            f"the response to {request} is a 200, but does not confirm the change: {found}; "
            "the next statistics show whether it was made"
        )
