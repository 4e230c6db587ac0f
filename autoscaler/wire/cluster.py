"""Documents about the cluster itself: version, nodes, memory, licence and security.

Source: elastic/elasticsearch-specification, `_global/info`, `nodes/info`, `ml/info`,
`ml/get_memory_stats`, `license/get`, `security/authenticate`, `security/has_privileges`. The
structs serve both directions; only fields that are read or rendered are declared.
"""

from typing import Annotated, Any

from msgspec import UNSET, Meta, Struct, UnsetType, field

from autoscaler.wire.bounds import Name

Bytes = Annotated[int, Meta(ge=0, lt=2**53)]
Processors = Annotated[float, Meta(ge=0.0, le=1e6)]


class VersionDocument(Struct, kw_only=True):
    number: Name = ""
    build_flavor: Name = ""  # "default", or "serverless", where `number` has no meaning
    build_type: str = ""
    build_hash: str = ""
    build_date: str = ""
    build_snapshot: bool = False
    lucene_version: str = ""
    minimum_wire_compatibility_version: str = ""
    minimum_index_compatibility_version: str = ""


class InfoResponse(Struct, kw_only=True):
    """`GET /`: the version of the node that responds. Others may differ during an upgrade."""

    name: Name = ""
    cluster_name: Name = ""
    cluster_uuid: Name = ""
    version: VersionDocument = field(default_factory=VersionDocument)
    tagline: str = ""


class NodeInfo(Struct, kw_only=True):
    name: Name = ""
    version: Name = ""
    roles: list[str] = []
    attributes: dict[str, str] = {}  # all values are strings


class NodesResponse(Struct, kw_only=True):
    """`GET _nodes`."""

    nodes: dict[Name, NodeInfo] = {}


class MlMemory(Struct, kw_only=True):
    """Reservations by the planner's formula, in bytes; nothing here is measured.

    All figures are always reported, so an absent one is unknown, and not 0.
    """

    max_in_bytes: Bytes = 0
    native_code_overhead_in_bytes: Bytes | UnsetType = UNSET
    anomaly_detectors_in_bytes: Bytes | UnsetType = UNSET
    data_frame_analytics_in_bytes: Bytes | UnsetType = UNSET
    native_inference_in_bytes: Bytes | UnsetType = UNSET

    @property
    def job_bytes(self) -> int | None:
        """Memory reserved for anomaly detection and data frame analytics; None: unknown."""
        return _sum(self.anomaly_detectors_in_bytes, self.data_frame_analytics_in_bytes)

    @property
    def free_bytes(self) -> int | None:
        """Memory of the node that is left for further deployments, at most; None: unknown.

        Where what other jobs reserve is unknown, no deployment can have more than this.
        """
        taken = _sum(self.native_inference_in_bytes)
        if taken is None:
            return None
        others = (_sum(self.native_code_overhead_in_bytes), self.job_bytes)
        return max(0, self.max_in_bytes - taken - sum(other or 0 for other in others))


def _sum(*parts: int | UnsetType) -> int | None:
    known = [part for part in parts if isinstance(part, int)]
    return sum(known) if len(known) == len(parts) else None


class NodeMemoryDocument(Struct, kw_only=True):
    total_in_bytes: Bytes = 0
    adjusted_total_in_bytes: Bytes = 0
    ml: MlMemory = field(default_factory=MlMemory)


class JvmMemory(Struct, kw_only=True):
    heap_max_in_bytes: Bytes = 0
    java_inference_max_in_bytes: Bytes = 0
    java_inference_in_bytes: Bytes = 0


class MemoryOfNode(Struct, kw_only=True):
    name: Name = ""
    transport_address: str = ""
    attributes: dict[str, str] = {}
    roles: list[str] = []
    ephemeral_id: str = ""
    mem: NodeMemoryDocument = field(default_factory=NodeMemoryDocument)
    jvm: JvmMemory = field(default_factory=JvmMemory)


class NodesHeader(Struct, kw_only=True):
    total: int = 0
    successful: int = 0
    failed: int = 0


class MemoryResponse(Struct, kw_only=True):
    """`GET _ml/memory/_stats`: nodes without machine learning appear with zeros."""

    header: NodesHeader | UnsetType = field(default=UNSET, name="_nodes")
    cluster_name: str = ""
    nodes: dict[Name, MemoryOfNode] = {}


class NativeCode(Struct, kw_only=True):
    version: str = ""
    build_hash: str = ""


class MlLimits(Struct, kw_only=True):
    """Limits of the cluster. If nodes can be added, they include these nodes."""

    total_ml_memory: str | UnsetType = UNSET
    effective_max_model_memory_limit: str | UnsetType = UNSET
    max_model_memory_limit: str | UnsetType = UNSET
    total_ml_processors: Processors | UnsetType = UNSET
    max_single_ml_node_processors: Processors | UnsetType = UNSET


class MlInfoResponse(Struct, kw_only=True):
    """`GET _ml/info`."""

    defaults: dict[str, Any] = {}
    upgrade_mode: bool | None = None  # None: it has none, or an odd one
    native_code: NativeCode = field(default_factory=NativeCode)
    limits: MlLimits = field(default_factory=MlLimits)


class LicenseDocument(Struct, kw_only=True):
    status: Name = ""  # active, valid, invalid, expired
    uid: str = ""
    type: Name = ""  # trial, basic, gold, platinum, enterprise
    issue_date: str | UnsetType = UNSET
    issue_date_in_millis: int | UnsetType = UNSET
    expiry_date: str | UnsetType = UNSET
    expiry_date_in_millis: int | UnsetType = UNSET
    max_nodes: int | UnsetType | None = UNSET
    issued_to: str = ""
    issuer: str = ""
    start_date_in_millis: int | UnsetType = UNSET


class LicenseResponse(Struct, kw_only=True):
    """`GET _license`; a 404 for a short time after the start of a cluster."""

    license: LicenseDocument


class TrainedModel(Struct, kw_only=True):
    model_id: Name


class TrainedModelsResponse(Struct, kw_only=True):
    """`GET _ml/trained_models/{id}`, which accepts aliases."""

    trained_model_configs: list[TrainedModel]


class Realm(Struct, kw_only=True):
    name: str = ""
    type: str = ""


class ApiKeyInfo(Struct, kw_only=True):
    id: Name = ""
    name: Name = ""
    managed_by: str | UnsetType = UNSET  # "elasticsearch" or "cloud"


class AuthenticateResponse(Struct, kw_only=True):
    """`GET _security/_authenticate`: the authenticated user."""

    username: Name = ""
    roles: list[str] = []
    full_name: str | None = None
    email: str | None = None
    metadata: dict[str, Any] = {}
    enabled: bool = True
    authentication_realm: Realm = field(default_factory=Realm)
    lookup_realm: Realm = field(default_factory=Realm)
    authentication_type: str = ""  # realm, api_key, token, anonymous
    api_key: ApiKeyInfo | UnsetType = UNSET


class IndexPrivileges(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    names: list[str]
    privileges: list[str]


class HasPrivilegesRequest(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    cluster: list[str] = []
    index: list[IndexPrivileges] = []


class HasPrivilegesResponse(Struct, kw_only=True):
    """`POST _security/user/_has_privileges`."""

    username: str = ""
    has_all_requested: bool = False
    cluster: dict[str, bool] = {}
    index: dict[str, dict[str, bool]] = {}  # by the names that were asked for
    application: dict[str, Any] = {}
