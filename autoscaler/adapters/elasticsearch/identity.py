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
        self._cut_off: list[InfoResponse] = []  # of a confirmation that has not ended
        self._doubtful = False  # whether it needs all of them
        self.contested = ""  # why it is not known which cluster responds; empty: it is

    async def confirmed(
        self, read: Callable[[], Awaitable[InfoResponse]], *, doubtful: bool = False
    ) -> InfoResponse:
        """A response to `GET /` of the cluster; further ones are read if some may be of others.

        Where they take too long together, or a proxy refuses so many, the next call goes on with
        those of this one. Otherwise there would never be enough.

        Args:
            doubtful: whether other responses appear to be of another cluster.

        Raises:
            MalformedResponse: they are of different clusters.
            ElasticsearchError: as `read` does.
        """
        if doubtful and not self._doubtful:
            self._cut_off, self._doubtful = [], True  # the others are from before the doubt
        found = self._cut_off
        found.append(await self._read(read))
        if found[0].cluster_uuid != self._uuid and len(found) == 1:
            found.append(await self._read(read))
        known = self._uuid or found[0].cluster_uuid  # two are enough for the first one
        of_others = any(each.cluster_uuid != known for each in found)
        if self._doubtful or self.contested or of_others:
            while len(found) < CONFIRMATIONS:
                found.append(await self._read(read))
        self._cut_off, self._doubtful = [], False
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
