"""What the server does by itself, by version, where a change must not rely on more.

An unknown version is taken to do nothing by itself.
"""

import re

from msgspec import Struct

from autoscaler.wire.cluster import InfoResponse

Minor = tuple[int, int]

SERVERLESS = "serverless"

FIRST_WITH_UPDATE_GUARD: Minor = (9, 2)
"""The first version whose `_update` refuses a deployment that an inference endpoint owns
(elastic/elasticsearch#130940)."""

FIRST_WITH_INFERENCE: Minor = (8, 11)
"""The first version with the inference API (elastic/elasticsearch-specification,
`inference/get/GetRequest.ts`)."""

_LISTS_SOME: tuple[Minor, Minor] = ((8, 16), (8, 18))
"""The first version that lists only one inference endpoint of each deployment, and the first that
lists all again."""


class ServerVersion(Struct, frozen=True, kw_only=True):
    """The versions of the nodes, as far as they are known."""

    minor: Minor | None = None  # of the oldest node
    newest: Minor | None = None  # of the newest node
    serverless: bool = False

    @property
    def guards_updates(self) -> bool:
        """Whether `_update` certainly refuses what an inference endpoint owns."""
        known = self.minor is not None and self.minor >= FIRST_WITH_UPDATE_GUARD
        return self.serverless or known

    @property
    def lacks_inference_api(self) -> bool:
        """Whether no node certainly has the inference API, so that there are no endpoints."""
        known = self.newest is not None and self.newest < FIRST_WITH_INFERENCE
        return known and not self.serverless

    @property
    def lists_every_endpoint(self) -> bool:
        """Whether any of the nodes, one of which responds, certainly does."""
        if self.serverless or self.minor is None or self.newest is None:
            return self.serverless
        return self.newest < _LISTS_SOME[0] or self.minor >= _LISTS_SOME[1]


def server_version(info: InfoResponse | None, *numbers: str) -> ServerVersion:
    """The version that the responding node reports, and the version numbers of other nodes."""
    if info is not None and info.version.build_flavor == SERVERLESS:
        return ServerVersion(serverless=True)
    found = [*numbers, *([info.version.number] if info is not None else [])]
    minors = [minor_of(number) for number in found if number]
    known = [minor for minor in minors if minor is not None]
    if not known or len(known) < len(minors):
        return ServerVersion()
    return ServerVersion(minor=min(known), newest=max(known))


def minor_of(number: str) -> Minor | None:
    """Major and minor of a version number; None if it is not one."""
    found = re.match(r"(\d{1,4})\.(\d{1,4})\b", number)
    return (int(found[1]), int(found[2])) if found else None
