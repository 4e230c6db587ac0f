"""What is said about changing and using deployments: `_start`, `_update`, `_stop`, `_infer`.

Source: elastic/elasticsearch, `UpdateTrainedModelDeploymentAction.java`,
`StartTrainedModelDeploymentAction.java`, `StopTrainedModelDeploymentAction.java`,
`TrainedModelAssignment.java`, `InferModelAction.java`. The structs serve both directions. Bodies
of requests are strict, as the server is: an unknown field fails to decode.
"""

from typing import Any

from msgspec import UNSET, Struct, UnsetType


class AdaptivePatchDocument(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A change of the cluster's own scaler. Unset keeps what is stored, null clears it."""

    enabled: bool | UnsetType | None = UNSET
    min_number_of_allocations: int | UnsetType | None = UNSET
    max_number_of_allocations: int | UnsetType | None = UNSET


class UpdateRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of `_update`. A null for `adaptive_allocations` removes the settings.

    A number together with `adaptive_allocations: {enabled: false}` takes a deployment over from
    the cluster's own scaler in one call.
    """

    number_of_allocations: int | UnsetType = UNSET
    adaptive_allocations: AdaptivePatchDocument | UnsetType | None = UNSET
    model_id: str | UnsetType = UNSET  # if given, the id of the path again
    timeout: str | UnsetType = UNSET
    model_threads: int | UnsetType = UNSET  # deprecated name of number_of_allocations


class StartRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of `_start`. What is unset takes the server's default."""

    deployment_id: str | UnsetType = UNSET
    timeout: str | UnsetType = UNSET
    wait_for: str | UnsetType = UNSET  # starting, started, fully_allocated
    number_of_allocations: int | UnsetType = UNSET
    threads_per_allocation: int | UnsetType = UNSET
    queue_capacity: int | UnsetType = UNSET
    cache_size: str | UnsetType = UNSET  # such as "100mb"; "0b" disables
    priority: str | UnsetType = UNSET  # normal, low
    adaptive_allocations: AdaptivePatchDocument | UnsetType | None = UNSET
    model_id: str | UnsetType = UNSET
    model_threads: int | UnsetType = UNSET  # deprecated name of number_of_allocations
    inference_threads: int | UnsetType = UNSET  # deprecated name of threads_per_allocation


class StopRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of `_stop`; both flags may be given in the query instead."""

    id: str | UnsetType = UNSET
    allow_no_match: bool | UnsetType = UNSET
    force: bool | UnsetType = UNSET


class StopResponse(Struct, frozen=True, kw_only=True):
    stopped: bool = False


class TaskParameters(Struct, kw_only=True):
    """What a deployment was started with; `number_of_allocations` is the requested total."""

    model_id: str = ""
    deployment_id: str | UnsetType = UNSET  # since 8.8
    model_bytes: int = 0
    threads_per_allocation: int = 1
    number_of_allocations: int = 1
    queue_capacity: int = 0
    cache_size: str | UnsetType = UNSET
    priority: str | UnsetType = UNSET  # since 8.6
    per_deployment_memory_bytes: int | UnsetType = UNSET  # since 8.11
    per_allocation_memory_bytes: int | UnsetType = UNSET


class RouteDocument(Struct, kw_only=True):
    """One deployment on one node."""

    current_allocations: int = 0
    target_allocations: int = 0
    routing_state: str = ""
    reason: str = ""


class AdaptiveSettingsDocument(Struct, kw_only=True):
    enabled: bool = False
    min_number_of_allocations: int | UnsetType | None = UNSET
    max_number_of_allocations: int | UnsetType | None = UNSET


class AssignmentDocument(Struct, kw_only=True):
    task_parameters: TaskParameters
    routing_table: dict[str, RouteDocument] = {}  # by node id
    assignment_state: str = ""  # starting, started, stopping
    reason: str | UnsetType = UNSET  # set when not everything could be placed
    start_time: str | int | UnsetType = UNSET  # ISO 8601, unlike `_stats`
    max_assigned_allocations: int | UnsetType = UNSET
    adaptive_allocations: AdaptiveSettingsDocument | UnsetType | None = (
        UNSET  # always there since 8.16
    )


class AssignmentResponse(Struct, kw_only=True):
    """The answer of `_start` and `_update`."""

    assignment: AssignmentDocument


class InferRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    docs: list[dict[str, Any]]
    inference_config: dict[str, Any] | UnsetType = UNSET


class InferResponse(Struct, frozen=True, kw_only=True):
    """One result a document; what is in it depends on the model's task."""

    inference_results: list[dict[str, Any]] = []
