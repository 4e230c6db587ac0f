"""TLS contexts: trust in the system's authorities, a file of them, or one pinned certificate."""

import asyncio
import ssl
from hashlib import sha256
from typing import Any

from yarl import URL

from autoscaler.adapters.elasticsearch.errors import ConnectionSettingsError, TlsError, ensure_none
from autoscaler.adapters.elasticsearch.hosts import place_of
from autoscaler.adapters.elasticsearch.transport_errors import unreachable, untrusted
from autoscaler.connection import Connection, normal_fingerprint, tls_problems


class Trust:
    """The TLS context for a host.

    Raises:
        ConnectionSettingsError: a file cannot be read, or settings conflict.
    """

    def __init__(self, connection: Connection) -> None:
        ensure_none(tls_problems(connection))
        self._connection = connection
        fingerprint = connection.ca_fingerprint
        self._fingerprint = bytes.fromhex(normal_fingerprint(fingerprint)) if fingerprint else b""
        # Read now, so that a missing file is reported at the start.
        self._context = _context(connection)
        self._outdated = False
        self._pinned: dict[URL, ssl.SSLContext] = {}

    async def context_for(self, url: URL) -> ssl.SSLContext | bool:
        """The `ssl` argument of a request to `url`.

        Raises:
            TlsError: no certificate that the server presents has the pinned digest.
            Unreachable: no connection.
        """
        if url.scheme != "https":
            return True
        if self._outdated:
            self._renew()
        if not self._fingerprint:
            return self._context
        if url not in self._pinned:
            anchor = await self._certificate_with_digest(url)
            self._pinned[url] = _anchored(self._connection, anchor)
        return self._pinned[url]

    def reload_before_next(self) -> None:
        """Read all files again before the next connection: they may have been replaced since."""
        self._outdated = True

    def _renew(self) -> None:
        try:
            ensure_none(tls_problems(self._connection))
            self._context = _context(self._connection)
        except ConnectionSettingsError:
            return  # the files are being replaced; the previous context stays
        self._pinned.clear()
        self._outdated = False

    async def _certificate_with_digest(self, url: URL) -> bytes:
        """The pinned certificate, found in the chain that the server presents.

        That proves nothing by itself: anyone can present a copy of an authority's certificate.
        The handshake that counts is the next one, where this is the only anchor of trust.
        """
        assert url.host is not None
        try:
            _, writer = await asyncio.open_connection(
                url.host, url.port, ssl=self._context, server_hostname=url.host
            )
        except ssl.SSLError as error:
            raise untrusted(error, place_of(url)) from error
        except OSError as error:
            raise unreachable(error, place_of(url)) from error
        chain = _presented(writer.get_extra_info("ssl_object"))
        writer.transport.abort()
        for certificate in chain:
            if sha256(certificate).digest() == self._fingerprint:
                return certificate
        raise TlsError(
            f"{place_of(url)} presents no certificate with the digest of ca_fingerprint; "
            "compare it with the SHA-256 digest of the cluster's http_ca.crt"
        )


def _context(connection: Connection) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(
            cafile=str(connection.ca_certs) if connection.ca_certs else None
        )
    except OSError as error:
        raise ConnectionSettingsError(
            f"ca_certs {connection.ca_certs} cannot be used: {_reason_of(error)}; name a PEM "
            "file of the authority's certificate, such as the cluster's http_ca.crt"
        ) from error
    # Python 3.13 is strict by default, and rejects the authorities that Elasticsearch itself
    # generates (elastic/elasticsearch#117769).
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    _identify(context, connection)
    if connection.ca_fingerprint or not connection.verify_certificates:
        # With a fingerprint this context only fetches certificates; no request is sent with it.
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _identify(context: ssl.SSLContext, connection: Connection) -> None:
    """Present the client certificate, if there is one."""
    if not connection.client_certificate:
        return
    try:
        # With an empty password, an encrypted key fails instead of prompting at the terminal.
        context.load_cert_chain(connection.client_certificate, connection.client_key, password="")
    except OSError as error:  # ssl.SSLError is one
        raise ConnectionSettingsError(
            f"client_certificate {connection.client_certificate} or its key cannot be used: "
            f"{_reason_of(error)}"
        ) from error


def _anchored(connection: Connection, anchor: bytes) -> ssl.SSLContext:
    """A context that trusts only the certificate `anchor`, and certificates signed by it.

    Names are not compared, as in the official clients: the pin says whose certificate it is, and
    Elasticsearch's own certificates name addresses that clients may not use.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(cadata=anchor)
    # Lets an intermediate or the server's own certificate be the anchor.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    _identify(context, connection)
    return context


def _presented(connection: Any) -> list[bytes]:
    """The certificates a server sent, in DER, unverified."""
    if hasattr(connection, "get_unverified_chain"):  # since Python 3.13
        return list(connection.get_unverified_chain())
    chain = connection._sslobj.get_unverified_chain() or []
    der = 2  # _ssl.ENCODING_DER
    return [certificate.public_bytes(der) for certificate in chain]


def _reason_of(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        if error.reason == "NO_CERTIFICATE_OR_CRL_FOUND":
            return "it contains no certificate"
        return error.reason or "not in PEM form"
    return error.strerror or str(error)
