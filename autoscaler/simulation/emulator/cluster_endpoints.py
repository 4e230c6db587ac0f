"""The cluster as a whole: version, limits, licence, settings."""

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from autoscaler.simulation.emulator.bodies import parse_body
from autoscaler.simulation.emulator.calls import ApiEndpoint, Call
from autoscaler.simulation.emulator.cluster_settings import nested
from autoscaler.simulation.emulator.emulation import Emulation
from autoscaler.simulation.emulator.node_endpoints import BUILD_HASH, COORDINATOR
from autoscaler.simulation.emulator.rendering import iso_time
from autoscaler.simulation.versions import VersionBehaviour
from autoscaler.wire.cluster import (
    InfoResponse,
    LicenseDocument,
    LicenseResponse,
    MlInfoResponse,
    MlLimits,
    NativeCode,
    VersionDocument,
)

_BUILD_DATE = "2025-06-01T00:00:00.000Z"
_LICENCE_UID = "00000000-0000-0000-0000-000000000000"
_ISSUED_AT = 1_750_000_000.0
_VALID_S = 30 * 86_400.0


async def get_info(emulation: Emulation, call: Call) -> InfoResponse:
    behaviour = emulation.cluster.behaviour
    major = behaviour.major
    return InfoResponse(
        name=COORDINATOR.name,
        cluster_name=emulation.name,
        cluster_uuid=emulation.uuid,
        version=VersionDocument(
            number=behaviour.reported_number,
            build_flavor="serverless" if behaviour.serverless else "default",
            build_type="docker",
            build_hash=BUILD_HASH,
            build_date=_BUILD_DATE,
            lucene_version="10.1.0" if major >= 9 else "9.12.0",
            minimum_wire_compatibility_version="8.19.0" if major >= 9 else "7.17.0",
            minimum_index_compatibility_version=f"{major - 1}.0.0",
        ),
        tagline="You Know, for Search",
    )


async def get_ml_info(emulation: Emulation, call: Call) -> MlInfoResponse:
    cluster = emulation.cluster
    sizes = [cluster.memory_of(node_id).ml_max_bytes for node_id in cluster.nodes]
    limits = MlLimits(
        total_ml_memory=_whole_megabytes(sum(sizes)),
        effective_max_model_memory_limit=_whole_megabytes(max(sizes, default=0)),
    )
    if cluster.behaviour.adaptive_allocations and not cluster.hardware_can_grow:
        limits.total_ml_processors = sum(node.processors for node in cluster.nodes.values())
        limits.max_single_ml_node_processors = max(
            (node.processors for node in cluster.nodes.values()), default=0
        )
    return MlInfoResponse(
        defaults=_ml_defaults(cluster.behaviour),
        upgrade_mode=cluster.upgrade_mode,
        native_code=NativeCode(version=cluster.behaviour.number, build_hash="00000000000000"),
        limits=limits,
    )


def _ml_defaults(behaviour: VersionBehaviour) -> dict[str, object]:
    """The defaults of anomaly detection, which is not emulated.

    The categorization analyzer lacks its filters, which list the names of days and months.
    """
    defaults: dict[str, object] = {
        "anomaly_detectors": {
            "categorization_analyzer": {
                "char_filter": ["first_line_with_letters"],
                "tokenizer": "ml_standard",
            },
            "categorization_examples_limit": 4,
            "daily_model_snapshot_retention_after_days": 1,
            "model_memory_limit": "1gb",
            "model_snapshot_retention_days": 10,
        },
        "datafeeds": {"scroll_size": 1000},
    }
    if behaviour.model_platform_variant:
        defaults["model_platform_variant"] = "linux-x86_64"
    return defaults


async def set_upgrade_mode(emulation: Emulation, call: Call) -> object:
    emulation.cluster.upgrade_mode = call.query.boolean("enabled", False)
    return {"acknowledged": True}


async def get_license(emulation: Emulation, call: Call) -> LicenseResponse:
    expires_at = _licence_expires_at(emulation)
    return LicenseResponse(
        license=LicenseDocument(
            status="expired" if emulation.licence_expired else "active",
            uid=_LICENCE_UID,
            type="trial",
            issue_date=iso_time(_ISSUED_AT),
            issue_date_in_millis=round(_ISSUED_AT * 1000),
            expiry_date=iso_time(expires_at),
            expiry_date_in_millis=round(expires_at * 1000),
            max_nodes=1000,
            issued_to=emulation.name,
            issuer="elasticsearch",
            start_date_in_millis=-1,
        )
    )


def _licence_expires_at(emulation: Emulation) -> float:
    return emulation.clock.now() + (-86_400.0 if emulation.licence_expired else _VALID_S)


async def get_xpack(emulation: Emulation, call: Call) -> object:
    valid = not emulation.licence_expired
    return {
        "build": {"hash": BUILD_HASH, "date": _BUILD_DATE},
        "license": {
            "uid": _LICENCE_UID,
            "type": "trial",
            "mode": "trial",
            "status": "active" if valid else "expired",
            "expiry_date_in_millis": round(_licence_expires_at(emulation) * 1000),
        },
        "features": {
            name: {
                "available": valid or name not in _LICENSED_FEATURES,
                "enabled": name != "security" or emulation.security is not None,
            }
            for name in _features(emulation.cluster.behaviour)
        },
        "tagline": "You know, for X",
    }


_FEATURES = [
    "aggregate_metric",
    "analytics",
    "archive",
    "ccr",
    "data_streams",
    "data_tiers",
    "enrich",
    "eql",
    "graph",
    "ilm",
    "logstash",
    "ml",
    "monitoring",
    "rollup",
    "searchable_snapshots",
    "security",
    "slm",
    "spatial",
    "sql",
    "transform",
    "voting_only",
    "watcher",
]

_LICENSED_FEATURES = frozenset(
    [
        "archive",
        "ccr",
        "enterprise_search",
        "gpu_vector_indexing",
        "graph",
        "logstash",
        "ml",
        "searchable_snapshots",
        "watcher",
    ]
)
"""Features that are not available without a valid licence."""


def _features(behaviour: VersionBehaviour) -> Sequence[str]:
    """The names of the features that a version has, sorted."""
    features = list(_FEATURES)
    if behaviour.feature_frozen_indices:
        features.append("frozen_indices")
    if behaviour.features_of_8_16:
        features += ["enterprise_search", "esql", "logsdb", "universal_profiling"]
    if behaviour.feature_gpu_vector_indexing:
        features.append("gpu_vector_indexing")
    return sorted(features)


async def get_settings(emulation: Emulation, call: Call) -> object:
    shown = emulation.settings.shown(
        emulation.cluster.behaviour, defaults=call.query.boolean("include_defaults", False)
    )
    return _settings_document(shown, call)


class PutSettingsRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    persistent: dict[str, Any] = {}
    transient: dict[str, Any] = {}


async def put_settings(emulation: Emulation, call: Call) -> object:
    """Settings act at once. A null resets one, or all that match a pattern."""
    request = parse_body(call.body, PutSettingsRequest, parser="cluster_update_settings_request")
    cluster, settings = emulation.cluster, emulation.settings
    made = settings.update(cluster.behaviour, request.persistent, request.transient)
    cluster.settings = settings.effect(cluster.behaviour)
    return {"acknowledged": True, **_settings_document(made, call)}


def _settings_document(
    settings: Mapping[str, Mapping[str, str]], call: Call
) -> dict[str, Mapping[str, Any]]:
    if call.query.boolean("flat_settings", False):
        return dict(settings)
    return {kind: nested(values) for kind, values in settings.items()}


def _whole_megabytes(size_bytes: int) -> str:
    return f"{size_bytes // 2**20}mb"


async def get_pipelines(emulation: Emulation, call: Call) -> Mapping[str, Any]:
    """The ingest pipelines, after one that every cluster has."""
    built_in = {"set": {"field": "@timestamp", "value": "now"}}
    pipelines = {"logs@default-pipeline": {"processors": [built_in]}}
    for name, used in emulation.cluster.pipelines.items():
        pipelines[name] = {"processors": [{"inference": {"model_id": used}}]}
    if call.query.boolean("summary", False):
        return {name: {} for name in pipelines}
    return pipelines


_STATE = "cluster:monitor/state"

ENDPOINTS = (
    ApiEndpoint(method="GET", path="/", handler=get_info, action="cluster:monitor/main"),
    ApiEndpoint(method="HEAD", path="/", handler=get_info, action="cluster:monitor/main"),
    ApiEndpoint(
        method="GET",
        path="/_ml/info",
        handler=get_ml_info,
        action="cluster:monitor/xpack/ml/info/get",
    ),
    ApiEndpoint(
        method="POST",
        path="/_ml/set_upgrade_mode",
        handler=set_upgrade_mode,
        action="cluster:admin/xpack/ml/upgrade_mode",
        parameters=frozenset({"enabled", "timeout"}),
        needs_master=True,
    ),
    ApiEndpoint(
        method="GET",
        path="/_license",
        handler=get_license,
        action="cluster:monitor/xpack/license/get",
        parameters=frozenset({"accept_enterprise", "local"}),
    ),
    ApiEndpoint(
        method="GET",
        path="/_xpack",
        handler=get_xpack,
        action="cluster:monitor/xpack/info",
        parameters=frozenset({"accept_enterprise", "categories"}),
    ),
    ApiEndpoint(
        method="GET",
        path="/_ingest/pipeline",
        handler=get_pipelines,
        action="cluster:admin/ingest/pipeline/get",
        parameters=frozenset({"master_timeout", "summary"}),
    ),
    ApiEndpoint(
        method="GET",
        path="/_cluster/settings",
        handler=get_settings,
        action=_STATE,
        parameters=frozenset({"flat_settings", "include_defaults", "master_timeout", "timeout"}),
    ),
    ApiEndpoint(
        method="PUT",
        path="/_cluster/settings",
        handler=put_settings,
        action="cluster:admin/settings/update",
        parameters=frozenset({"flat_settings", "master_timeout", "timeout"}),
        needs_master=True,
    ),
)
