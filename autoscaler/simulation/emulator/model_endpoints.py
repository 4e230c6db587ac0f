"""`_ml/trained_models`: models and their statistics."""

from msgspec import UNSET, Struct, UnsetType

from autoscaler.simulation.cluster import ModelSpec, SimulatedCluster
from autoscaler.simulation.emulator.bodies import parse_body
from autoscaler.simulation.emulator.calls import ApiEndpoint, Call
from autoscaler.simulation.emulator.emulation import Emulation
from autoscaler.simulation.emulator.matching import Page, find_page
from autoscaler.simulation.emulator.parameters import illegal_argument
from autoscaler.simulation.emulator.rendering import stats_document
from autoscaler.simulation.errors import SimulatedApiError

LANGUAGE_IDENTIFICATION = "lang_ident_model_1"
"""The built-in model of every cluster, which cannot be deployed."""

_PAGING = frozenset({"from", "size", "allow_no_match"})


async def get_stats(emulation: Emulation, call: Call) -> object:
    cluster = emulation.cluster
    deployed = {
        deployment.deployment_id: deployment.model_id for deployment in cluster.deployments.values()
    }
    return stats_document(
        cluster,
        _page(call, cluster, deployed),
        missing_nodes=emulation.faults.missing_nodes(),
        versions=emulation.node_versions,
        human=call.human,
    )


async def get_models(emulation: Emulation, call: Call) -> object:
    page = _page(call, emulation.cluster, {})
    configs = [_configuration(emulation, model_id) for model_id in page.models]
    return {"count": page.count, "trained_model_configs": configs}


class Emulated(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The section `emulator` of a model: properties that would follow from its weights."""

    size_bytes: int = 100_000_000
    service_time_s: float = 0.04
    service_cv: float = 0.7
    load_s: float | None = None
    cache_hit_fraction: float = 0.0


class PutModelRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of a new model. Fields that the emulator does not need are accepted and ignored."""

    model_type: str = "pytorch"
    emulator: Emulated = Emulated()
    description: str | UnsetType = UNSET
    inference_config: object = None
    input: object = None
    metadata: object = None
    prefix_strings: object = None
    tags: list[str] = []
    platform_architecture: str | UnsetType = UNSET


async def put_model(emulation: Emulation, call: Call) -> object:
    model_id = call.ids["model_id"]
    request = parse_body(call.body, PutModelRequest, parser="trained_model_config")
    if request.model_type != "pytorch":
        raise illegal_argument(
            f"only models of type [pytorch] can be emulated, but [{model_id}] is of type "
            f"[{request.model_type}]"
        )
    if model_id == LANGUAGE_IDENTIFICATION:
        raise SimulatedApiError(
            400, "resource_already_exists_exception", f"Trained model [{model_id}] already exists"
        )
    emulated = request.emulator
    emulation.cluster.put_model(
        ModelSpec(
            model_id=model_id,
            size_bytes=emulated.size_bytes,
            service_time_s=emulated.service_time_s,
            service_cv=emulated.service_cv,
            load_s=emulated.load_s,
            cache_hit_fraction=emulated.cache_hit_fraction,
        )
    )
    return _configuration(emulation, model_id)


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
    return {"acknowledged": True}


def _page(call: Call, cluster: SimulatedCluster, deployed: dict[str, str]) -> Page:
    start, size = call.query.integer("from"), call.query.integer("size")
    for name, value in (("from", start), ("size", size)):
        if value is not None and value < 0:
            raise illegal_argument(f"Parameter [{name}] cannot be < 0")
    return find_page(
        call.ids.get("ids", ""),
        [*cluster.models, LANGUAGE_IDENTIFICATION],
        deployed,
        start=start or 0,
        size=100 if size is None else size,
        allow_no_match=call.query.boolean("allow_no_match", True),
    )


def _configuration(emulation: Emulation, model_id: str) -> dict[str, object]:
    model = emulation.cluster.models.get(model_id)
    common = {
        "model_id": model_id,
        "version": emulation.cluster.behaviour.number,
        "input": {"field_names": ["text_field" if model else "text"]},
        "tags": [],
    }
    if model is None:
        return {**common, "model_type": "lang_ident", "created_by": "_xpack"}
    return {
        **common,
        "model_type": "pytorch",
        "created_by": "api_user",
        "inference_config": {"text_embedding": {}},
        "model_size_bytes": model.size_bytes,
    }


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
