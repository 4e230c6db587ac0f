"""The deployments that inference endpoints own, as far as they are known."""

from collections.abc import Mapping

from autoscaler.adapters.elasticsearch.api import ElasticsearchApi
from autoscaler.adapters.elasticsearch.api_errors import BadRequest, NotAvailable, NotFound
from autoscaler.wire.inference import EndpointDocument


class Ownership:
    """The owners as last read. A deployment belongs to the inference endpoint with the same id.

    Source: elastic/elasticsearch, `TransportUpdateTrainedModelDeploymentAction.java`.
    """

    def __init__(self, api: ElasticsearchApi) -> None:
        self._api = api
        self._owners: Mapping[str, EndpointDocument] = {}

    async def read(self) -> None:
        """Read the inference endpoints again. After a failure, the previous ones stay.

        Raises:
            TransportError: no response.
            ApiError: refused. Without the inference API there are no owners, and no error.
        """
        try:
            endpoints = await self._api.inference_endpoints()
        except (BadRequest, NotFound, NotAvailable):
            endpoints = []
        self._owners = {found.inference_id: found for found in endpoints if found.owns_deployment}

    def owner_of(self, deployment_id: str) -> EndpointDocument | None:
        return self._owners.get(deployment_id)
