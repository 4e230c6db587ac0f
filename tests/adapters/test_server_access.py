"""TLS, users and the rate limit of the daemon's server, on real sockets."""

import asyncio
import gc
import socket
import ssl
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from types import SimpleNamespace

import aiohttp
import bcrypt
import pytest
import structlog
import trustme
from prometheus_client import CollectorRegistry, Gauge

from autoscaler.adapters.admin_http import (
    AdminServer,
    CannotListen,
    ClusterPages,
    DecisionRecorder,
    Guard,
    Health,
    Tokens,
)
from autoscaler.adapters.admin_http.connections import HEAD_TIMEOUT_S
from autoscaler.adapters.admin_http.rates import MAX_ADDRESSES, Rates
from autoscaler.adapters.admin_http.users import MAX_WAITING, TooManyPasswords, Users
from autoscaler.connection import Bearer
from autoscaler.server_access import (
    RequestLimit,
    ServerAccess,
    ServerTls,
    certificate_problem,
    hash_problem,
    server_context,
)
from tests.fakes import FakeClock
from tests.virtual_loop import LoopClock, run_in_virtual_time

TOKEN = "a-token-of-the-test"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
PASSWORD = "pa:ss wörd"
HASH = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
USERS = ServerAccess(users={"prometheus": HASH})


class Server:
    def __init__(self, access, *, max_connections=None, **options):
        clock = FakeClock(start=1_000.0)
        self.refused = []
        registry = CollectorRegistry()
        Gauge("count", "A count.", registry=registry).set(42)
        self.admin = AdminServer(
            registry,
            ClusterPages(Health(clock, 10.0), DecisionRecorder(clock, "1.2.3")),
            host="127.0.0.1",
            port=0,
            version="1.2.3",
            guard=Guard(Tokens(Bearer(TOKEN)), **options),
            on_refused=self.refused.append,
            max_connections=max_connections,
        )
        self.admin.replace_access(access)

    async def send(self, path="/metrics", *, tls=None, method="GET", **more):
        scheme = "http" if tls is None else "https"
        url = f"{scheme}://127.0.0.1:{self.admin.port}{path}"
        more |= {} if tls is None else {"ssl": tls}
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, url, **more) as response,
        ):
            await response.read()
            return SimpleNamespace(status=response.status, headers=response.headers)

    async def status(self, path="/metrics", **more):
        return (await self.send(path, **more)).status


@asynccontextmanager
async def serving(access, **options):
    server = Server(access, **options)
    async with server.admin:
        yield server


def basic(name="prometheus", password=PASSWORD):
    return {"headers": {"Authorization": aiohttp.encode_basic_auth(name, password)}}


class TestUsers:
    async def test_reads_need_a_user_or_the_token(self):
        async with serving(USERS) as server:
            assert await server.status(**basic()) == 200
            assert await server.status(headers=BEARER) == 200
            refused = await server.send()
            assert refused.status == 401
            assert (
                refused.headers["WWW-Authenticate"] == 'Basic realm="autoscaler", charset="UTF-8"'
            )
            assert server.refused == ["user"]

    @pytest.mark.parametrize(
        ("name", "password"),
        [("prometheus", "wrong"), ("other", PASSWORD), ("", ""), ("prometheus", "x" * 100)],
    )
    async def test_another_user_or_password_is_refused_again_and_again(self, name, password):
        async with serving(USERS) as server:
            for _ in range(2):
                assert await server.status(**basic(name, password)) == 401

    @pytest.mark.parametrize(
        "header", ["Basic", "Basic !!!", "Basic cHJvbWV0aGV1cw==", "Basic /w==", "Digest x"]
    )
    async def test_a_malformed_header_is_refused(self, header):
        async with serving(USERS) as server:
            assert await server.status(headers={"Authorization": header}) == 401

    async def test_a_user_may_not_change_anything(self):
        async with serving(USERS) as server:
            assert await server.status("/resume/e5", method="POST", **basic()) == 401
            assert await server.status("/resume/e5", method="POST", headers=BEARER) == 404

    async def test_a_user_may_read_where_reads_are_not_open(self):
        async with serving(USERS, open_reads=False) as server:
            assert await server.status(**basic()) == 200

    async def test_the_probes_need_none(self):
        async with serving(USERS) as server:
            assert await server.status("/healthz") == 200
            assert await server.status("/readyz") == 503

    async def test_users_are_replaced_at_once(self):
        async with serving(USERS) as server:
            assert await server.status(**basic()) == 200
            server.admin.replace_access(ServerAccess(users={"other": HASH}))
            assert await server.status(**basic()) == 401
            assert await server.status(**basic("other")) == 200
            server.admin.replace_access(ServerAccess())
            assert await server.status() == 200

    async def test_only_so_many_passwords_wait(self):
        users = Users({"prometheus": HASH})
        header = basic()["headers"]["Authorization"]
        results = await asyncio.gather(
            *(users.named_by(header) for _ in range(MAX_WAITING + 2)), return_exceptions=True
        )
        assert results[:MAX_WAITING] == ["prometheus"] * MAX_WAITING
        assert all(isinstance(each, TooManyPasswords) for each in results[MAX_WAITING:])
        assert await users.named_by(header) == "prometheus"


class TestTheRateLimit:
    LIMITED = ServerAccess(rate_limit=RequestLimit(per_s=0.01, burst=2))

    async def test_one_address_may_send_so_many(self):
        async with serving(self.LIMITED) as server:
            assert [await server.status() for _ in range(3)] == [200, 200, 429]
            assert 1 <= int((await server.send()).headers["Retry-After"]) <= 100
            assert server.refused == ["rate", "rate"]

    async def test_the_probes_are_not_limited(self):
        async with serving(self.LIMITED) as server:
            assert [await server.status("/healthz") for _ in range(4)] == [200] * 4

    async def test_attempts_with_wrong_passwords_count(self):
        limited = ServerAccess(users=USERS.users, rate_limit=self.LIMITED.rate_limit)
        async with serving(limited) as server:
            statuses = [await server.status(**basic(password="wrong")) for _ in range(3)]
            assert statuses == [401, 401, 429]

    @pytest.mark.parametrize(
        ("address", "same"),
        [
            ("10.0.0.2", False),
            ("2001:db8::2", False),
            ("::ffff:10.0.0.2", False),
            ("2001:db8:0:1::3", True),
            ("2001:db8:0:1:ffff::1", True),
        ],
    )
    async def test_the_addresses_of_one_host_are_one(self, address, same):
        """A host has a whole network of IPv6, of 64 bits."""
        rates = Rates(self.LIMITED.rate_limit)
        for _ in range(2):
            assert rates.wait_s("2001:db8:0:1::2") == 0.0
        assert (rates.wait_s(address) > 0.0) is same

    async def test_ipv4_addresses_as_those_of_ipv6_are_several(self):
        rates = Rates(self.LIMITED.rate_limit)
        assert [rates.wait_s(f"::ffff:10.0.0.{number}") for number in range(4)] == [0.0] * 4

    async def test_it_remembers_a_bounded_number_of_addresses(self):
        rates = Rates(self.LIMITED.rate_limit)
        for number in range(2 * MAX_ADDRESSES):
            rates.wait_s(f"10.1.{number // 256}.{number % 256}")
        assert len(rates._buckets) == MAX_ADDRESSES

    def test_it_is_a_rate(self):
        async def statuses():
            async with serving(ServerAccess(rate_limit=RequestLimit(per_s=0.5, burst=1))) as server:
                found = []
                for _ in range(3):
                    found += [await server.status(), await server.status()]
                    await LoopClock().sleep(2.0)
                return found

        assert run_in_virtual_time(statuses()) == [200, 429] * 3


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


class Files:
    """The certificates of a server, as files."""

    def __init__(self, directory):
        self.cert, self.key, self.client_ca = (
            directory / name for name in ("tls.crt", "tls.key", "ca.crt")
        )

    def issue(self, authority, **dates):
        issued = authority.issue_cert("127.0.0.1", "localhost", **dates)
        self.key.write_bytes(issued.private_key_pem.bytes())
        self.cert.write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
        return self

    def access(self, *, client_ca=None):
        if client_ca is not None:
            client_ca.cert_pem.write_to_path(self.client_ca)
        client_ca_file = None if client_ca is None else self.client_ca
        return ServerAccess(
            tls=ServerTls(cert_file=self.cert, key_file=self.key, client_ca_file=client_ca_file)
        )


@pytest.fixture
def files(tmp_path, authority):
    return Files(tmp_path).issue(authority)


def trusting(authority, *, client=None):
    context = ssl.create_default_context()
    authority.configure_trust(context)
    if client is not None:
        client.issue_cert("client@example.com").configure_cert(context)
    return context


class TestTls:
    async def test_requests_are_answered(self, files, authority):
        async with serving(files.access()) as server:
            assert await server.status(tls=trusting(authority)) == 200
            assert await server.status("/healthz", tls=trusting(authority)) == 200

    async def test_one_that_closes_its_connection_is_no_line_in_the_log(
        self, files, authority, caplog
    ):
        async with serving(files.access()) as server:
            _, writer = await asyncio.open_connection(
                "127.0.0.1", server.admin.port, ssl=trusting(authority)
            )
            writer.close()
            await writer.wait_closed()
            assert await server.status(tls=trusting(authority)) == 200
        assert caplog.records == []

    async def test_a_client_without_tls_is_closed(self, files, authority):
        async with serving(files.access()) as server:
            with pytest.raises(aiohttp.ClientError):
                await server.send()
            assert set(server.refused) == {"malformed"}
            assert await server.status(tls=trusting(authority)) == 200

    async def test_one_that_does_not_shake_hands_delays_no_other(self, files, authority):
        async with serving(files.access(), max_connections=3) as server:
            silent = [
                await asyncio.open_connection("127.0.0.1", server.admin.port) for _ in range(5)
            ]
            assert await server.status(tls=trusting(authority)) == 200
            assert "connections" in server.refused
            for _, writer in silent:
                writer.close()

    def test_one_that_does_not_shake_hands_is_closed(self, files):
        async def waited_s():
            async with serving(files.access()) as server:
                reader, writer = await asyncio.open_connection("127.0.0.1", server.admin.port)
                began = asyncio.get_running_loop().time()
                assert await reader.read() == b""
                writer.close()
                return asyncio.get_running_loop().time() - began

        assert run_in_virtual_time(waited_s()) == pytest.approx(HEAD_TIMEOUT_S, abs=0.5)

    def test_its_end_closes_the_connections_of_clients_that_do_not(self, files, authority):
        """Python warns of a socket that is open when the loop has ended, which is an error here."""

        def connected(port):
            client = socket.create_connection(("127.0.0.1", port))
            return trusting(authority).wrap_socket(client, server_hostname="127.0.0.1")

        async def play():
            async with serving(files.access()) as server:
                return await asyncio.to_thread(connected, server.admin.port)

        with asyncio.run(play()) as client:
            gc.collect()
            assert client.recv(1) == b""

    async def test_it_ends_while_one_shakes_hands(self, files):
        async with serving(files.access()) as server:
            _, writer = await asyncio.open_connection("127.0.0.1", server.admin.port)
            await asyncio.sleep(0)
        writer.close()

    def test_old_versions_are_not_spoken(self, files):
        context = server_context(files.access().tls)
        assert context.minimum_version == ssl.TLSVersion.TLSv1_2

    @pytest.mark.parametrize(
        ("dates", "problem"),
        [
            ({}, ""),
            ({"not_after": datetime(2001, 1, 1, tzinfo=UTC)}, "tls.crt, which has expired; renew"),
            ({"not_before": datetime(2998, 1, 1, tzinfo=UTC)}, "tls.crt, which is not valid yet"),
        ],
        ids=["valid", "expired", "not yet valid"],
    )
    @pytest.mark.parametrize("clients", [False, True], ids=["open", "clients-with-certificates"])
    async def test_a_certificate_that_clients_refuse_is_said(self, files, dates, problem, clients):
        files.issue(trustme.CA(), **dates)
        access = files.access(client_ca=trustme.CA() if clients else None)
        assert problem in (found := certificate_problem(access.tls))
        assert bool(found) is bool(problem)
        with structlog.testing.capture_logs() as logs:
            Server(access)
        assert [each["message"] for each in logs] == ([found] if found else [])

    async def test_a_renewed_certificate_is_used_by_the_next_connection(self, files):
        former, later = trustme.CA(), trustme.CA()
        files.issue(former)
        async with serving(files.access()) as server:
            assert await server.status(tls=trusting(former)) == 200
            server.admin.replace_access(files.issue(later).access())
            assert await server.status(tls=trusting(later)) == 200
            with pytest.raises(aiohttp.ClientConnectorCertificateError):
                await server.send(tls=trusting(former))

    async def test_one_that_is_broken_changes_nothing(self, files, authority):
        async with serving(files.access()) as server:
            files.key.write_text("no key")
            with pytest.raises(CannotListen, match="no PEM certificate with an unencrypted key"):
                server.admin.replace_access(files.access())
            assert await server.status(tls=trusting(authority)) == 200

    async def test_clients_need_a_certificate_of_their_authority(self, files, authority):
        clients = trustme.CA()
        async with serving(files.access(client_ca=clients)) as server:
            assert await server.status(tls=trusting(authority, client=clients)) == 200
            assert await server.status(tls=trusting(authority)) == 403
            assert server.refused == ["certificate"]
            with pytest.raises((aiohttp.ClientError, ConnectionError)):
                await server.send(tls=trusting(authority, client=trustme.CA()))

    async def test_the_probes_need_none(self, files, authority):
        async with serving(files.access(client_ca=trustme.CA())) as server:
            assert await server.status("/healthz", tls=trusting(authority)) == 200


@pytest.mark.parametrize("version", ["2a", "2b", "2y"])
async def test_hashes_of_each_program_are_compared(version):
    """`htpasswd` writes 2y, others 2a and 2b."""
    hashed = bcrypt.hashpw(b"secret", bcrypt.gensalt(10)).decode().replace("2b", version, 1)
    assert hash_problem(hashed) == ""
    users = Users({"alice": hashed})
    assert await users.named_by(aiohttp.encode_basic_auth("alice", "secret")) == "alice"
    assert await users.named_by(aiohttp.encode_basic_auth("alice", "another")) is None
