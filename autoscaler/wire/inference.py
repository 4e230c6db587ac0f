"""Documents about inference endpoints, which may own deployments.

Source: elastic/elasticsearch, `TransportUpdateInferenceModelAction.java`,
`RestUpdateInferenceModelAction.java`, `ElasticsearchInternalServiceSettings.java`.
"""

from itertools import chain
from typing import Any

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from autoscaler.wire.bounds import MAX_NAME, Name
from autoscaler.wire.deployments import AdaptivePatchDocument

_IN_CLUSTER = frozenset({"elasticsearch", "elser", "elser_mlnode", "text_embedding"})
"""Services whose endpoints run on machine learning nodes. 8.11 and 8.12 have the last two
(elastic/elasticsearch, `ElserMlNodeService.java`, `TextEmbeddingMlNodeService.java`)."""

_IN_CLUSTER_SETTINGS = frozenset({"num_allocations", "num_threads", "adaptive_allocations"})
"""Settings that only such endpoints have, whatever the name of their service."""


_COMPLETION = frozenset({"completion", "chat_completion"})
"""Task types that complete texts."""


class MalformedEndpoints(ValueError):
    """The document is not a list of endpoints, so the endpoints are unknown."""


class EndpointDocument(Struct, frozen=True, kw_only=True):
    """One endpoint. Its settings depend on the service."""

    inference_id: str = ""
    task_type: str = ""  # such as sparse_embedding
    service: str = ""
    service_settings: dict[str, Any] = {}

    @property
    def is_in_cluster(self) -> bool:
        """Whether it uses a deployment of this cluster."""
        return self.service in _IN_CLUSTER or bool(
            _IN_CLUSTER_SETTINGS & self.service_settings.keys()
        )

    @property
    def completes(self) -> bool:
        """Whether it completes texts, which callers wait longer for."""
        return self.task_type in _COMPLETION

    @property
    def is_complete(self) -> bool:
        """Whether it is known which service it has, and which deployment it uses."""
        attached = self.service_settings.get("deployment_id")
        known = attached is None or isinstance(attached, str) or not self.is_in_cluster
        return bool(self.inference_id and self.service) and known

    @property
    def attached_to(self) -> str:
        """The deployment that existed before the endpoint and that it uses; "": none."""
        attached = self.service_settings.get("deployment_id")
        return attached if self.is_in_cluster and isinstance(attached, str) else ""

    @property
    def owns_deployment(self) -> bool:
        """Whether it owns the deployment that has its id.

        An endpoint may also be attached to an existing deployment, named in its settings.
        """
        return self.is_in_cluster and not self.service_settings.get("deployment_id")


class EndpointList(Struct, frozen=True, kw_only=True):
    """The endpoints that could be read, and the known facts about the others."""

    endpoints: tuple[EndpointDocument, ...] = ()
    unreadable: frozenset[str] = frozenset()  # ids of endpoints of unknown services or settings
    unnamed: int = 0  # endpoints that could not be read at all


class _ListDocument(Struct, kw_only=True):
    """`GET _inference/_all`. Until 8.14 the key is `models` (elastic/elasticsearch#107704)."""

    endpoints: list[Raw] | UnsetType = UNSET
    models: list[Raw] | UnsetType = UNSET


class _Entry(Struct, kw_only=True):
    inference_id: Name = ""
    model_id: Name = ""  # the former name of `inference_id` (elastic/elasticsearch#111366)
    task_type: Name = ""
    service: Name = ""
    service_settings: dict[str, Any] | None = None


class _Id(Struct, kw_only=True):
    inference_id: Any = None
    model_id: Any = None


def parse_endpoints(body: bytes) -> EndpointList:
    """Read a list of endpoints. A damaged endpoint affects only itself.

    Raises:
        MalformedEndpoints: it is no such list.
    """
    try:
        document = msgspec.json.decode(body, type=_ListDocument)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedEndpoints(str(error)) from error
    lists = [each for each in (document.endpoints, document.models) if each is not UNSET]
    if not lists:
        raise MalformedEndpoints("it has neither `endpoints` nor `models`")
    endpoints, unreadable, unnamed = [], set[str](), 0
    for entry in chain.from_iterable(lists):
        name = _id_of(entry)
        endpoint = _endpoint(entry)
        if endpoint is not None and endpoint.is_complete:
            endpoints.append(endpoint)
        elif name:
            unreadable.add(name)
        else:
            unnamed += 1
    return EndpointList(
        endpoints=tuple(endpoints), unreadable=frozenset(unreadable), unnamed=unnamed
    )


def _endpoint(entry: Raw) -> EndpointDocument | None:
    try:
        read = msgspec.json.decode(entry, type=_Entry)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return EndpointDocument(
        inference_id=read.inference_id or read.model_id,
        task_type=read.task_type,
        service=read.service,
        service_settings=read.service_settings or {},
    )


def _id_of(entry: Raw) -> str:
    try:
        read = msgspec.json.decode(entry, type=_Id)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""
    names = (read.inference_id, read.model_id)
    return next((name[:MAX_NAME] for name in names if isinstance(name, str)), "")


class EndpointPatch(Struct, frozen=True, kw_only=True):
    num_allocations: int | UnsetType = UNSET
    adaptive_allocations: AdaptivePatchDocument | UnsetType = UNSET


class UpdateEndpointRequest(Struct, frozen=True, kw_only=True):
    """The body of `PUT _inference/{task_type}/{inference_id}/_update`, since 8.17.

    The first versions ignore `adaptive_allocations` (elastic/elasticsearch#114457). The
    response is the endpoint after the update, and shows that.
    """

    service_settings: EndpointPatch
