"""How to reach a cluster and who we are, as settled values."""

from pathlib import Path

from msgspec import Struct

from autoscaler.adapters.elasticsearch.errors import ConnectionSettingsError

__all__ = ["ApiKey", "Basic", "Bearer", "Connection", "ConnectionSettingsError", "Credentials"]


class _Secret(Struct, frozen=True):
    """Prints nothing of what it holds, whoever prints it."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}(...)"

    def __rich_repr__(self) -> list[tuple[str, str]]:
        return []


class ApiKey(_Secret, frozen=True):
    """An API key, in its encoded form or as `id:api_key`; or a file that holds either."""

    key: str | Path


class Basic(_Secret, frozen=True):
    """A user and a password, or a file that holds the password."""

    username: str
    password: str | Path


class Bearer(_Secret, frozen=True):
    """A token, of a service account for instance, or a file that holds it."""

    token: str | Path


Credentials = ApiKey | Basic | Bearer


class Connection(Struct, frozen=True, kw_only=True):
    """Where the cluster is and how to be let in. Give `hosts` or `cloud_id`.

    Trust, for https: `ca_certs` is a file of authorities to trust instead of the system's;
    `ca_fingerprint` the SHA-256 digest of an authority's or the server's certificate, in
    hexadecimal, with or without colons, as Elasticsearch prints at its first start.
    """

    hosts: tuple[str, ...] = ()  # such as https://es-1:9200; a path is kept as a prefix
    cloud_id: str = ""
    auth: Credentials | None = None  # None: security is off, or the client certificate says it
    ca_certs: Path | None = None
    ca_fingerprint: str = ""
    client_certificate: Path | None = None  # PEM; with the key in it unless `client_key` is given
    client_key: Path | None = None
    verify_certificates: bool = True
    request_timeout_s: float = 10.0  # for one attempt, from connecting to the last byte
    retries: int = 2  # further attempts of requests that are safe to repeat
