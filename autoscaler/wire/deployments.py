"""Documents of the APIs for deployments: `_start`, `_update`, `_stop` and `_infer`.

Source: elastic/elasticsearch, `UpdateTrainedModelDeploymentAction.java`,
`StartTrainedModelDeploymentAction.java`, `StopTrainedModelDeploymentAction.java`,
`TrainedModelAssignment.java`, `InferModelAction.java`. The structs serve both directions. Bodies
of requests are as strict as the server: an unknown field fails to decode.
"""

from typing import Any

from msgspec import UNSET, Struct, UnsetType

from autoscaler.wire.bounds import Name


class AdaptivePatchDocument(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A change of adaptive allocations. Unset fields keep their value, null clears a bound."""

    enabled: bool | UnsetType = UNSET
    min_number_of_allocations: int | UnsetType | None = UNSET
    max_number_of_allocations: int | UnsetType | None = UNSET


class UpdateRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of `_update`. A null for `adaptive_allocations` removes the settings.

    `number_of_allocations` together with `adaptive_allocations: {enabled: false}` disables adaptive
    allocations and sets the allocations in one call.
    """

    number_of_allocations: int | UnsetType = UNSET
    adaptive_allocations: AdaptivePatchDocument | UnsetType | None = UNSET
    model_id: str | UnsetType = UNSET  # if set, equal to the id in the path
    timeout: str | UnsetType = UNSET
    model_threads: int | UnsetType = UNSET  # deprecated name of number_of_allocations


class StartRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of `_start`. Unset fields get the default of the server."""

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
    """The body of `_stop`; both flags may be set in the query instead."""

    id: str | UnsetType = UNSET
    allow_no_match: bool | UnsetType = UNSET
    force: bool | UnsetType = UNSET


class StopResponse(Struct, frozen=True, kw_only=True, omit_defaults=True):
    stopped: bool
    node_failures: list[Any] = []
    task_failures: list[Any] = []


class TaskParameters(Struct, kw_only=True):
    """The parameters of a deployment; `number_of_allocations` is the requested total."""

    model_id: Name = ""
    deployment_id: Name | UnsetType = UNSET  # since 8.8
    model_bytes: int = 0
    threads_per_allocation: int = 1
    number_of_allocations: int | UnsetType = UNSET
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
    reason: str | UnsetType = UNSET  # set if some allocations could not be placed
    start_time: str | int | UnsetType = UNSET  # ISO 8601, unlike `_stats`
    max_assigned_allocations: int | UnsetType = UNSET
    # Always present since 8.16.
    adaptive_allocations: AdaptiveSettingsDocument | UnsetType | None = UNSET


class AssignmentResponse(Struct, kw_only=True):
    """The response of `_start` and `_update`."""

    assignment: AssignmentDocument


class InferRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    id: str | UnsetType = UNSET  # that of the path counts
    docs: list[dict[str, Any]]
    timeout: str | UnsetType = UNSET
    inference_config: dict[str, Any] | UnsetType = UNSET


class InferResponse(Struct, frozen=True, kw_only=True):
    """One result per document; its fields depend on the task of the model."""

    inference_results: list[dict[str, Any]] = []
