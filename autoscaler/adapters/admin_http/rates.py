"""How often each address may request something."""

import asyncio
from collections import OrderedDict
from ipaddress import IPv4Address, ip_address

from autoscaler.server_access import RequestLimit

MAX_ADDRESSES = 1_024
"""Addresses whose requests are counted; the one that was quiet for longest is forgotten."""


class Rates:
    """A token bucket for each address."""

    def __init__(self, limit: RequestLimit | None) -> None:
        self.replace(limit)

    def replace(self, limit: RequestLimit | None) -> None:
        """Use another limit from now on."""
        self._limit = limit
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # content, and when

    def wait_s(self, address: str) -> float:
        """Count a request. The seconds after which it would be within the limit; 0: it is."""
        limit = self._limit
        if limit is None:
            return 0.0
        client = _client_of(address)
        now = asyncio.get_running_loop().time()
        content, at = self._buckets.pop(client, (float(limit.burst), now))
        content = min(float(limit.burst), content + (now - at) * limit.per_s)
        accepted = content >= 1.0
        self._buckets[client] = (content - 1.0 if accepted else content), now
        if len(self._buckets) > MAX_ADDRESSES:
            self._buckets.popitem(last=False)
        return 0.0 if accepted else (1.0 - content) / limit.per_s


def _client_of(address: str) -> str:
    """What has the address: a host has a network of 64 bits of IPv6, and may use all of it."""
    try:
        found = ip_address(address)
    except ValueError:
        return address
    if isinstance(found, IPv4Address):
        return address
    if found.ipv4_mapped is not None:  # of a server that listens on all addresses of both kinds
        return str(found.ipv4_mapped)
    return f"{int(found) >> 64:x}"
