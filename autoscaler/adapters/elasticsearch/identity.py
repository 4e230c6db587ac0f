"""Which cluster responds."""

from collections.abc import Awaitable, Callable

from autoscaler.adapters.elasticsearch.errors import MalformedResponse
from autoscaler.wire.cluster import InfoResponse


class ClusterIdentity:
    """Accepts the UUID of a cluster once two responses in a row have it.

    For another cluster everything is forgotten, the stopped deployments included. One damaged
    response, or one of a server that a proxy has reached by mistake, must not cause that.
    """

    def __init__(self) -> None:
        self._uuid = ""

    async def confirmed(self, read: Callable[[], Awaitable[InfoResponse]]) -> InfoResponse:
        """The response to `GET /`; a second one, if the first is of another cluster than before.

        Raises:
            MalformedResponse: the two are of different clusters.
            ElasticsearchError: as `read` does.
        """
        found = await read()
        if found.cluster_uuid == self._uuid:
            return found
        again = await read()
        if again.cluster_uuid != found.cluster_uuid:
            raise MalformedResponse(
                "two responses of / name different clusters: "
                f"{found.cluster_uuid or 'none'} and {again.cluster_uuid or 'none'}; do all hosts "
                "belong to one?"
            )
        self._uuid = again.cluster_uuid
        return again
