"""Which inference endpoints own or use deployments, as far as that is known.

A deployment belongs to the endpoint with the same id. The endpoints are not always known: the
list of endpoints fails as a whole if one of them is damaged (elastic/elasticsearch#132361), and in
8.16 and 8.17 it leaves endpoints out. A deployment then has no owner only if the list showed that
before, or if the server reports that it has no such endpoint. Otherwise its owner is unknown. A
response that there is no inference API counts only in versions that are known to have none, because
a proxy or a disabled feature leads to the same response.

Source: elastic/elasticsearch, `TransportUpdateTrainedModelDeploymentAction.java`.
"""

from collections.abc import Collection, Iterable

from msgspec.structs import replace

from autoscaler.adapters.elasticsearch.api import ElasticsearchApi
from autoscaler.adapters.elasticsearch.api_errors import (
    EndpointMissing,
    MissingPrivilege,
    NotFound,
)
from autoscaler.adapters.elasticsearch.errors import ElasticsearchError
from autoscaler.adapters.elasticsearch.server_version import ServerVersion
from autoscaler.core.values import Callers
from autoscaler.wire.bounds import listed
from autoscaler.wire.inference import EndpointDocument, EndpointList

_NO_ENDPOINTS = ("resource_not_found_exception", "inference endpoint")
"""Type and words of the only 404 that means that there are none; a missing index, a missing model
or a proxy has others."""


class Ownership:
    """The endpoints as last read, and the deployments whose owner is known by that."""

    def __init__(self, api: ElasticsearchApi) -> None:
        self._api = api
        self.version = ServerVersion()
        self.denied: MissingPrivilege | None = None  # the list may not be read
        self._endpoints: dict[str, EndpointDocument] = {}
        self._users: dict[str, str] = {}  # deployment -> an endpoint that is attached to it
        self._known: set[str] = set()  # deployments whose owner was read, or that have none
        self._tried: set[str] = (
            set()
        )  # deployments whose endpoint was requested since the last list
        self._failure = ""  # why the last list could not be read, or not completely
        self._refused: set[str] = set()  # that the server has refused to update because of an owner
        self._asked = self._answered = False

    async def read(self, deployed: Iterable[str] = ()) -> None:
        """Read the endpoints again. After a failure, what was known stays known.

        Args:
            deployed: deployments that existed before.

        Raises:
            TransportError: no response, or the response is not a list of endpoints.
            ApiError: refused. In a version without the inference API there are no owners, and no
                error.
        """
        self._asked = True
        self._tried.clear()
        try:
            found = await self._api.inference_endpoints()
        except MissingPrivilege as error:
            self.denied = error
            user = error.user or "the user"
            self._failure = f"{user} lacks the cluster privilege monitor_inference; grant it"
            raise
        except ElasticsearchError as error:
            if not self._means_none(error):
                self.denied, self._failure = None, str(error)
                raise
            found = EndpointList()
        self._set(found, set(deployed))

    def _means_none(self, error: ElasticsearchError) -> bool:
        """Whether a refused list means that there are no endpoints."""
        if isinstance(error, EndpointMissing):
            return self.version.lacks_inference_api
        kind, words = _NO_ENDPOINTS
        return isinstance(error, NotFound) and error.type == kind and words in error.reason.lower()

    def _set(self, found: EndpointList, deployed: set[str]) -> None:
        self._answered, self.denied, self._failure = True, None, ""
        self._refused.clear()
        # Of two with the same id, the one that owns the deployment counts.
        by_ownership = sorted(found.endpoints, key=lambda endpoint: endpoint.owns_deployment)
        self._endpoints = {endpoint.inference_id: endpoint for endpoint in by_ownership}
        self._users = {
            endpoint.attached_to: endpoint.inference_id
            for endpoint in found.endpoints
            if endpoint.attached_to
        }
        self._known = deployed - found.unreadable - self._users.keys()
        if found.unreadable or found.unnamed:
            named = listed(sorted(found.unreadable)) or "one without an id"
            self._failure = f"the settings of an inference endpoint cannot be read: {named}"
        if found.unnamed:
            self._known.clear()

    async def ask_for(self, deployment_id: str) -> None:
        """Try to find the owner of one deployment without the list, once after each list.

        Raises:
            ElasticsearchError: the owner cannot be found.
        """
        if deployment_id in self._tried:
            return
        self._tried.add(deployment_id)
        try:
            endpoint = await self._api.inference_endpoint(deployment_id)
        except EndpointMissing:
            if not self.version.lacks_inference_api:
                raise
            endpoint = None
        if endpoint is not None:
            self._endpoints[deployment_id] = endpoint
        self._known.add(deployment_id)

    def forget(self) -> None:
        """Another cluster responds now: its endpoints are unknown until they are read."""
        self._endpoints, self._users = {}, {}
        self._known.clear()
        self._refused.clear()
        self._answered = False

    def forget_deployment(self, deployment_id: str) -> None:
        """It was removed, so that an endpoint may create one with the same id."""
        self._known.discard(deployment_id)
        self._refused.discard(deployment_id)

    def note_owned(self, deployment_id: str) -> None:
        """The server has refused an update, because an endpoint owns the deployment."""
        self._refused.add(deployment_id)

    def is_owned(self, deployment_id: str) -> bool:
        """Whether an endpoint is known to own the deployment, also if the list may not be read."""
        return self.owner_of(deployment_id) is not None or deployment_id in self._refused

    def remember(self, updated: EndpointDocument, inference_id: str) -> None:
        """Keep the settings of an endpoint after its update."""
        before = self._endpoints.get(inference_id)
        if before is not None and updated.service_settings:
            self._endpoints[inference_id] = replace(
                before, service_settings=updated.service_settings
            )

    def owner_of(self, deployment_id: str) -> EndpointDocument | None:
        endpoint = self._endpoints.get(deployment_id)
        return endpoint if endpoint is not None and endpoint.owns_deployment else None

    def unknown_because(self, deployment_id: str) -> str:
        """Why it is not known whether an endpoint owns the deployment; "": it is known."""
        if deployment_id in self._known or self.owner_of(deployment_id) is not None:
            return ""
        if deployment_id in self._users:
            listed = self.version.lists_every_endpoint
            return "" if listed else "this version may not list every inference endpoint"
        newer = "it is newer than the list of inference endpoints" if self._answered else ""
        return self.failure or newer

    @property
    def failure(self) -> str:
        """Why not all endpoints are known; "": all are known, or none have been requested."""
        if self._asked and not self._answered and not self._failure:
            return "the inference endpoints have not been read yet"
        return self._failure

    @property
    def refusal(self) -> str:
        """Why the list could not be read or not completely, except for a missing privilege."""
        return self._failure if self.denied is None else ""

    def callers_of(self, deployment_id: str, pipelines: int | None) -> Callers:
        """Who calls a deployment, as far as is known: of several, those who wait longest.

        Args:
            pipelines: ingest pipelines that use it; None: not reported.
        """
        if pipelines:
            return Callers.INGEST
        endpoint = self.owner_of(deployment_id)
        if endpoint is None and (user := self._users.get(deployment_id)) is not None:
            endpoint = self._endpoints.get(user)
        if endpoint is not None:
            return Callers.COMPLETION if endpoint.completes else Callers.ENDPOINT
        if deployment_id in self._refused:
            return Callers.ENDPOINT
        # A deployment that a list showed to be free of endpoints may have one by now.
        certain = self._answered and not self.failure and deployment_id in self._known
        return Callers.DIRECT if certain and pipelines == 0 else Callers.UNKNOWN

    def in_use(self, deployed: Collection[str]) -> dict[str, str]:
        """Why deployments must not be stopped: endpoints use them, or may do so."""
        found, failure = {}, self.failure
        for name in deployed:
            if (owner := self.owner_of(name)) is not None:
                found[name] = f"inference endpoint {owner.inference_id} owns it"
            elif (user := self._users.get(name)) is not None:
                found[name] = f"inference endpoint {user} uses it"
            elif failure:
                found[name] = f"inference endpoints may use it: {failure}"
        return found
