"""Documents about inference endpoints, which may own deployments.

Source: elastic/elasticsearch, `TransportUpdateInferenceModelAction.java`,
`RestUpdateInferenceModelAction.java`, `ElasticsearchInternalServiceSettings.java`.
"""

from typing import Any

from msgspec import UNSET, Struct, UnsetType

from autoscaler.wire.deployments import AdaptivePatchDocument

_IN_CLUSTER = frozenset({"elasticsearch", "elser"})
"""Services whose endpoints run on machine learning nodes; `elser` is the older name."""


class EndpointDocument(Struct, frozen=True, kw_only=True):
    """One endpoint. Its settings depend on the service."""

    inference_id: str = ""
    task_type: str = ""  # such as sparse_embedding
    service: str = ""
    service_settings: dict[str, Any] = {}

    @property
    def owns_deployment(self) -> bool:
        """Whether it owns the deployment that has its id.

        An endpoint may also be attached to an existing deployment, named in its settings.
        """
        return self.service in _IN_CLUSTER and not self.service_settings.get("deployment_id")


class EndpointsResponse(Struct, frozen=True, kw_only=True):
    """`GET _inference/_all`."""

    endpoints: list[EndpointDocument] = []


class EndpointPatch(Struct, frozen=True, kw_only=True):
    num_allocations: int | UnsetType = UNSET
    adaptive_allocations: AdaptivePatchDocument | UnsetType = UNSET


class UpdateEndpointRequest(Struct, frozen=True, kw_only=True):
    """The body of `PUT _inference/{task_type}/{inference_id}/_update`, since 8.17.

    The first versions ignore `adaptive_allocations` (elastic/elasticsearch#114457). The
    response is the endpoint after the update, and shows that.
    """

    service_settings: EndpointPatch
