"""TLS: trusted and untrusted certificates, pins, and client certificates."""

import ssl
from datetime import UTC, datetime
from hashlib import sha256

import aiohttp
import pytest
import trustme
from yarl import URL

from autoscaler.adapters.elasticsearch.errors import (
    ConnectionBroken,
    ConnectionSettingsError,
    TlsError,
    Unreachable,
)
from autoscaler.adapters.elasticsearch.tls import Trust
from autoscaler.adapters.elasticsearch.transport_errors import transport_error_of
from autoscaler.connection import Connection
from tests.adapters.elasticsearch.servers import (
    api_for,
    assigning,
    info,
    respond,
    serving,
)

OK = respond(info())
LONG_AGO = datetime(2001, 1, 1, tzinfo=UTC)
IN_THE_FUTURE = datetime(2998, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture(scope="module")
def stranger():
    return trustme.CA()


def digest(certificate):
    return sha256(ssl.PEM_cert_to_DER_cert(certificate.bytes().decode())).hexdigest()


def server_context(directory, leaf, *more, clients=None):
    """A server that presents `leaf`, followed by `more`, and requires certificates of `clients`."""
    chain = directory / "chain.pem"
    blobs = [leaf.private_key_pem, *leaf.cert_chain_pems, *more]
    chain.write_bytes(b"".join(blob.bytes() for blob in blobs))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(chain)
    if clients is not None:
        clients.configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def written(path, *blobs):
    path.write_bytes(b"".join(blob.bytes() for blob in blobs))
    return path


@pytest.fixture
def leaf(authority):
    return authority.issue_cert("127.0.0.1")


@pytest.fixture
def context(tmp_path, authority, leaf):
    """The default of Elasticsearch: the chain with the authority at its end."""
    return server_context(tmp_path, leaf, authority.cert_pem)


async def cluster_name_from(server, **settings):
    async with api_for(server, **settings) as api:
        return (await api.info()).cluster_name


async def test_an_authority_given_as_a_file(tmp_path, authority, context):
    ca = written(tmp_path / "ca.pem", authority.cert_pem)
    async with serving(OK, tls=context) as server:
        assert await cluster_name_from(server, ca_certs=ca) == "demo"


async def test_an_authority_that_is_not_the_servers(tmp_path, stranger, context):
    ca = written(tmp_path / "ca.pem", stranger.cert_pem)
    async with serving(OK, tls=context) as server:
        with pytest.raises(TlsError, match=r"is not trusted: .*ca_certs"):
            await cluster_name_from(server, ca_certs=ca)
        assert server.requests == []


async def test_the_systems_authorities_are_the_default(context):
    async with serving(OK, tls=context) as server:
        with pytest.raises(TlsError):
            await cluster_name_from(server)


async def test_a_certificate_for_another_name(tmp_path, authority):
    leaf = authority.issue_cert("elsewhere.example")
    context = server_context(tmp_path, leaf)
    ca = written(tmp_path / "ca.pem", authority.cert_pem)
    async with serving(OK, tls=context) as server:
        with pytest.raises(TlsError, match="host name"):
            await cluster_name_from(server, ca_certs=ca)


async def test_a_certificate_for_another_name_is_not_blamed_on_the_authority(tmp_path, authority):
    context = server_context(tmp_path, authority.issue_cert("elsewhere.example"))
    ca = written(tmp_path / "ca.pem", authority.cert_pem)
    async with serving(OK, tls=context) as server:
        with pytest.raises(TlsError) as raised:
            await cluster_name_from(server, ca_certs=ca)
    assert "ca_certs" not in str(raised.value)


@pytest.mark.parametrize(
    ("dates", "remedy"),
    [
        ({"not_after": LONG_AGO}, "certificate has expired; renew it"),
        ({"not_before": IN_THE_FUTURE}, "certificate is not yet valid; correct the clock"),
    ],
    ids=["expired", "not yet valid"],
)
async def test_dates_of_a_certificate_are_no_matter_of_the_settings(
    tmp_path, authority, dates, remedy
):
    context = server_context(tmp_path, authority.issue_cert("127.0.0.1", **dates))
    ca = written(tmp_path / "ca.pem", authority.cert_pem)
    async with serving(OK, tls=context) as server:
        with pytest.raises(TlsError, match=remedy):
            await cluster_name_from(server, ca_certs=ca)


async def test_authorities_need_not_be_strictly_standard(monkeypatch):
    """The authorities of Elasticsearch lack a key usage, which Python 3.13 rejects by default."""
    default = ssl.create_default_context

    def strict(**arguments):
        made = default(**arguments)
        made.verify_flags |= ssl.VERIFY_X509_STRICT
        return made

    monkeypatch.setattr(ssl, "create_default_context", strict)
    made = Trust(Connection(hosts=("https://es",)))
    used = await made.context_for(URL("https://es"))
    assert not used.verify_flags & ssl.VERIFY_X509_STRICT


async def test_verification_can_be_disabled(context):
    async with serving(OK, tls=context) as server:
        assert await cluster_name_from(server, verify_certificates=False) == "demo"


@pytest.mark.parametrize("separator", ["", ":", " "])
async def test_the_digest_of_the_authority(separator, authority, context):
    given = bytes.fromhex(digest(authority.cert_pem))
    pairs = separator.join(f"{byte:02X}" for byte in given)
    async with serving(OK, tls=context) as server:
        assert await cluster_name_from(server, ca_fingerprint=pairs) == "demo"
        assert await cluster_name_from(server, ca_fingerprint=pairs.lower()) == "demo"


async def test_the_digest_of_the_certificate_of_the_server(leaf, context):
    async with serving(OK, tls=context) as server:
        assert (
            await cluster_name_from(server, ca_fingerprint=digest(leaf.cert_chain_pems[0]))
            == "demo"
        )


async def test_the_digest_of_an_intermediate_authority(tmp_path, authority):
    intermediate = authority.create_child_ca()
    leaf = intermediate.issue_cert("127.0.0.1")
    context = server_context(tmp_path, leaf)
    async with serving(OK, tls=context) as server:
        assert (
            await cluster_name_from(server, ca_fingerprint=digest(intermediate.cert_pem)) == "demo"
        )


async def test_a_pinned_server_may_have_another_name(tmp_path, authority):
    leaf = authority.issue_cert("es-1.internal")
    context = server_context(tmp_path, leaf, authority.cert_pem)
    async with serving(OK, tls=context) as server:
        assert await cluster_name_from(server, ca_fingerprint=digest(authority.cert_pem)) == "demo"


async def test_the_digest_of_another_authority(stranger, context):
    async with serving(OK, tls=context) as server:
        with pytest.raises(TlsError, match="ca_fingerprint"):
            await cluster_name_from(server, ca_fingerprint=digest(stranger.cert_pem))
        assert server.requests == []


async def test_a_copy_of_the_pinned_authority_proves_nothing(tmp_path, authority, stranger):
    """An attacker can append the genuine, public certificate to another chain."""
    forged = stranger.issue_cert("127.0.0.1")
    context = server_context(tmp_path, forged, authority.cert_pem)
    async with serving(OK, tls=context) as server:
        with pytest.raises(TlsError):
            await cluster_name_from(server, ca_fingerprint=digest(authority.cert_pem))
        assert server.requests == []


async def test_a_client_certificate(tmp_path, authority, leaf):
    context = server_context(tmp_path, leaf, authority.cert_pem, clients=authority)
    ours = authority.issue_cert("scaler@example.org")
    files = {
        "client_certificate": written(tmp_path / "client.pem", *ours.cert_chain_pems),
        "client_key": written(tmp_path / "client.key", ours.private_key_pem),
    }
    ca = written(tmp_path / "ca.pem", authority.cert_pem)
    async with serving(OK, tls=context) as server:
        assert await cluster_name_from(server, ca_certs=ca, **files) == "demo"
        assert (
            await cluster_name_from(server, ca_fingerprint=digest(authority.cert_pem), **files)
            == "demo"
        )


async def test_a_server_that_requires_a_client_certificate(tmp_path, authority, leaf):
    context = server_context(tmp_path, leaf, authority.cert_pem, clients=authority)
    ca = written(tmp_path / "ca.pem", authority.cert_pem)
    async with serving(OK, tls=context) as server:
        # Whether the alert arrives before the end of the connection is up to the server.
        with pytest.raises((TlsError, ConnectionBroken)):
            await cluster_name_from(server, ca_certs=ca)
        assert server.requests == []


async def test_a_pinned_port_that_does_not_use_tls():
    async with serving(OK) as server:
        with pytest.raises((TlsError, Unreachable)):
            await cluster_name_from(server.url.replace("http:", "https:"), ca_fingerprint="ab" * 32)


async def test_an_alert_after_the_handshake_is_a_matter_of_certificates():
    lost = aiohttp.ClientOSError(1, "certificate required")
    lost.__cause__ = ssl.SSLError(1, "[SSL: TLSV13_ALERT_CERTIFICATE_REQUIRED] alert")
    failure = transport_error_of(lost, request="GET /", place="https://es:9200", timeout_s=10.0)
    assert type(failure) is TlsError
    assert "client_certificate" in str(failure)


async def test_an_authority_that_is_replaced_at_run_time(tmp_path, authority, stranger, context):
    ca = written(tmp_path / "ca.pem", stranger.cert_pem)
    async with serving(OK, tls=context) as server, api_for(server, ca_certs=ca) as api:
        with pytest.raises(TlsError):
            await api.info()
        written(ca, authority.cert_pem)
        assert (await api.info()).cluster_name == "demo"


async def test_an_authority_that_is_being_replaced(tmp_path, authority, stranger, context):
    ca = written(tmp_path / "ca.pem", stranger.cert_pem)
    async with serving(OK, tls=context) as server, api_for(server, ca_certs=ca) as api:
        with pytest.raises(TlsError):
            await api.info()
        ca.unlink()
        with pytest.raises(TlsError):  # the previous context is still in use
            await api.info()
        written(ca, authority.cert_pem)
        assert (await api.info()).cluster_name == "demo"


async def test_a_change_goes_to_a_host_that_can_be_trusted(tmp_path, authority, stranger):
    (tmp_path / "bad").mkdir()
    bad = server_context(tmp_path / "bad", stranger.issue_cert("127.0.0.1"))
    good = server_context(tmp_path, authority.issue_cert("127.0.0.1"))
    ca = written(tmp_path / "ca.pem", authority.cert_pem)
    async with (
        serving(OK, tls=bad) as first,
        serving(assigning, tls=good) as second,
        api_for(first, second, ca_certs=ca) as api,
    ):
        await api.update("elser", allocations=4)
    assert first.requests == []
    assert len(second.requests) == 1


async def test_a_port_that_does_not_use_tls():
    async with serving(OK) as server:
        url = server.url.replace("http:", "https:")
        with pytest.raises((TlsError, Unreachable, ConnectionBroken)):
            await cluster_name_from(url, verify_certificates=False)


async def test_a_closed_port_with_a_pinned_certificate():
    with pytest.raises(Unreachable, match="refused"):
        await cluster_name_from("https://127.0.0.1:1", ca_fingerprint="ab" * 32)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"ca_certs": "missing.pem"}, "ca_certs: .*missing.pem cannot be read: No such file"),
        ({"ca_certs": "empty.pem"}, "empty.pem cannot be used: .* name a PEM file"),
        ({"client_certificate": "missing.pem"}, "client_certificate: .* cannot be read"),
        ({"client_key": "empty.pem"}, "client_key: requires client_certificate"),
        ({"ca_fingerprint": "abc"}, "64 hexadecimal digits"),
        ({"ca_fingerprint": "ab" * 32, "ca_certs": "empty.pem"}, "excludes ca_certs"),
        ({"ca_fingerprint": "ab" * 32, "verify_certificates": False}, "remove one"),
        ({"ca_fingerprint": "ab" * 32, "hosts": ("http://es:9200",)}, "requires https://"),
    ],
    ids=lambda value: None if isinstance(value, dict) else value[:20],
)
async def test_invalid_settings(tmp_path, settings, message):
    (tmp_path / "empty.pem").touch()
    files = {
        name: tmp_path / value if str(value).endswith(".pem") else value
        for name, value in settings.items()
    }
    with pytest.raises(ConnectionSettingsError, match=message):
        await cluster_name_from("https://es:9200", **files)
