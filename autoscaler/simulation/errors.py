"""Error responses of the simulated API."""

from collections.abc import Mapping


class SimulatedApiError(Exception):
    """A refusal of the API: HTTP status, exception type in snake case, and reason.

    `metadata` has further fields of the error object, such as `resource.id`; `caused_by` is the
    type and reason of the cause, if the API reports a cause.
    """

    def __init__(
        self,
        status: int,
        error_type: str,
        reason: str,
        *,
        metadata: Mapping[str, object] | None = None,
        caused_by: tuple[str, str] | None = None,
    ) -> None:
        super().__init__(reason)
        self.status = status
        self.type = error_type
        self.reason = reason
        self.metadata: Mapping[str, object] = metadata or {}
        self.caused_by = caused_by

    def __repr__(self) -> str:
        return f"SimulatedApiError({self.status}, {self.type!r}, {self.reason!r})"


def conflict(reason: str) -> SimulatedApiError:
    """409: the state of a deployment does not allow the operation."""
    return SimulatedApiError(409, "status_exception", reason)


def deployment_timeout(deployment_id: str, timeout_s: float) -> SimulatedApiError:
    """408: a deployment has not started in time. It continues to start."""
    return SimulatedApiError(
        408,
        "model_deployment_timeout_exception",
        f"Timed out after [{timeout_s:g}s] waiting for trained model deployment [{deployment_id}] "
        "to start. Its state is in the statistics of trained models.",
    )


def not_found(resource_id: str, reason: str) -> SimulatedApiError:
    return SimulatedApiError(
        404,
        "resource_not_found_exception",
        reason,
        metadata={"resource.type": "trained_model", "resource.id": resource_id},
    )


def no_such_deployment(deployment_id: str) -> SimulatedApiError:
    return not_found(deployment_id, f"No known model deployment with id [{deployment_id}]")


def invalid_request(*complaints: str) -> SimulatedApiError:
    """400: the request is invalid, regardless of any state."""
    listed = "".join(f"{index}: {text};" for index, text in enumerate(complaints, 1))
    return SimulatedApiError(
        400, "action_request_validation_exception", f"Validation Failed: {listed}"
    )


def invalid_state(*complaints: str) -> SimulatedApiError:
    """400: the request is valid, but contradicts the settings of the deployment."""
    listed = "".join(f"{index}: {text};" for index, text in enumerate(complaints, 1))
    return SimulatedApiError(400, "validation_exception", f"Validation Failed: {listed}")
