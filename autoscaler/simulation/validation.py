"""Requests that are invalid in themselves or contradict the settings of the deployment.

Source: elastic/elasticsearch, core/action/{Start,Update}TrainedModelDeploymentAction.java.
"""

import re

from msgspec import UNSET, Struct, UnsetType

from autoscaler.simulation.deployment import AdaptivePatch, AdaptiveSettings, SimulatedDeployment
from autoscaler.simulation.errors import SimulatedApiError, invalid_request, invalid_state
from autoscaler.simulation.versions import VersionBehaviour

MAX_THREADS = 32

_NOT_WITH_ADAPTIVE = "[number_of_allocations] cannot be set if adaptive allocations is enabled"
_ALWAYS_ADAPTIVE = "[adaptive_allocations] cannot be disabled when running in serverless mode"


class StartParameters(Struct, frozen=True, kw_only=True):
    """The parameters of `_start`. None: the default of the server."""

    deployment_id: str | None = None
    number_of_allocations: int | None
    threads_per_allocation: int
    queue_capacity: int | None
    priority: str
    adaptive: AdaptiveSettings | None


def check_start(request: StartParameters, behaviour: VersionBehaviour) -> None:
    """Raise the 400 that lists all invalid parameters, if there are any."""
    if request.priority not in ("normal", "low"):
        raise SimulatedApiError(
            400, "illegal_argument_exception", f"No enum constant Priority.{request.priority}"
        )
    complaints = [
        f"[{name}] must be a positive integer"
        for name in ("number_of_allocations", "threads_per_allocation", "queue_capacity")
        if (value := getattr(request, name)) is not None and value < 1
    ]
    if (name := request.deployment_id) and not re.fullmatch(
        r"\.?[a-z0-9]([a-z0-9_.-]*[a-z0-9])?", name
    ):
        complaints.append(
            f"Invalid deployment_id; '{name}' can contain lowercase alphanumeric (a-z and 0-9), "
            "hyphens or underscores; must start and end with alphanumeric"
        )
    threads = request.threads_per_allocation
    if threads > MAX_THREADS or (threads > 0 and threads & (threads - 1)):
        complaints.append(
            f"[threads_per_allocation] must be a power of 2 less than or equal to {MAX_THREADS}"
        )
    most = behaviour.max_queue_capacity
    if request.queue_capacity is not None and request.queue_capacity > most:
        complaints.append(f"[queue_capacity] must be less than {most}")
    if request.priority == "low":
        adaptive = request.adaptive if behaviour.low_priority_check else None
        complaints += _low_priority_complaints(request.number_of_allocations, adaptive)
        if threads > 1:
            complaints.append("[threads_per_allocation] must be 1 when [priority] is low")
    if request.adaptive is not None:
        complaints += _bounds_complaints(request.adaptive)
        if request.adaptive.enabled and request.number_of_allocations is not None:
            complaints.append(_NOT_WITH_ADAPTIVE)
    if complaints:
        raise invalid_request(*complaints)


def always_adaptive(requested: AdaptiveSettings | None) -> AdaptiveSettings:
    """The settings of adaptive allocations of a deployment started on serverless.

    It is documented that they cannot be disabled and that they scale to zero
    (elastic/docs-content, trained-model-autoscaling.md); the rest is an assumption.
    """
    return AdaptiveSettings(
        enabled=True,
        min_number_of_allocations=0,
        max_number_of_allocations=requested.max_number_of_allocations if requested else None,
    )


def check_update(number_of_allocations: int | None, patch: AdaptivePatch | None) -> None:
    """Raise the 400 of an `_update` that is invalid in itself."""
    complaints = []
    if number_of_allocations is not None and number_of_allocations < 1:
        complaints.append("[number_of_allocations] must be a positive integer")
    if patch is not None:
        if number_of_allocations is not None and patch.enabled is True:
            complaints.append(_NOT_WITH_ADAPTIVE)
        complaints += _bounds_complaints(patch.applied_to(None))
    if complaints:
        raise invalid_request(*complaints)


def check_merged(
    deployment: SimulatedDeployment,
    number_of_allocations: int | None,
    merged: AdaptiveSettings | None,
    behaviour: VersionBehaviour,
) -> None:
    """Raise the 400 of an update that contradicts the resulting settings."""
    if behaviour.serverless and not (merged and merged.enabled):
        raise invalid_state(_ALWAYS_ADAPTIVE)
    if merged is not None:
        if merged.enabled and number_of_allocations is not None:
            raise invalid_state(_NOT_WITH_ADAPTIVE)
        if complaints := _bounds_complaints(merged):
            raise invalid_request(*complaints)
    low = behaviour.low_priority_check and deployment.low
    if low and (complaints := _low_priority_complaints(number_of_allocations, merged)):
        raise invalid_state(*complaints)


def _low_priority_complaints(
    number_of_allocations: int | None, adaptive: AdaptiveSettings | None
) -> list[str]:
    complaints = []
    if (number_of_allocations or 0) > 1:
        complaints.append("[number_of_allocations] must be 1 when [priority] is low")
    if adaptive is not None and (adaptive.max_number_of_allocations or 0) > 1:
        complaints.append("[max_number_of_allocations] must be 1 when [priority] is low")
    return complaints


def _bounds_complaints(adaptive: AdaptiveSettings) -> list[str]:
    minimum, maximum = adaptive.min_number_of_allocations, adaptive.max_number_of_allocations
    complaints = []
    if minimum is not None and minimum < 0:
        complaints.append("[min_number_of_allocations] must be a non-negative integer or null")
    if maximum is not None and maximum < 1:
        complaints.append("[max_number_of_allocations] must be a positive integer or null")
    if minimum is not None and maximum is not None and minimum > maximum:
        complaints.append(
            "[min_number_of_allocations] must not be larger than [max_number_of_allocations]"
        )
    return complaints


def is_unchanged(
    adaptive: AdaptivePatch | UnsetType | None, stored: AdaptiveSettings | None
) -> bool:
    """Whether the raw patch, with unset fields as null, equals the stored settings."""
    if isinstance(adaptive, AdaptivePatch):
        return adaptive.applied_to(None) == stored
    return adaptive is UNSET or stored is None
