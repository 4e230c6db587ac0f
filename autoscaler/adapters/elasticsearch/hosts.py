"""Where to send the next request: hosts taken in turn, those that failed left out for a while."""

import binascii
from base64 import b64decode
from collections.abc import Sequence

from yarl import URL

from autoscaler.adapters.elasticsearch.connection import Connection
from autoscaler.adapters.elasticsearch.errors import ConnectionSettingsError

FIRST_BACK_OFF_S = 1.0
MAX_BACK_OFF_S = 30.0  # a host that comes back is noticed within three cycles of ten seconds
_MAX_DOUBLINGS = 10


class Host:
    """One address, and until when it is left alone."""

    def __init__(self, url: URL) -> None:
        self.url = url
        self.failures = 0
        self.dead_until = 0.0

    def failed(self, now: float) -> None:
        back_off = FIRST_BACK_OFF_S * 2.0 ** min(self.failures, _MAX_DOUBLINGS)
        self.failures += 1
        self.dead_until = now + min(back_off, MAX_BACK_OFF_S)

    def answered(self) -> None:
        self.failures = 0
        self.dead_until = 0.0


class Hosts:
    """All addresses of one cluster."""

    def __init__(self, urls: Sequence[URL]) -> None:
        assert urls
        self._hosts = [Host(url) for url in urls]
        self._next = 0

    def in_turn(self, now: float) -> list[Host]:
        """Each host once: the living in turn, then the dead, the soonest to return first.

        The dead are kept at the end because when all have failed, trying is the only way to
        find out which of them is back.
        """
        turned = self._hosts[self._next :] + self._hosts[: self._next]
        self._next = (self._next + 1) % len(self._hosts)
        return sorted(turned, key=lambda host: max(0.0, host.dead_until - now))


def urls_of(connection: Connection) -> tuple[URL, ...]:
    """The addresses a connection names.

    Raises:
        ConnectionSettingsError: none, or one that is not an http or https URL.
    """
    if bool(connection.hosts) == bool(connection.cloud_id):
        raise ConnectionSettingsError("give either hosts or cloud_id")
    if connection.cloud_id:
        return (decode_cloud_id(connection.cloud_id),)
    return tuple(_parsed(host) for host in connection.hosts)


def _parsed(text: str) -> URL:
    try:
        url = URL(text.strip())
        scheme, host, _ = url.scheme, url.host, url.port
    except ValueError as error:
        raise ConnectionSettingsError("a host is not a URL such as https://es:9200") from error
    if url.user is not None or url.password is not None:
        # Not quoted: the message may end in a log.
        raise ConnectionSettingsError(f"the URL of host {host} contains credentials; set auth")
    if scheme not in ("http", "https") or not host:
        raise ConnectionSettingsError(f"{text!r} is not a URL such as https://es:9200")
    if url.query_string or url.fragment:
        raise ConnectionSettingsError(f"{text!r} must end with the path; nothing may follow it")
    return url


def place_of(url: URL) -> str:
    """The address in messages."""
    return str(url.origin())


def decode_cloud_id(cloud_id: str) -> URL:
    """The Elasticsearch address in a cloud id: `name:base64(domain[:port]$elasticsearch$...)`.

    >>> decode_cloud_id("demo:Y2xvdWQuZXhhbXBsZSRhYmMkZGVm")
    URL('https://abc.cloud.example')
    """
    _, _, encoded = cloud_id.rpartition(":")
    try:
        parts = b64decode(encoded, validate=True).decode("ascii").split("$")
        domain, _, port = parts[0].partition(":")
        name, _, own_port = parts[1].partition(":")
        if not domain or not name:
            raise ValueError("a part is empty")
        return URL.build(scheme="https", host=f"{name}.{domain}", port=int(own_port or port or 443))
    except (ValueError, IndexError, binascii.Error) as error:
        raise ConnectionSettingsError(
            "the cloud_id cannot be decoded; copy it again from the cloud console"
        ) from error
