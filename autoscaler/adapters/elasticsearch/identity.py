"""Which cluster responds, and whether it is always the same one."""

from collections import Counter, deque
from collections.abc import Awaitable, Callable
from itertools import pairwise

from autoscaler.adapters.elasticsearch.errors import MalformedResponse
from autoscaler.wire.cluster import InfoResponse

CONFIRMATIONS = 12
"""Responses in a row, of which at most one is damaged, before another cluster is believed. 12: a
load balancer that chooses one of two clusters at random does so once in 2,000 times."""

MAX_SWITCHES = 2
"""Changes of the UUID among the last responses that one damaged response explains."""

REMEMBERED = 24
"""Responses of the same cluster after which those of several are forgotten."""


class ClusterIdentity:
    """Accepts the UUID of a cluster once enough responses have it.

    For another cluster everything is forgotten, the stopped deployments included. One damaged
    response, or one of a server that a proxy has reached by mistake, must not cause that; nor must
    a load balancer before two clusters, whose statistics mean nothing together.
    """

    def __init__(self) -> None:
        self._uuid = ""
        self._recent: deque[str] = deque(maxlen=REMEMBERED)
        self.contested = ""  # why it is not known which cluster responds; empty: it is

    async def confirmed(
        self, read: Callable[[], Awaitable[InfoResponse]], *, doubtful: bool = False
    ) -> InfoResponse:
        """A response to `GET /` of the cluster; further ones are read if some may be of others.

        Args:
            doubtful: whether other responses appear to be of another cluster.

        Raises:
            MalformedResponse: they are of different clusters.
            ElasticsearchError: as `read` does.
        """
        found = [await self._read(read)]
        if found[0].cluster_uuid != self._uuid:
            found.append(await self._read(read))
        known = self._uuid or found[0].cluster_uuid  # two are enough for the first one
        if doubtful or self.contested or any(each.cluster_uuid != known for each in found):
            found += [await self._read(read) for _ in range(CONFIRMATIONS - len(found))]
        self._judge()
        if self.contested:
            raise MalformedResponse(self.contested)
        ((uuid, times),) = Counter(each.cluster_uuid for each in found).most_common(1)
        if times < len(found) - 1:
            raise MalformedResponse(self._several())
        self._uuid = uuid
        return next(each for each in reversed(found) if each.cluster_uuid == uuid)

    async def _read(self, read: Callable[[], Awaitable[InfoResponse]]) -> InfoResponse:
        found = await read()
        self._recent.append(found.cluster_uuid)
        return found

    def _judge(self) -> None:
        switches = sum(earlier != later for earlier, later in pairwise(self._recent))
        if switches > MAX_SWITCHES:
            self.contested = self._several()
        elif switches == 0 and len(self._recent) == REMEMBERED:
            self.contested = ""

    def _several(self) -> str:
        names = [uuid or "none" for uuid in dict.fromkeys(self._recent)]
        return (
            f"responses of / name different clusters: {', '.join(sorted(names)[:3])}; do all hosts "
            "belong to one, and does the load balancer lead to one?"
        )
