"""One method per endpoint in use, with typed arguments, results and errors.

All methods raise `TransportError` and `ApiError`, as `Transport.send` does. A method that changes
something returns only if the response confirms the change; otherwise it raises `Unconfirmed`.
"""

import math
from collections.abc import Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import TypeVar
from urllib.parse import quote

import msgspec
from msgspec import UNSET, Struct, UnsetType

from autoscaler.adapters.elasticsearch.api_errors import ModelNotFound, NotFound
from autoscaler.adapters.elasticsearch.confirmation import (
    confirm_assignment,
    confirm_endpoint,
    confirm_stop,
)
from autoscaler.adapters.elasticsearch.error_rules import Operation
from autoscaler.adapters.elasticsearch.errors import GatewayError, MalformedResponse, TimedOut
from autoscaler.adapters.elasticsearch.http_request import HttpRequest, deployment_path
from autoscaler.adapters.elasticsearch.identity import ClusterIdentity
from autoscaler.adapters.elasticsearch.transport import Transport
from autoscaler.adapters.elasticsearch.transport_errors import while_collecting
from autoscaler.core.values import DeploymentStats
from autoscaler.in_parts import in_parts
from autoscaler.wire.bounds import STATISTICS
from autoscaler.wire.cluster import (
    AuthenticateResponse,
    HasPrivilegesRequest,
    HasPrivilegesResponse,
    IndexPrivileges,
    InfoResponse,
    LicenseDocument,
    LicenseResponse,
    MemoryResponse,
    MlInfoResponse,
    MlMemory,
    NodesResponse,
    TrainedModelsResponse,
)
from autoscaler.wire.deployments import (
    AdaptivePatchDocument,
    AssignmentDocument,
    AssignmentResponse,
    StartRequest,
    StopResponse,
    UpdateRequest,
)
from autoscaler.wire.inference import (
    EndpointDocument,
    EndpointList,
    EndpointPatch,
    MalformedEndpoints,
    UpdateEndpointRequest,
    parse_endpoints,
)
from autoscaler.wire.lenient import decode, parse_leniently, read_leniently
from autoscaler.wire.pipelines import FILTER_PATH as PIPELINE_FILTER_PATH
from autoscaler.wire.pipelines import MalformedPipelines, parse_models
from autoscaler.wire.stats import MAX_ROUTES_IN_ALL, MalformedStats, parse_stats_in_parts
from autoscaler.wire.stats_document import FILTER_PATH

PAGE_SIZE = 1000
"""Models per page. Without `size`, the server silently returns only the first 100."""

MAX_PAGES = 100

MAX_READ = 50_000
"""Deployments of all pages together. More are no statistics of a cluster."""

MAX_BYTES_IN_ALL = 4 * STATISTICS.max_bytes
"""Bytes of all pages together: eight times those of 5,000 deployments on ten nodes each."""

Response = TypeVar("Response")
Document = TypeVar("Document", bound=Struct)


class Statistics(Struct, frozen=True, kw_only=True):
    """All pages of `_stats`."""

    deployments: tuple[DeploymentStats, ...]
    unreadable: tuple[tuple[str, str], ...]  # (deployment id or place, error)
    unreadable_figures: tuple[tuple[str, str], ...]  # (deployment id, errors)
    unknown_figures: Mapping[str, tuple[str, ...]]  # of a decision, by deployment id
    requested_at: float  # when the request for the first page was sent
    arrived_at: float  # when the last page had arrived
    pipelines: Mapping[str, int | None] = {}  # that use it, by deployment id; None: not reported


class ElasticsearchApi:
    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self.identity = ClusterIdentity()

    def begin(self, opaque_id: str) -> None:
        """Set the X-Opaque-Id of the following requests, which appears in Elasticsearch's logs."""
        self._transport.opaque_id = opaque_id

    def change_until(self, until: float) -> None:
        """Send none of the following changes after this instant, in Unix seconds."""
        self._transport.changes_until = until

    async def stats(self, at: float = 0.0) -> Statistics:
        """The statistics of every deployment. A field of the time `at`, which no response has,
        makes each query a new one, so that no cache has a response to it."""
        fields = f"{FILTER_PATH},at{at * 1e3:.0f}"
        deployments: dict[str, DeploymentStats] = {}
        unreadable: dict[str, str] = {}
        figures: dict[str, str] = {}
        unknown: dict[str, tuple[str, ...]] = {}
        requested_at, arrived_at = math.inf, -math.inf
        pipelines: dict[str, int | None] = {}
        routes = size_bytes = 0
        for begin in range(0, MAX_PAGES * PAGE_SIZE, PAGE_SIZE):
            request = HttpRequest(
                method="GET",
                path="/_ml/trained_models/_stats",
                query={"from": str(begin), "size": str(PAGE_SIZE), "filter_path": fields},
                repeatable=True,
                bound=STATISTICS,
            )
            try:
                response = await self._transport.send_timed(request)
            except (TimedOut, GatewayError) as error:
                raise while_collecting(error) from error
            requested_at = min(requested_at, response.sent_at)
            arrived_at = max(arrived_at, response.arrived_at)
            try:
                page = await in_parts(parse_stats_in_parts(response.body))
            except MalformedStats as error:
                raise MalformedResponse(str(error)) from error
            routes += sum(len(stats.nodes) for stats in page.deployments)
            deployments.update((stats.deployment_id, stats) for stats in page.deployments)
            unreadable.update(page.unreadable)
            pipelines.update(page.pipelines)
            figures.update(page.unreadable_figures)
            unknown.update(page.unknown_figures)
            size_bytes += len(response.body)
            if (
                len(deployments) + len(unreadable) > MAX_READ
                or routes > MAX_ROUTES_IN_ALL
                or size_bytes > MAX_BYTES_IN_ALL
            ):
                raise MalformedResponse(
                    f"the statistics have more than {MAX_READ} deployments, {MAX_ROUTES_IN_ALL} "
                    f"nodes of all deployments together, or {MAX_BYTES_IN_ALL >> 20} MiB"
                )
            total = page.total_models
            # A model has at least one entry. Even a cluster without models states their count.
            if not page.entries and (begin == 0 if total is None else begin < total):
                raise MalformedResponse("the statistics lack models or a count; check any proxy")
            if page.entries < PAGE_SIZE if total is None else begin + PAGE_SIZE >= total:
                break
        return Statistics(
            deployments=tuple(each for id_, each in deployments.items() if id_ not in unreadable),
            unreadable=tuple(unreadable.items()),
            unreadable_figures=tuple(figures.items()),
            unknown_figures=unknown,
            requested_at=requested_at,
            arrived_at=arrived_at,
            pipelines=pipelines,
        )

    async def info(self, *, doubtful: bool = False) -> InfoResponse:
        return await self.identity.confirmed(self._info, doubtful=doubtful)

    async def _info(self) -> InfoResponse:
        return _read(await self._get("/"), InfoResponse, "/")

    async def nodes(self) -> NodesResponse:
        """The machine learning nodes."""
        path = "/_nodes/ml:true"
        fields = ("name", "version", "roles", "attributes")
        query = {"filter_path": ",".join(f"nodes.*.{field}" for field in fields)}
        return _read_leniently(await self._get(path, query), NodesResponse, path, "nodes")

    async def memory(self) -> MemoryResponse:
        """Machine learning memory per node; since 8.2."""
        path = "/_ml/memory/_stats"
        return _read_leniently(await self._get(path), MemoryResponse, path, "nodes")

    async def ml_info(self) -> MlInfoResponse:
        path = "/_ml/info"
        return _read_leniently(await self._get(path), MlInfoResponse, path, "")

    async def license(self) -> LicenseDocument:
        return _read(await self._get("/_license"), LicenseResponse, "/_license").license

    async def authenticate(self) -> AuthenticateResponse:
        path = "/_security/_authenticate"
        return _read(await self._get(path), AuthenticateResponse, path)

    async def has_privileges(
        self,
        cluster: tuple[str, ...] = (),
        index: Mapping[str, tuple[str, ...]] = MappingProxyType({}),
    ) -> HasPrivilegesResponse:
        """Which of the given privileges the user has: of the cluster, and of indices by name."""
        path = "/_security/user/_has_privileges"
        on_indices = [
            IndexPrivileges(names=[name], privileges=list(privileges))
            for name, privileges in index.items()
        ]
        asked = HasPrivilegesRequest(cluster=list(cluster), index=on_indices)
        request = HttpRequest(
            method="POST",
            path=path,
            body=msgspec.json.encode(asked),
            repeatable=True,  # only reads, in spite of its method
        )
        return _read(await self._transport.send(request), HasPrivilegesResponse, path)

    async def update(
        self,
        deployment_id: str,
        *,
        allocations: int | UnsetType = UNSET,
        adaptive: AdaptivePatchDocument | UnsetType | None = UNSET,
    ) -> AssignmentDocument:
        """Set the allocations, the settings of adaptive allocations, or both. Since 8.6.

        `allocations` with `AdaptivePatchDocument(enabled=False)` takes a deployment over in one
        call. None for `adaptive` removes its settings. All parameters are in the body, because the
        server ignores the body if there is a query parameter (elastic/elasticsearch,
        `RestUpdateTrainedModelDeploymentAction.java`).
        """
        assignment = await self._assign(
            deployment_id,
            Operation.UPDATE,
            UpdateRequest(number_of_allocations=allocations, adaptive_allocations=adaptive),
        )
        confirm_assignment(assignment, "_update", deployment_id)
        return assignment

    async def inference_endpoints(self) -> EndpointList:
        """The endpoints of the inference API, of all services. Needs `monitor_inference`."""
        return await self._endpoints("/_inference/_all")

    async def inference_endpoint(self, inference_id: str) -> EndpointDocument | None:
        """One endpoint; None: there is none with this id. Needs `monitor_inference`."""
        path = f"/_inference/{quote(inference_id, safe='')}"
        try:
            found = await self._endpoints(path)
        except NotFound as error:
            # "Model not found" in early versions, "Inference endpoint not found" in later ones.
            named = "not found" in error.reason.lower() and f"[{inference_id}]" in error.reason
            if error.type == "resource_not_found_exception" and named:
                return None
            raise
        for endpoint in found.endpoints:
            if endpoint.inference_id == inference_id:
                return endpoint
        raise MalformedResponse(f"the response of {path} does not describe {inference_id}")

    async def _endpoints(self, path: str) -> EndpointList:
        try:
            return parse_endpoints(await self._get(path))
        except MalformedEndpoints as error:
            raise MalformedResponse(f"the response of {path} cannot be read: {error}") from error

    async def pipeline_models(self) -> dict[str, str]:
        """The names of models in ingest pipelines, with a pipeline each. Needs `read_pipeline`."""
        path = "/_ingest/pipeline"
        try:
            return parse_models(await self._get(path, {"filter_path": PIPELINE_FILTER_PATH}))
        except NotFound as error:
            if error.type or error.reason != "{}":  # the response where there are no pipelines
                raise
            return {}
        except MalformedPipelines as error:
            raise MalformedResponse(f"the response of {path} cannot be read: {error}") from error

    async def resolved_model(self, name: str) -> str | None:
        """The id of the model with this id or alias; None: there is none."""
        path = f"/_ml/trained_models/{quote(name, safe='')}"
        query = {"filter_path": "trained_model_configs.model_id"}
        try:
            found = _read(await self._get(path, query), TrainedModelsResponse, path)
        except ModelNotFound:
            return None
        if len(found.trained_model_configs) != 1:
            raise MalformedResponse(f"the response of {path} does not describe one model")
        return found.trained_model_configs[0].model_id

    async def update_endpoint(
        self,
        endpoint: EndpointDocument,
        *,
        allocations: int | UnsetType = UNSET,
        adaptive: AdaptivePatchDocument | UnsetType = UNSET,
    ) -> EndpointDocument:
        """Set the allocations or `adaptive` of a deployment that an endpoint owns. Since 8.17.

        Needs `manage_inference`. Returns the endpoint after the update: the first versions refuse
        `adaptive` or silently ignore it. The path contains the task type, which is required
        (elastic/elasticsearch, `ServiceUtils.java`). The HTTP library may send a PUT again if it is
        sent on a reused connection that breaks; this is safe, because all settings are absolute.
        """
        path = (
            f"/_inference/{quote(endpoint.task_type, safe='')}"
            f"/{quote(endpoint.inference_id, safe='')}/_update"
        )
        patch = EndpointPatch(num_allocations=allocations, adaptive_allocations=adaptive)
        request = HttpRequest(
            method="PUT",
            path=path,
            body=msgspec.json.encode(UpdateEndpointRequest(service_settings=patch)),
            operation=Operation.UPDATE,
        )
        updated = _read(await self._transport.send(request), EndpointDocument, path)
        confirm_endpoint(updated, "the _update of the endpoint", endpoint.inference_id)
        return updated

    async def start(
        self, model_id: str, parameters: StartRequest, *, extra_timeout_s: float = 30.0
    ) -> AssignmentDocument:
        """Deploy a model, and wait for the state `parameters.wait_for`.

        `extra_timeout_s` is added to the request time-out; it should be at least the `timeout` of
        the parameters.
        """
        assignment = await self._assign(
            model_id, Operation.START, parameters, extra_timeout_s=extra_timeout_s
        )
        name = parameters.deployment_id
        confirm_assignment(assignment, "_start", model_id if name is UNSET else name)
        return assignment

    async def stop(
        self,
        deployment_id: str,
        *,
        force: bool = False,
        allow_no_match: bool = True,
        extra_timeout_s: float = 20.0,
    ) -> None:
        """Remove a deployment.

        The server responds after the processes have ended on all nodes; `extra_timeout_s` is added
        to the request time-out for that.
        """
        path = deployment_path(deployment_id, Operation.STOP)
        request = HttpRequest(
            method="POST",
            path=path,
            query={"force": _text(force), "allow_no_match": _text(allow_no_match)},
            operation=Operation.STOP,
            extra_timeout_s=extra_timeout_s,
        )
        confirm_stop(_read(await self._transport.send(request), StopResponse, path), "_stop")

    async def _assign(
        self,
        id_: str,
        operation: Operation,
        parameters: UpdateRequest | StartRequest,
        *,
        extra_timeout_s: float = 0.0,
    ) -> AssignmentDocument:
        path = deployment_path(id_, operation)
        request = HttpRequest(
            method="POST",
            path=path,
            body=msgspec.json.encode(parameters),
            operation=operation,
            extra_timeout_s=extra_timeout_s,
        )
        return _read(await self._transport.send(request), AssignmentResponse, path).assignment

    async def _get(self, path: str, query: dict[str, str] | None = None) -> bytes:
        request = HttpRequest(method="GET", path=path, query=query or {}, repeatable=True)
        return await self._transport.send(request)


def _text(flag: bool) -> str:
    return "true" if flag else "false"


def _read_leniently(body: bytes, type_: type[Document], path: str, needed: str) -> Document:
    """As `_read`, but odd values are unknown; without the field `needed`, all of them."""
    try:
        return _read(body, type_, path)
    except MalformedResponse:
        with suppress(ValueError, RecursionError):
            read, problems = read_leniently(parse_leniently(body), type_, whole=[MlMemory])
            if all(problem.partition(":")[0] != needed for problem in problems):
                return read
        raise


def _read(body: bytes, type_: type[Response], path: str) -> Response:
    try:
        return decode(body, type_)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedResponse(f"the response of {path} cannot be read: {error}") from error
