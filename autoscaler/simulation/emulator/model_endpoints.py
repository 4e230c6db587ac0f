"""`_ml/trained_models`: models and their statistics."""

from collections.abc import Sequence
from typing import Annotated, Any

from msgspec import UNSET, Meta, Struct, UnsetType, field

from autoscaler.simulation.admission import LANGUAGE_IDENTIFICATION
from autoscaler.simulation.cluster import ModelSpec, SimulatedCluster
from autoscaler.simulation.emulator.bodies import parse_body, task_of
from autoscaler.simulation.emulator.calls import ApiEndpoint, Call
from autoscaler.simulation.emulator.emulation import Emulation, StoredModel
from autoscaler.simulation.emulator.matching import Page, find_page
from autoscaler.simulation.emulator.parameters import illegal_argument
from autoscaler.simulation.emulator.rendering import LANGUAGE_MODEL_BYTES, stats_document
from autoscaler.simulation.errors import SimulatedApiError
from autoscaler.simulation.model_registry import check_model_id

_INCLUDES = frozenset(
    {
        "definition",
        "definition_status",
        "feature_importance_baseline",
        "hyperparameters",
        "total_feature_importance",
    }
)
_GENERATED = ("model_id", "created_by", "version", "create_time", "model_size_bytes")
"""Fields that `exclude_generated` leaves out, so that the rest can create the model elsewhere."""

_PAGING = frozenset({"from", "size", "allow_no_match"})


async def get_stats(emulation: Emulation, call: Call) -> object:
    cluster = emulation.cluster
    deployed = {
        deployment.deployment_id: deployment.model_id for deployment in cluster.deployments.values()
    }
    return stats_document(
        cluster,
        _page(call, _model_ids(cluster), deployed),
        missing_nodes=emulation.faults.missing_nodes(),
        versions=emulation.node_versions,
        human=call.human,
    )


async def get_models(emulation: Emulation, call: Call) -> object:
    tags = [tag for tag in call.query.text("tags", "").split(",") if tag]
    tagged = [
        model_id
        for model_id in _model_ids(emulation.cluster)
        if set(tags) <= set(emulation.model(model_id).tags)
    ]
    page = _page(call, tagged, {})
    included = [part for part in call.query.text("include", "").split(",") if part]
    if unknown := sorted(set(included) - _INCLUDES):
        raise illegal_argument(
            f"unknown [include] parameter [{unknown[0]}]. Valid options are {sorted(_INCLUDES)}"
        )
    if "definition" in included:
        raise illegal_argument("[include] [definition] is not emulated: no definitions are stored")
    configs = [_configuration(emulation, model_id) for model_id in page.models]
    for config in configs:
        if "definition_status" in included:
            config["fully_defined"] = True
        if call.query.boolean("exclude_generated", False):
            for name in _GENERATED:
                config.pop(name, None)
    return {"count": page.count, "trained_model_configs": configs}


def _model_ids(cluster: SimulatedCluster) -> list[str]:
    return [*cluster.models, LANGUAGE_IDENTIFICATION]


_SIZE_BYTES = 100_000_000  # of a model whose size is not given


class Emulated(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The section `emulator` of a model: properties that would follow from its weights."""

    size_bytes: int | None = None  # None: `model_size_bytes`
    service_time_s: float = 0.04
    service_cv: float = 0.7
    load_s: float | None = None
    cache_hit_fraction: float = 0.0


class ModelInput(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    field_names: Annotated[tuple[str, ...], Meta(min_length=1)] = ("text_field",)


class PutModelRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of a new model. What has no effect is stored and returned."""

    model_type: str = "pytorch"
    emulator: Emulated = Emulated()
    description: str | UnsetType = UNSET
    inference_config: dict[str, dict[str, Any]] = field(
        default_factory=lambda: {"text_embedding": {}}
    )
    input: ModelInput = ModelInput()
    metadata: dict[str, Any] | UnsetType = UNSET
    model_size_bytes: Annotated[int, Meta(ge=1)] | UnsetType = UNSET
    prefix_strings: dict[str, str] | UnsetType = UNSET
    tags: tuple[str, ...] = ()
    platform_architecture: str | UnsetType = UNSET


async def put_model(emulation: Emulation, call: Call) -> object:
    model_id = call.ids["model_id"]
    request = parse_body(call.body, PutModelRequest, parser="trained_model_config")
    if request.model_type != "pytorch":
        raise illegal_argument(
            f"only models of type [pytorch] can be emulated, but [{model_id}] is of type "
            f"[{request.model_type}]"
        )
    task_of(request.inference_config, parser="trained_model_config")
    check_model_id(model_id)
    if model_id == LANGUAGE_IDENTIFICATION:
        raise SimulatedApiError(
            400, "resource_already_exists_exception", f"Trained model [{model_id}] already exists"
        )
    for tag in request.tags:
        if tag in emulation.cluster.models:
            raise SimulatedApiError(
                400, "validation_exception", f"the tag [{tag}] is the id of a model"
            )
    emulated = request.emulator
    emulation.cluster.put_model(
        ModelSpec(
            model_id=model_id,
            size_bytes=emulated.size_bytes or _given_size(request),
            service_time_s=emulated.service_time_s,
            service_cv=emulated.service_cv,
            load_s=emulated.load_s,
            cache_hit_fraction=emulated.cache_hit_fraction,
        )
    )
    emulation.models[model_id] = StoredModel(
        created_at=emulation.clock.now(),
        field_names=request.input.field_names,
        tags=request.tags,
        settings={
            name: value
            for name in (
                "description",
                "inference_config",
                "metadata",
                "prefix_strings",
                "platform_architecture",
            )
            if (value := getattr(request, name)) is not UNSET
        },
    )
    return _configuration(emulation, model_id)


def _given_size(request: PutModelRequest) -> int:
    size_bytes = request.model_size_bytes
    return _SIZE_BYTES if isinstance(size_bytes, UnsetType) else size_bytes


async def delete_model(emulation: Emulation, call: Call) -> object:
    model_id = call.ids["model_id"]
    if call.query.boolean("force", False):
        deployed = [
            deployment.deployment_id
            for deployment in emulation.cluster.deployments.values()
            if deployment.model_id == model_id
        ]
        for deployment_id in deployed:
            emulation.cluster.stop_deployment(deployment_id, force=True)
    emulation.cluster.delete_model(model_id)
    emulation.models.pop(model_id, None)
    return {"acknowledged": True}


def _page(call: Call, models: Sequence[str], deployed: dict[str, str]) -> Page:
    start, size = call.query.integer("from"), call.query.integer("size")
    for name, value in (("from", start), ("size", size)):
        if value is not None and value < 0:
            raise illegal_argument(f"Parameter [{name}] cannot be < 0")
    return find_page(
        call.ids.get("ids", ""),
        models,
        deployed,
        start=start or 0,
        size=100 if size is None else size,
        allow_no_match=call.query.boolean("allow_no_match", True),
    )


def _configuration(emulation: Emulation, model_id: str) -> dict[str, object]:
    model, stored = emulation.cluster.models.get(model_id), emulation.model(model_id)
    common = {
        "model_id": model_id,
        "version": emulation.cluster.behaviour.number,
        "create_time": round(stored.created_at * 1000),
        "tags": stored.tags,
    }
    if model is None:
        return {
            **common,
            "model_type": "lang_ident",
            "created_by": "_xpack",
            "input": {"field_names": ["text"]},
            "inference_config": {"classification": {"num_top_classes": 5}},
            "model_size_bytes": LANGUAGE_MODEL_BYTES,
        }
    settings = dict(stored.settings)
    settings["inference_config"] = {
        task: {"vocabulary": _VOCABULARY, **config}
        for task, config in settings["inference_config"].items()
    }
    return {
        **common,
        "model_type": "pytorch",
        "created_by": "api_user",
        "input": {"field_names": stored.field_names},
        "model_size_bytes": model.size_bytes,
        **settings,
    }


_VOCABULARY = {"index": ".ml-inference-native-000002"}
"""Where the vocabulary of a model is stored. The server adds it to what was sent."""


_GET, _STATS = (
    "cluster:monitor/xpack/ml/inference/get",
    "cluster:monitor/xpack/ml/inference/stats/get",
)
_MODELS = "/_ml/trained_models"
_GET_PARAMETERS = _PAGING | {"include", "decompress_definition", "exclude_generated", "tags"}

ENDPOINTS = (
    ApiEndpoint(
        method="GET",
        path=f"{_MODELS}/_stats",
        handler=get_stats,
        action=_STATS,
        parameters=_PAGING,
    ),
    ApiEndpoint(
        method="GET",
        path=f"{_MODELS}/{{ids}}/_stats",
        handler=get_stats,
        action=_STATS,
        parameters=_PAGING,
    ),
    ApiEndpoint(
        method="GET", path=_MODELS, handler=get_models, action=_GET, parameters=_GET_PARAMETERS
    ),
    ApiEndpoint(
        method="GET",
        path=f"{_MODELS}/{{ids}}",
        handler=get_models,
        action=_GET,
        parameters=_GET_PARAMETERS,
    ),
    ApiEndpoint(
        method="PUT",
        path=f"{_MODELS}/{{model_id}}",
        handler=put_model,
        action="cluster:admin/xpack/ml/inference/put",
        parameters=frozenset({"defer_definition_decompression", "wait_for_completion"}),
        needs_master=True,
    ),
    ApiEndpoint(
        method="DELETE",
        path=f"{_MODELS}/{{model_id}}",
        handler=delete_model,
        action="cluster:admin/xpack/ml/inference/delete",
        parameters=frozenset({"force", "timeout"}),
        needs_master=True,
    ),
)
