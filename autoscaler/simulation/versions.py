"""The versions of Elasticsearch that can be emulated, and the table of their differences.

The facts of `VersionBehaviour` are the table of docs/emulator.md; each has a test that shows it.
"""

from msgspec import Struct

from autoscaler.simulation.version_facts import Fact, Release, Since, release_of

_LAST_MINOR = {8: 19, 9: 5}
_TYPES = "the published types of the JavaScript client"
_FIRST = Release(8, 6)  # the first with `_update`

SERVERLESS = "serverless"
SUPPORTED = f"8.6 to 8.19, 9.0 to 9.5, and {SERVERLESS}"

_SERVERLESS_REPORTS = "8.11.0"
"""The version that serverless reports. It has no meaning, and the value is arbitrary."""


class VersionBehaviour(Struct, frozen=True, kw_only=True, dict=True):
    """How one version behaves where versions differ, defects included.

    Paths of files are those in elastic/elasticsearch; "core", "ml" and "inference" are its plugins.
    Patch versions are from the release notes, those before 9.0 from the release dates.
    """

    release: Release  # serverless: the newest
    serverless: bool  # adaptive allocations always, nodes unseen, some endpoints missing

    # Deployments

    deployment_id = Since(
        "8.8",
        "several deployments of a model, `deployment_id`",
        source="core/action/StartTrainedModelDeploymentAction.java",
    )
    start_timeout_s = Fact(
        "seconds that `_start` waits by default", 20.0, {"8.7": 30.0}, source="#92328"
    )
    memory_parameters = Since(
        "8.11",
        "memory of a deployment and of an allocation in assignments",
        source="core/inference/assignment/TrainedModelAssignment.java",
    )
    update_query_parameter = Since(
        "8.15", "`?number_of_allocations=` of `_update`", source="#108868"
    )
    update_may_be_empty = Since(
        "8.15",
        "`_update` with an empty object changes nothing, and is no 400",
        source="core/action/UpdateTrainedModelDeploymentAction.java",
        note="It came with the code of adaptive allocations.",
    )
    queue_capacity = Fact("default `queue_capacity`", 1024, {"8.17": 10_000}, source="#115041")
    max_queue_capacity = Fact(
        "maximum `queue_capacity`", 1_000_000, {"8.17": 100_000}, source="#115041"
    )
    process_memory = Since(
        "9.4",
        "`average_inference_process_memory_rss_bytes` in the statistics",
        source="the published types of 9.4",
        note="`runtime_native_memory_bytes` and its peak (#156891) are in no emulated version; "
        "`memory_statistics` of a scenario switches them on.",
    )
    drains = Since(
        "8.18.8, 8.19.5, 9.0.8, 9.1.5, 9.2",
        "a removed process finishes its queue",
        source="#134673",
    )
    low_priority_check = Since(
        "8.19.10, 9.2.4, 9.3",
        "`_update` refuses a second allocation of low priority",
        source="#139989",
    )
    failed_start_is_a_conflict = Since(
        "9.4.7, 9.5.4",
        "`_start` with a failed route, as on a node without room, returns 409 instead of 500",
        source="#155310",
        note="It turned a 5xx into a 4xx, so the refusal of the planner, a 429 before, is assumed "
        "to be one still. A late patch of 8.19, which one is unknown, is emulated without it.",
    )

    # Adaptive allocations

    adaptive_allocations = Since(
        "8.16",
        "`adaptive_allocations`",
        source="core/inference/assignment/AdaptiveAllocationsSettings.java",
        note="8.15 has them behind a feature flag, which is emulated as off.",
    )
    zero_allocations = Since("8.16", "adaptive allocations scale to zero", source="#113455")
    zero_is_fully_allocated = Since(
        "8.16", "zero of zero allocations count as fully allocated", source="#114570"
    )
    scale_to_zero_s = Fact[float | None](
        "seconds without requests after which adaptive allocations scale to zero",
        None,
        {"8.16": 900.0, "8.19, 9.1": 86_400.0},
        source="#128914",
    )
    adaptive_times_are_settings = Since(
        "8.19, 9.1",
        "`scale_to_zero_time` and `scale_up_cooldown_time` are cluster settings",
        source="#128914, #137216",
    )
    respects_slow_starts = Since(
        "8.17",
        "adaptive allocations do not decrease while new allocations load or are young",
        source="#125297",
    )

    # Inference endpoints

    inference_api = Since(
        "8.11", "`_inference`", source="elastic/elasticsearch-specification, inference"
    )
    endpoint_list = Fact(
        "key of the list of endpoints",
        "models",
        {"8.15": "endpoints"},
        source="#107704, #111366",
    )
    lists_one_endpoint_each = Since(
        "8.16",
        "the list names one endpoint of each deployment only",
        until="8.18",
        source="#121821",
        note="It is the last one that is read; the last by id is emulated.",
    )
    inference_update = Since(
        "8.17", "`_update` of an endpoint, of `num_allocations` only at first", source="#114457"
    )
    updates_attached_endpoints = Since(
        "8.18",
        "`_update` of an endpoint that is attached to a deployment is no 404",
        source="#121231",
    )
    task_type_in_body = Since(
        "8.18", "`_update` of an endpoint takes the task type in the body too", source="#121231"
    )
    inference_adaptive = Since(
        "9.2",
        "`_update` of an endpoint takes `adaptive_allocations` too, but not both together",
        source="seen in #137129",
    )
    endpoint_update_timeout = Since(
        "9.5", "`?timeout=` of `_update` of an endpoint", source="#152179"
    )
    endpoint_keeps_settings = Since(
        "9.2",
        "`_update` of an endpoint replaces what it has stored, and does nothing if it is the same",
        source="inference/action/TransportUpdateInferenceModelAction.java",
        note="Seen in the newest source; that 9.2 is the first version with it is assumed.",
    )
    inference_threads_fixed = Since(
        "9.2.2, 9.3",
        "`_update` of an endpoint refuses `num_threads` instead of ignoring it",
        source="#138122",
    )
    endpoint_owned_conflict = Since(
        "9.2",
        "`_update` refuses deployments that an endpoint owns, and that of an endpoint those that "
        "it does not own",
        source="#130940",
    )
    stop_guard = Since(
        "8.18.4, 8.19, 9.0.4, 9.1",
        "`_stop` refuses deployments that an endpoint owns or uses",
        source="#129325",
    )

    # Fields of responses

    feature_frozen_indices = Since(
        "8.6", "`_xpack` lists `frozen_indices`", until="9.0", source=_TYPES
    )
    features_of_8_16 = Since(
        "8.16",
        "`_xpack` lists `enterprise_search`, `esql`, `logsdb` and `universal_profiling`",
        source=_TYPES,
        note="Some of them may be listed earlier.",
    )
    feature_gpu_vector_indexing = Since(
        "9.3", "`_xpack` lists `gpu_vector_indexing`", source=_TYPES
    )
    transport_version_of_nodes = Since("8.8", "`transport_version` in `_nodes`", source="#94669")
    index_version_of_nodes = Since(
        "8.11", "`index_version` and `component_versions` in `_nodes`", source="#99515, #99631"
    )
    unassigned_primary_shards = Since(
        "8.16", "`unassigned_primary_shards` in `_cluster/health`", source="#112024"
    )
    model_platform_variant = Since("9.5", "`model_platform_variant` in `_ml/info`", source=_TYPES)
    managed_api_keys = Since(
        "9.1", "`managed_by` of an API key in `_security/_authenticate`", source="#129227"
    )
    deployment_infer = Since(
        "8.6",
        "`deployment/_infer`, of one document, beside `_infer`",
        until="9.0",
        source="`RestInferTrainedModelDeploymentAction`",
        note="That 9.0 is the first without it is not certain.",
    )
    empty_task_settings = Since(
        "8.11", "`task_settings` of an endpoint are shown empty", until="8.16", source=_TYPES
    )

    # Defects

    start_forgets_zero = Since(
        "9.1",
        "defect: starting a deployment deletes deployments with 0 allocations",
        until="9.3",
        source="#137134, #137244",
        note="The fix is in the notes of 9.3.0 and of no earlier patch; that 9.1 was the first is "
        "hearsay.",
    )
    shutdown_forgets_zero = Since(
        "8.16",
        "defect: the shutdown of a node deletes deployments with 0 allocations",
        until="9.3.5, 9.4",
        source="#146806, #146910",
    )
    waits_through_failures = Since(
        "9.4.7, 9.5.4",
        "a request that waits for an allocation waits on, up to its time-out, when all routes have "
        "failed; before, it is a 500",
        source="#155310, `InferenceWaitForAllocation`",
        note="As with the 409 of `_start`, 8.19 is emulated without it.",
    )
    waiting_count_drifts = Since(
        "8.16",
        "defect: a waiting request that fails, because the deployment is removed or all its routes "
        "have failed, leaves the count of waiting requests twice, so that more than 99 may wait",
        until="9.4.6, 9.5.1",
        source="#154483, #154577",
        note="The fix was merged on 27 July 2026; that these are the first releases with it is "
        "inferred. A patch of 8.19, which one is unknown, has it too; 8.19 is emulated without it.",
    )
    waits_for_requested_id = Since(
        "8.16",
        "defect: at 0 allocations, `_infer` by the id of the model, where that of the deployment "
        "differs, scales the deployment up and returns 409",
        until="9.4.5, 9.5",
        source="#146835, #153213",
        note="One of the last patches of 8.19 has the fix; which one is unknown, so 8.19 is "
        "emulated without it.",
    )

    @property
    def number(self) -> str:
        """The full version, such as "8.19.4"; serverless: the newest."""
        return str(self.release)

    @property
    def major(self) -> int:
        return self.release.major

    @property
    def reported_number(self) -> str:
        """The version that `GET /` reports."""
        return _SERVERLESS_REPORTS if self.serverless else self.number


def behaviour_of(version: str) -> VersionBehaviour:
    """The behaviour of a version: a minor such as "8.19", meaning its first patch, or a full one.

    Serverless, which has no version, is the newest supported version with its own differences.

    Raises:
        ValueError: no such version can be emulated.

    >>> behaviour_of("8.16").number
    '8.16.0'
    >>> behaviour_of("8.19.4").queue_capacity
    10000
    >>> behaviour_of("serverless").serverless
    True
    """
    if version == SERVERLESS:
        return VersionBehaviour(release=Release(9, _LAST_MINOR[9]), serverless=True)
    try:
        release = release_of(version)
    except ValueError as error:
        raise ValueError(f"{error}, or {SERVERLESS!r}") from error
    if release < _FIRST or release.minor > _LAST_MINOR.get(release.major, -1):
        raise ValueError(f"Elasticsearch {version} cannot be emulated: choose from {SUPPORTED}")
    return VersionBehaviour(release=release, serverless=False)
