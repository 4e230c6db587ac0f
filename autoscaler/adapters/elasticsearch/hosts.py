"""The host for the next request: hosts in turn, failed ones excluded for some seconds."""

from collections.abc import Sequence

from yarl import URL

from autoscaler.adapters.elasticsearch.errors import ConnectionSettingsError, ensure_none
from autoscaler.connection import Connection, host_of_cloud_id, host_problems, normal_host

FIRST_BACK_OFF_S = 1.0
"""Seconds for which a host is excluded after its first failure; doubled by each further one."""

MAX_BACK_OFF_S = 30.0
"""Maximum seconds for which a host is excluded. 30 s, so that a recovered host is used again within
three cycles of ten seconds."""

_MAX_DOUBLINGS = 10


class Host:
    """One address, and until when it is excluded."""

    def __init__(self, url: URL) -> None:
        self.url = url
        self.failures = 0
        self.excluded_until = 0.0

    def failed(self, now: float) -> None:
        back_off = FIRST_BACK_OFF_S * 2.0 ** min(self.failures, _MAX_DOUBLINGS)
        self.failures += 1
        self.excluded_until = now + min(back_off, MAX_BACK_OFF_S)

    def succeeded(self) -> None:
        self.failures = 0
        self.excluded_until = 0.0


class Hosts:
    """All addresses of one cluster."""

    def __init__(self, urls: Sequence[URL]) -> None:
        assert urls
        self._hosts = [Host(url) for url in urls]
        self._next = 0

    def in_turn(self, now: float, *, prefer_working: bool = False) -> list[Host]:
        """Each host once: the available ones in turn, then the excluded ones by end of exclusion.

        Excluded hosts are included at the end: when all hosts have failed, only a request shows
        which of them has recovered.

        Args:
            prefer_working: those whose last request failed come after the others, excluded or not.
        """
        turned = self._hosts[self._next :] + self._hosts[: self._next]
        self._next = (self._next + 1) % len(self._hosts)
        turned.sort(key=lambda host: max(0.0, host.excluded_until - now))
        if prefer_working:
            turned.sort(key=lambda host: host.failures > 0)
        return turned


def urls_of(connection: Connection) -> tuple[URL, ...]:
    """The addresses of a connection.

    Raises:
        ConnectionSettingsError: there is none, or one is invalid.
    """
    ensure_none(host_problems(connection))
    hosts = connection.hosts or (host_of_cloud_id(connection.cloud_id),)
    try:
        return tuple(URL(normal_host(host)) for host in hosts)
    except ValueError as error:  # stricter than the check
        raise ConnectionSettingsError(
            "hosts: an address is invalid; use a URL such as https://es:9200"
        ) from error


def place_of(url: URL) -> str:
    """The address in messages."""
    return str(url.origin())
