"""Who may use the daemon's HTTP server, and how: certificates, users, and the rate of requests.

The configuration and the server share these values. They are validated here only.
"""

import hashlib
import re
import ssl
from collections.abc import Mapping
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path

from msgspec import Struct

from autoscaler.files import read_regular

MAX_PEM_BYTES = 1_048_576
"""The size limit of a file with certificates, in bytes. All public authorities are 250 kB."""

MAX_PASSWORD_BYTES = 72
"""The longest password that bcrypt hashes."""

_BCRYPT = re.compile(r"\$2[aby]\$(?P<cost>[0-9]{2})\$[./A-Za-z0-9]{21}[.Oeu][./A-Za-z0-9]{31}")
"""The last character of the salt, whose 128 bits are 21 characters and two bits, is one of four."""

MIN_COST, MAX_COST = 10, 14
"""Range of the cost of a hash: its binary logarithm. 10, the default of `htpasswd -B` rounded up,
takes 50 ms; 14 takes one second, for which other clients with a new password wait."""


_DATES = {
    9: "is not valid yet; correct the clock of this machine",
    10: "has expired; renew it, which takes effect without a restart",
}
"""By the reason of OpenSSL: X509_V_ERR_CERT_NOT_YET_VALID and X509_V_ERR_CERT_HAS_EXPIRED."""

_MAX_FLIGHTS = 4
"""Messages that a client sends in a handshake at most, and one to spare."""

UNNAMED_TOKEN = "operator"  # noqa: S105
"""The name of the token that has none in the configuration."""


class ServerTls(Struct, frozen=True, kw_only=True):
    """The certificate of the server, and the authority of its clients."""

    cert_file: Path  # PEM: the certificate, and those of intermediate authorities
    key_file: Path  # PEM, not encrypted
    client_ca_file: Path | None = None  # PEM; None: clients need no certificate
    digest: str = ""  # of the contents, so that a renewed certificate is another value


class RequestLimit(Struct, frozen=True, kw_only=True):
    """Requests of one address, apart from those for the probes."""

    per_s: float
    burst: int  # requests that may follow one another at once


class ServerAccess(Struct, frozen=True, kw_only=True):
    """Who may use the server, besides the tokens. All of it can be changed while it runs."""

    tls: ServerTls | None = None  # None: plain HTTP
    users: Mapping[str, str] = {}  # bcrypt hashes of the passwords, by name; empty: no users
    rate_limit: RequestLimit | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}(tls={self.tls!r}, users={list(self.users)})"


OPEN = ServerAccess()
"""Plain HTTP, without users and limits."""


def contents_digest(*paths: Path) -> str:
    """The digest of the contents of files.

    Raises:
        OSError: one cannot be read, or is too large. `filename` says which.
    """
    digest = hashlib.sha256()
    for path in paths:
        content = read_regular(path, MAX_PEM_BYTES)
        digest.update(f"{len(content)}:".encode() + content)
    return digest.hexdigest()


def server_context(tls: ServerTls) -> ssl.SSLContext:
    """The settings of TLS for the server.

    A client may come without a certificate, because probes have none. A wrong one is refused.

    Raises:
        ValueError: the message says which file is not usable, and why.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # Without `password`, OpenSSL asks for it on the terminal.
    try:
        context.load_cert_chain(tls.cert_file, tls.key_file, password=_no_password)
    except ssl.SSLError as error:
        what = (
            "the key is not that of the certificate"
            if error.reason == "KEY_VALUES_MISMATCH"
            else "no PEM certificate with an unencrypted key"
        )
        raise ValueError(f"{tls.cert_file} with {tls.key_file}: {what}") from error
    except OSError as error:
        raise ValueError(f"{tls.cert_file} with {tls.key_file}: {error.strerror}") from error
    if tls.client_ca_file is None:
        return context
    try:
        context.load_verify_locations(tls.client_ca_file)
    except OSError as error:  # ssl.SSLError included
        raise ValueError(f"{tls.client_ca_file}: no PEM certificate of an authority") from error
    context.verify_mode = ssl.CERT_OPTIONAL
    return context


def certificate_problem(tls: ServerTls) -> str:
    """Why clients refuse the certificate of the server now; empty: its dates are no reason.

    OpenSSL checks the dates in a handshake, which takes place in memory.
    """
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # the certificate is its own authority
    try:
        pem = read_regular(tls.cert_file, MAX_PEM_BYTES).decode("ascii")
        end = pem.index(ssl.PEM_FOOTER) + len(ssl.PEM_FOOTER)
        client.load_verify_locations(cadata=pem[pem.index(ssl.PEM_HEADER) : end])
        _shake_hands(client, server_context(tls))
    except ssl.SSLCertVerificationError as error:
        reason = _DATES.get(error.verify_code)
        return f"server.tls: clients refuse {tls.cert_file}, which {reason}" if reason else ""
    except (OSError, ValueError):  # ssl.SSLError included
        pass  # not usable at all, which `server_context` reports
    return ""


def _shake_hands(client: ssl.SSLContext, server: ssl.SSLContext) -> None:
    """
    Raises:
        ssl.SSLError: one of them refuses the other.
    """
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = (
        client.wrap_bio(to_client, to_server),
        server.wrap_bio(to_server, to_client, server_side=True),
    )
    for _ in range(_MAX_FLIGHTS):
        for side in sides:
            with suppress(ssl.SSLWantReadError):
                side.do_handshake()


def is_loopback(host: str) -> bool:
    """Whether only this host reaches an address; also of a name that is usually one."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def hash_problem(hashed: str) -> str:
    """What is wrong with the hash of a password; empty: nothing."""
    found = _BCRYPT.fullmatch(hashed)
    if found is None:
        return "must be a bcrypt hash, such as htpasswd -nB NAME prints after the name"
    if not MIN_COST <= int(found["cost"]) <= MAX_COST:
        return f"must have a cost from {MIN_COST} to {MAX_COST}; use htpasswd -nB -C {MIN_COST}"
    return ""


def _no_password() -> str:
    return ""
