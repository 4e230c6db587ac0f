"""How to reach the cluster: addresses, credentials and trust, and everything that can be wrong.

The configuration and the Elasticsearch adapter share this value. It is validated here only.
"""

import binascii
import errno
import os
import re
import stat
from base64 import b64decode
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from msgspec import Struct

from autoscaler.files import FileTooLarge, open_regular, read_regular

MIN_TOKEN_CHARACTERS = 16
"""The size limit of the server's token. 16 random characters cannot be found by trying; a shorter
one is usually a word."""

MAX_SECRET_BYTES = 65_536
"""The size limit of a file with a secret, in bytes. Tokens have a few kilobytes at most, so a
larger file was named by mistake."""

Problem = tuple[str, str]
"""A configuration key of [elasticsearch], or "" for the whole table, and the problem."""


class _Secret(Struct, frozen=True):
    """Its representations do not contain the secret."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}(...)"

    def __rich_repr__(self) -> list[tuple[str, str]]:
        return []


class ApiKey(_Secret, frozen=True):
    """An API key, in its encoded form or as `id:api_key`; or a file that contains either."""

    key: str | Path


class Basic(_Secret, frozen=True):
    """A user and a password, or a file that contains the password."""

    username: str
    password: str | Path


class Bearer(_Secret, frozen=True):
    """A token, for example of a service account, or a file that contains it."""

    token: str | Path


Credentials = ApiKey | Basic | Bearer


class Connection(Struct, frozen=True, kw_only=True):
    """The addresses of the cluster, the credentials and the certificates to trust.

    Exactly one of `hosts` and `cloud_id` is set. For https, `ca_certs` is a file of authorities to
    trust instead of the system's, and `ca_fingerprint` the SHA-256 digest of the certificate of an
    authority or of the server, in hexadecimal, with or without colons, as Elasticsearch prints it
    at its first start.
    """

    hosts: tuple[str, ...] = ()  # such as https://es-1:9200; a path is kept as a prefix
    cloud_id: str = ""
    auth: Credentials | None = None  # None: security is off, or client certificates are used
    ca_certs: Path | None = None
    ca_fingerprint: str = ""
    client_certificate: Path | None = None  # PEM; it contains the key unless `client_key` is set
    client_key: Path | None = None
    verify_certificates: bool = True
    request_timeout_s: float = 10.0  # of one attempt, from connecting to the last byte
    retries: int = 2  # further attempts of requests that are safe to repeat

    @property
    def username(self) -> str | None:
        return self.auth.username if isinstance(self.auth, Basic) else None


def normal_host(address: str) -> str:
    """The address without a trailing slash.

    Raises:
        ValueError: it is not an http or https address, or it contains credentials.
    """
    example = "must be an address such as https://localhost:9200"
    shown = address.isprintable() and "@" not in address and "?" not in address
    if shown and 0 < len(address) <= 60:
        example = f"{example}, not {address!r}"
    if not address.isprintable() or " " in address:
        raise ValueError(example)
    try:
        parts = urlsplit(address)
        parts.port  # noqa: B018 - reading it checks it
    except ValueError as error:
        raise ValueError(f"{example}: {error}") from None
    if parts.username is not None or parts.password is not None:
        raise ValueError("must not contain credentials; use api_key_file, or username and password")
    after_path = parts.query or parts.fragment
    if parts.scheme not in {"http", "https"} or not parts.hostname or after_path:
        raise ValueError(example)
    if not _is_host_name(parts.hostname):
        raise ValueError(f"{example}: its name has a part that is empty or too long")
    return address.rstrip("/")


def _is_host_name(name: str) -> bool:
    """Whether a name can be resolved: each part between dots has a letter and at most 63 bytes in
    IDNA, and a dot at the end is none of them."""
    try:
        name.removesuffix(".").encode("idna")
    except UnicodeError:
        return False
    return True


def normal_fingerprint(digest: str) -> str:
    """The digest in lower case, without colons.

    Raises:
        ValueError: it is not a SHA-256 digest.
    """
    plain = re.sub(r"[\s:]", "", digest).lower()
    if not re.fullmatch(r"[0-9a-f]{64}", plain):
        raise ValueError("must be a SHA-256 fingerprint: 64 hexadecimal digits")
    return plain


def host_of_cloud_id(cloud_id: str) -> str:
    """The Elasticsearch address in a cloud id: `name:base64(domain[:port]$elasticsearch$...)`.

    Raises:
        ValueError: it cannot be decoded.

    >>> host_of_cloud_id("demo:Y2xvdWQuZXhhbXBsZSRhYmMkZGVm")
    'https://abc.cloud.example'
    """
    _, _, encoded = cloud_id.rpartition(":")
    try:
        parts = b64decode(encoded, validate=True).decode("ascii").split("$")
        domain, _, port = parts[0].partition(":")
        name, _, own_port = parts[1].partition(":")
        if not domain or not name:
            raise ValueError("a part is empty")
        https_port = int(own_port or port or 443)
        suffix = "" if https_port == 443 else f":{https_port}"
        return normal_host(f"https://{name}.{domain}{suffix}")
    except (ValueError, IndexError, binascii.Error):
        raise ValueError("cannot be decoded; copy it again from the cloud console") from None


def secret_of(given: str | Path, *, ascii_only: bool = True) -> str:
    """The secret itself, read from its file if `given` is one.

    Raises:
        ValueError: the file cannot be read, or the content cannot be sent in a header.
    """
    text = (_content(given) if isinstance(given, Path) else given).strip()
    subject = f"{given} " if isinstance(given, Path) else ""
    if not text or not text.isprintable():
        raise ValueError(f"{subject}must contain the secret on one line, and nothing else")
    if ascii_only and not text.isascii():
        raise ValueError(f"{subject}must consist of ASCII characters")
    return text


def token_of(given: Bearer) -> str:
    """The token that requests to the daemon must carry.

    Raises:
        ValueError: its file cannot be read, or it is too short.
    """
    token = secret_of(given.token)
    if len(token) < MIN_TOKEN_CHARACTERS:
        raise ValueError(
            f"the token must have at least {MIN_TOKEN_CHARACTERS} characters; "
            "`openssl rand -hex 32` makes one"
        )
    return token


def _content(path: Path) -> str:
    try:
        return read_regular(path, MAX_SECRET_BYTES).decode()
    except FileTooLarge:
        raise ValueError(f"{path} is larger than 64 KiB, so it cannot be a secret") from None
    except OSError as error:
        raise ValueError(_why_unread(path, error)) from None
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not UTF-8 text") from None


def _why_unread(path: Path, error: OSError) -> str:
    """A sentence about a file that cannot be read. Its name may be the secret itself."""
    not_shown = "its name is not shown, because it may be the secret itself; put that into a file"
    if _may_be_a_secret(path):
        return f"names no file; {not_shown}, and name the file"
    if error.errno in _NO_SUCH_FILE and path.parent.is_dir():
        return f"names no file in {path.parent.absolute()}; {not_shown}, and name the file"
    return f"{path} cannot be read: {error.strerror}"


_NO_SUCH_FILE = frozenset({errno.ENOENT, errno.ENAMETOOLONG})


def _may_be_a_secret(path: Path) -> bool:
    """Whether a part of the path is long and mixed, as keys and tokens are."""
    return any(
        re.fullmatch(r"(?=.*[a-z])(?=.*[A-Z])(?=.*[0-9=])[A-Za-z0-9+_=-]{20,}", part)
        for part in path.parts
    )


def problems_of(connection: Connection) -> Iterator[Problem]:
    """Everything that makes the connection unusable, files that it names included."""
    yield from host_problems(connection)
    yield from credential_problems(connection.auth)
    yield from tls_problems(connection)


def exposures(connection: Connection) -> Iterator[str]:
    """A sentence for each way in which others may read or change the credentials, or pose as the
    cluster."""
    if not connection.verify_certificates:
        yield (
            "certificates are not verified (verify_certificates = false), so a server between "
            "this machine and the cluster can pose as it, and receives the credentials; set "
            "ca_certs or ca_fingerprint instead"
        )
    yield from tampering("the certificate authorities in", connection.ca_certs)
    match connection.auth:
        case None:
            return
        case ApiKey(secret):
            name = "the API key"
        case Basic(_, secret):
            name = "the password"
        case Bearer(secret):
            name = "the token"
    for host in connection.hosts:
        if host.startswith("http://") and not _is_loopback(urlsplit(host).hostname or ""):
            yield (
                f"{name} is sent to {host} without encryption, so everyone on the network between "
                "can read it; use an address that begins with https://"
            )
    yield from file_exposures(name, secret)


def file_exposures(name: str, secret: str | Path) -> Iterator[str]:
    """A sentence if every user of the machine can read, change or replace the file of a secret."""
    if isinstance(secret, Path):
        if _is_readable_by_all(secret):
            yield (
                f"{name} in {secret} can be read by every user of this machine; "
                f"withdraw that with `chmod o-r {secret}`"
            )
        yield from tampering(f"{name} in", secret)


def tampering(what: str, path: Path | None) -> Iterator[str]:
    """A sentence if every user of the machine can change a file or a directory, or replace it."""
    if path is None:
        return
    if _is_writable_by_all(path):
        yield (
            f"{what} {path} can be changed by every user of this machine; withdraw that with "
            f"`chmod o-w {path}`"
        )
    directory = path.absolute().parent
    if _is_writable_by_all(directory):
        yield (
            f"{what} {path} can be replaced by every user of this machine; withdraw that with "
            f"`chmod o-w {directory}`"
        )


def _is_loopback(hostname: str) -> bool:
    """Whether nothing leaves the machine."""
    try:
        return ip_address(hostname).is_loopback
    except ValueError:
        return hostname == "localhost" or hostname.endswith(".localhost")


def _is_readable_by_all(path: Path) -> bool:
    try:
        return os.name == "posix" and bool(path.stat().st_mode & stat.S_IROTH)
    except OSError:
        return False  # `problems_of` reports it


def _is_writable_by_all(path: Path) -> bool:
    """Not a directory such as /tmp, in which each user can replace own files only, or one that is
    mounted for reading, as Kubernetes mounts configurations."""
    try:
        mode, mounted = path.stat().st_mode, os.statvfs(path)
    except OSError:
        return False
    sticky = stat.S_ISDIR(mode) and mode & stat.S_ISVTX
    return bool(mode & stat.S_IWOTH) and not sticky and not mounted.f_flag & os.ST_RDONLY


def host_problems(connection: Connection) -> Iterator[Problem]:
    if bool(connection.hosts) == bool(connection.cloud_id):
        count = "not both" if connection.hosts else "neither is set"
        yield "", f"set hosts or cloud_id; {count}"
    for host in connection.hosts:
        try:
            normal_host(host)
        except ValueError as error:
            yield "hosts", str(error)
    if connection.cloud_id:
        try:
            host_of_cloud_id(connection.cloud_id)
        except ValueError as error:
            yield "cloud_id", str(error)


def credential_problems(credentials: Credentials | None) -> Iterator[Problem]:
    match credentials:
        case None:
            return
        case ApiKey(secret):
            key = "api_key"
        case Basic(username, secret):
            key = "password"
            if not username or ":" in username or not username.isprintable():
                yield "username", "must not be empty or contain a colon"
        case Bearer(secret):
            key = "bearer_token"
    try:
        secret_of(secret, ascii_only=key != "password")
    except ValueError as error:
        yield f"{key}_file" if isinstance(secret, Path) else key, str(error)


def tls_problems(connection: Connection) -> Iterator[Problem]:
    if connection.client_key and not connection.client_certificate:
        yield "client_key", "requires client_certificate; set both"
    plain = [host.startswith("http://") for host in connection.hosts]
    if connection.ca_fingerprint:
        try:
            normal_fingerprint(connection.ca_fingerprint)
        except ValueError as error:
            yield "ca_fingerprint", str(error)
        if connection.ca_certs:
            yield "ca_fingerprint", "excludes ca_certs; keep one of the two"
        if not connection.verify_certificates:
            yield "ca_fingerprint", "excludes verify_certificates = false; remove one"
        if any(plain):
            yield "ca_fingerprint", "requires https:// in all hosts"
    for key, file in (
        ("ca_certs", connection.ca_certs),
        ("client_certificate", connection.client_certificate),
        ("client_key", connection.client_key),
    ):
        if file is None:
            continue
        if plain and all(plain) and key != "client_key":
            yield key, "has no effect, because all hosts begin with http://; remove it"
        try:
            open_regular(file).close()
        except OSError as error:
            yield key, f"{file} cannot be read: {error.strerror}"
