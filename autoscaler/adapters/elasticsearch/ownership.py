"""Which deployments belong to inference endpoints, as far as it is known."""

from collections.abc import Mapping

from autoscaler.adapters.elasticsearch.api import ElasticsearchApi
from autoscaler.adapters.elasticsearch.api_errors import BadRequest, NotAvailable, NotFound
from autoscaler.wire.inference import EndpointDocument


class Ownership:
    """What was read last. A deployment belongs to the endpoint whose id it has.

    Source: elastic/elasticsearch, `TransportUpdateTrainedModelDeploymentAction.java`.
    """

    def __init__(self, api: ElasticsearchApi) -> None:
        self._api = api
        self._owners: Mapping[str, EndpointDocument] = {}

    async def read(self) -> None:
        """Ask anew. What fails leaves what is known as it is.

        Raises:
            TransportError: no answer.
            ApiError: refused. If it is because there is no such API, nobody owns any instead.
        """
        try:
            endpoints = await self._api.inference_endpoints()
        except (BadRequest, NotFound, NotAvailable):
            endpoints = []
        self._owners = {found.inference_id: found for found in endpoints if found.owns_deployment}

    def owner_of(self, deployment_id: str) -> EndpointDocument | None:
        return self._owners.get(deployment_id)
