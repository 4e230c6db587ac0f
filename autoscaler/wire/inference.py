"""What is said about inference endpoints, which may own deployments.

Source: elastic/elasticsearch, `TransportUpdateInferenceModelAction.java`,
`RestUpdateInferenceModelAction.java`, `ElasticsearchInternalServiceSettings.java`.
"""

from typing import Any

from msgspec import UNSET, Struct, UnsetType

from autoscaler.wire.deployments import AdaptivePatchDocument

# The services whose endpoints run on machine learning nodes; the second is the older name.
_IN_CLUSTER = frozenset({"elasticsearch", "elser"})


class EndpointDocument(Struct, frozen=True, kw_only=True):
    """One endpoint. What its settings are depends on the service."""

    inference_id: str = ""
    task_type: str = ""  # such as sparse_embedding
    service: str = ""
    service_settings: dict[str, Any] = {}

    @property
    def owns_deployment(self) -> bool:
        """Whether it has a deployment of its own, whose id is that of the endpoint.

        An endpoint may also be attached to a deployment that was there before, which it names.
        """
        return self.service in _IN_CLUSTER and not self.service_settings.get("deployment_id")


class EndpointsResponse(Struct, frozen=True, kw_only=True):
    """`GET _inference/_all`."""

    endpoints: list[EndpointDocument] = []


class EndpointPatch(Struct, frozen=True, kw_only=True):
    num_allocations: int | UnsetType = UNSET
    adaptive_allocations: AdaptivePatchDocument | UnsetType = UNSET


class UpdateEndpointRequest(Struct, frozen=True, kw_only=True):
    """The body of `PUT _inference/{task_type}/{inference_id}/_update`, which is there since 8.17.

    The first versions ignore `adaptive_allocations` (elastic/elasticsearch#114457); the answer is
    the endpoint as it is then, and shows it.
    """

    service_settings: EndpointPatch
