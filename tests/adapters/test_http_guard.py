"""Which requests the daemon's server answers: by Host, Origin, token, body and form."""

import asyncio
import json
from contextlib import asynccontextmanager
from urllib.parse import quote

import aiohttp
import pytest
import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Gauge
from structlog.testing import capture_logs

from autoscaler.adapters.admin_http import (
    AdminServer,
    ClusterPages,
    DecisionRecorder,
    Guard,
    Health,
    Tokens,
)
from autoscaler.connection import Bearer
from tests.adapters.raw_http import Answer, exchange, request
from tests.adapters.recorded import cycle, outcome, steady
from tests.fakes import FakeClock
from tests.virtual_loop import run_in_virtual_time

TOKEN = "a-token-of-the-test"
WITH_TOKEN = {"Authorization": f"Bearer {TOKEN}"}
STRICT = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Server": "autoscaler",
}


@pytest.fixture(autouse=True)
def default_logging():
    structlog.reset_defaults()


class Server:
    """A server with one stopped deployment, e5, and what it has resumed and refused."""

    def __init__(self, token, options):
        clock = FakeClock(start=1_000.0)
        self.resumed, self.refused = [], []
        decisions = DecisionRecorder(clock, "1.2.3")
        decisions.planned(*cycle(outcome(steady("e5"), "unchanged")))
        self.guard = Guard(token, **options)
        registry = CollectorRegistry()
        Gauge("count", "A count.", registry=registry).set(42)
        self.admin = AdminServer(
            registry,
            ClusterPages(Health(clock, 10.0), decisions, resume=self._resume),
            host="127.0.0.1",
            port=0,
            version="1.2.3",
            guard=self.guard,
            on_refused=self.refused.append,
        )

    def _resume(self, deployment_id):
        self.resumed.append(deployment_id)
        return deployment_id == "e5"

    async def send(self, method="GET", path="/decisions", **headers) -> Answer:
        headers = {"Host": f"127.0.0.1:{self.admin.port}", **headers}
        return await exchange(self.admin.port, request(method, path, headers))

    async def resume(self, **headers) -> Answer:
        return await self.send("POST", "/resume/e5", **headers)


@asynccontextmanager
async def serving(token=None, **options):
    token = Tokens(Bearer(TOKEN)) if token is None else token
    server = Server(token, options)
    async with server.admin:
        yield server


def error_of(answer):
    return json.loads(answer.body)["error"]


class TestToken:
    async def test_a_change_needs_it(self):
        async with serving() as server:
            answer = await server.resume()
            assert answer.status == 401
            assert answer.headers["WWW-Authenticate"] == "Bearer"
            assert error_of(answer).startswith("a token is required; ")
            assert (await server.resume(**WITH_TOKEN)).status == 202
        assert server.resumed == ["e5"]
        assert server.refused == ["token"]

    @pytest.mark.parametrize(
        "given",
        [
            "Bearer another-token-of-16",
            f"Basic {TOKEN}",
            TOKEN,
            f"Bearer {TOKEN}x",
            f"Bearer {TOKEN[:-1]}",
            "Bearer",
            "Bearer ",
            "Bearer \xe9",
        ],
    )
    async def test_a_wrong_one(self, given):
        async with serving() as server:
            assert (await server.resume(Authorization=given)).status == 401
        assert server.resumed == []

    async def test_each_operator_may_have_one_with_a_name(self, tmp_path):
        (tmp_path / "alice").write_text("a-token-of-alice-only")
        tokens = Tokens(Bearer(TOKEN), {"alice": Bearer(tmp_path / "alice")})
        assert tokens.name_of(TOKEN) == "operator"
        assert tokens.name_of("a-token-of-alice-only") == "alice"
        assert tokens.name_of("a-token-of-another-one") is None
        tokens.replace(None, {"alice": Bearer(tmp_path / "alice")})
        assert tokens.name_of(TOKEN) is None
        assert tokens.name_of("") is None
        tokens.replace(None)
        assert not tokens
        assert tokens.name_of("a-token-of-alice-only") is None

    async def test_the_scheme_in_any_case(self):
        async with serving() as server:
            assert (await server.resume(Authorization=f"bearer {TOKEN}")).status == 202

    async def test_without_one_no_change_is_accepted(self):
        async with serving(Tokens(None)) as server:
            for headers in ({}, WITH_TOKEN, {"Authorization": "Bearer "}):
                answer = await server.resume(**headers)
                assert answer.status == 403
                assert error_of(answer).endswith("; set server.token_file")
        assert server.resumed == []

    @pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "TRACE", "CONNECT"])
    @pytest.mark.parametrize("path", ["/resume/e5", "/wake/e5", "/decisions", "/healthz", "/none"])
    async def test_every_method_that_may_change_something_needs_it(self, method, path):
        async with serving() as server:
            assert (await server.send(method, path)).status in {400, 401}
        assert server.resumed == []

    async def test_reads_need_none_unless_they_are_closed(self):
        async with serving() as server:
            assert (await server.send()).status == 200
        async with serving(open_reads=False) as server:
            for path in ("/", "/decisions", "/decisions/e5", "/metrics"):
                assert (await server.send("GET", path)).status == 401
                assert (await server.send("HEAD", path)).status == 401
                assert (await server.send("GET", path, **WITH_TOKEN)).status == 200

    async def test_probes_never_need_it(self):
        async with serving(open_reads=False) as server:
            assert (await server.send("GET", "/healthz")).status == 200
            assert (await server.send("GET", "/readyz")).status == 503

    async def test_a_replaced_file_is_read_again(self, tmp_path):
        path = tmp_path / "token"
        path.write_text(TOKEN)
        token = Tokens(Bearer(path))
        assert token.name_of(TOKEN) is not None
        assert not token.renew()
        path.write_text("the-next-token-of-it\n")
        assert token.renew()
        assert token.name_of("the-next-token-of-it") is not None
        assert token.name_of(TOKEN) is None
        path.unlink()
        assert not token.renew()
        assert token.name_of("the-next-token-of-it") is not None  # the file is being replaced

    def test_a_token_that_has_never_been_readable_matches_nothing(self, tmp_path):
        token = Tokens(Bearer(tmp_path / "absent"))
        assert token
        assert token.name_of("") is None

    def test_it_is_not_shown(self):
        assert TOKEN not in repr(Tokens(Bearer(TOKEN)))


class TestHost:
    @pytest.mark.parametrize(
        "host", ["127.0.0.1", "localhost:9464", "LOCALHOST", "[::1]:9464", "10.2.3.4:80", "a.b:1"]
    )
    async def test_this_server(self, host):
        async with serving(allowed_hosts=["*.B"]) as server:
            assert (await server.send(Host=host)).status == 200

    @pytest.mark.parametrize(
        "host",
        [
            "attacker.example",
            "localhost.attacker.example",
            "127.0.0.1.attacker.example",
            "attacker.example:9464",
            "localhost@attacker.example",
            "attacker.example#localhost",
            "2130706433",
            "0x7f.1",
            "[::1",
            "*",
            "local\thost",
            "\x1b[31m",
            "\u202e",
        ],
    )
    async def test_another_name(self, host):
        async with serving() as server:
            for answer in (await server.send(Host=host), await server.resume(Host=host)):
                assert answer.status in {400, 421}
                assert answer.body.isascii()
                assert b"\x1b" not in answer.body
        assert server.resumed == []

    async def test_the_error_names_the_setting(self):
        async with serving() as server:
            answer = await server.send(Host="scaler.example:9464")
        assert answer.status == 421
        assert error_of(answer) == (
            "this server is not 'scaler.example:9464'; if clients reach it by that name, add it "
            "to server.allowed_hosts"
        )
        assert server.refused == ["host"]

    @pytest.mark.parametrize("lines", ["", "Host: localhost\r\nHost: localhost\r\n", "Host:\r\n"])
    @pytest.mark.parametrize("version", ["1.0", "1.1"])
    async def test_not_exactly_one(self, lines, version):
        async with serving() as server:
            head = f"POST /resume/e5 HTTP/{version}\r\nAuthorization: Bearer {TOKEN}\r\n{lines}\r\n"
            answer = await exchange(server.admin.port, head.encode())
            assert answer.status in {400, 421}
        assert server.resumed == []


class TestOrigin:
    ORIGINS = ("http://attacker.example", "null", "https://127.0.0.1", "http://127.0.0.1:1", "x")

    @pytest.mark.parametrize("origin", ORIGINS)
    async def test_a_page_of_another_site_changes_nothing_and_reads_nothing(self, origin):
        """Also with the token, which the page may have found."""
        async with serving() as server:
            for method, path in (
                ("POST", "/resume/e5"),
                ("OPTIONS", "/resume/e5"),
                ("GET", "/decisions"),
            ):
                answer = await server.send(method, path, Origin=origin, **WITH_TOKEN)
                assert answer.status == 403
                assert "Access-Control-Allow-Origin" not in answer.headers
        assert server.resumed == []
        assert set(server.refused) == {"origin"}

    @pytest.mark.parametrize("site", ["cross-site", "same-site"])
    async def test_a_change_that_another_site_has_caused(self, site):
        async with serving() as server:
            headers = {"Sec-Fetch-Site": site, **WITH_TOKEN}
            assert (await server.resume(**headers)).status == 403
            assert (await server.send(**headers)).status == 200  # a link to it
        assert server.resumed == []

    async def test_a_page_of_this_server(self):
        async with serving() as server:
            origin = f"http://127.0.0.1:{server.admin.port}"
            headers = {"Origin": origin, "Sec-Fetch-Site": "same-origin", **WITH_TOKEN}
            assert (await server.resume(**headers)).status == 202

    async def test_an_origin_of_a_name_that_resolves_to_this_machine(self):
        async with serving() as server:
            name = f"attacker.example:{server.admin.port}"
            headers = {"Host": name, "Origin": f"http://{name}", **WITH_TOKEN}
            assert (await server.resume(**headers)).status == 421
        assert server.resumed == []


class TestEveryResponse:
    @pytest.mark.parametrize(
        ("method", "path", "status"),
        [
            ("GET", "/", 200),
            ("GET", "/metrics", 200),
            ("GET", "/decisions", 200),
            ("HEAD", "/decisions", 200),
            ("POST", "/resume/e5", 202),
            ("GET", "/none", 404),
            ("DELETE", "/decisions", 405),
            ("OPTIONS", "/decisions", 405),
            ("BAD METHOD", "/", 400),
        ],
    )
    async def test_it_has_strict_headers_and_ends_the_connection(self, method, path, status):
        async with serving() as server:
            answer = await server.send(method, path, **WITH_TOKEN)
        assert answer.status == status
        assert answer.headers.items() >= STRICT.items()
        assert answer.headers.get("Connection", "close") == "close"  # without it, by HTTP/1.0
        assert answer.complete or method == "HEAD"
        assert (method != "HEAD") == bool(answer.body)

    async def test_the_error_of_a_wrong_method_names_the_others(self):
        async with serving() as server:
            answer = await server.send("PUT", "/resume/e5", **WITH_TOKEN)
        assert (answer.status, answer.headers["Allow"]) == (405, "POST")

    async def test_errors_are_json(self):
        async with serving() as server:
            for path in ("/none", "/decisions/none"):
                answer = await server.send("GET", path)
                assert answer.headers["Content-Type"].startswith("application/json")
                assert error_of(answer)

    @pytest.mark.parametrize(
        "headers", [{"Content-Length": "10000000"}, {"Transfer-Encoding": "chunked"}]
    )
    def test_a_body_is_not_accepted(self, headers):
        async def story():
            async with serving() as server:
                assert (await server.resume(**headers, **WITH_TOKEN)).status == 413
            assert server.resumed == []

        run_in_virtual_time(story())

    async def test_a_target_with_a_host_of_its_own(self):
        async with serving() as server:
            for target in ("http://attacker.example/resume/e5", "*", "attacker.example:80"):
                assert (await server.send("POST", target, **WITH_TOKEN)).status == 400
        assert server.resumed == []

    async def test_a_pattern_is_short(self):
        async with serving() as server:
            assert (await server.send("GET", f"/decisions?deployment={'a*' * 128}")).status == 200
            assert (await server.send("GET", f"/decisions?deployment={'a*' * 129}")).status == 400


async def test_one_kind_of_refusal_is_one_line_in_a_minute():
    async with serving() as server:
        with capture_logs() as lines:
            for _ in range(50):
                await server.resume()
    assert server.refused == ["token"] * 50
    assert [line["event"] for line in lines] == ["http.refused"]


def test_the_next_line_counts_those_without_one():
    async def story():
        async with serving() as server:
            for wait_s in (0.0, 1.0, 60.0):
                await asyncio.sleep(wait_s)
                await server.resume()

    with capture_logs() as lines:
        run_in_virtual_time(story())
    assert [line["unlogged"] for line in lines] == [0, 1]
    assert lines[1]["message"].endswith("; 1 more since the last line")


class TestOddRequests:
    """No request makes the server fail, whatever its method, path, headers and bytes are."""

    PATHS = (
        "/decisions?deployment=%ff",
        "/decisions?deployment=%ed%a0%80",
        "/decisions?deployment=[!",
        "/decisions/%ed%a0%80",
        "/decisions/%00",
        "/decisions/%2f%2e%2e%2f",
        "/decisions/" + "x" * 7000,
        "/decisions//",
        "//attacker.example/decisions",
        "/../../etc/passwd",
        "/metrics?name[]=%00",
        "/resume/%0d%0aX: y",
        "/resume/" + quote("<script>alert(1)</script>"),
        "/%",
        "/%zz",
        "/\xe9",
        "/healthz?x=\x1b",
        "/decisions#fragment",
        "/?" + "&" * 1000,
    )
    METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PROPFIND", "TRACE", "get", "M-SEARCH")

    @pytest.mark.parametrize("path", PATHS)
    async def test_paths_and_methods(self, path):
        async with serving() as server:
            for method in self.METHODS:
                answer = await server.send(method, path, **WITH_TOKEN)
                assert answer.status is not None
                assert answer.status < 500
                assert answer.headers.items() >= STRICT.items()
        assert "defect" not in server.refused

    @pytest.mark.parametrize(
        "headers",
        [
            {"Accept": "application/openmetrics-text;version=abc"},
            {"Accept": "application/openmetrics-text;version=9.9.9;escaping=none"},
            {"Accept": "text/plain;version=1.0.0;escaping=\xe9"},
            {"Accept": "application/openmetrics-text;version=1.0.0\x0bX"},
            {"Accept-Encoding": "gzip;q=x, ,;;"},
            {"Expect": "100-continue"},
            {"Expect": "the impossible"},
            {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Key": "x"},
            {"Upgrade": "h2c", "Connection": "Upgrade, HTTP2-Settings", "HTTP2-Settings": ""},
            {"Range": "bytes=0-1"},
            {"If-Modified-Since": "x"},
            {"Cookie": "a" * 8000},
            {"Content-Length": "-1"},
            {"Content-Length": "x"},
            {"Content-Encoding": "gzip", "Transfer-Encoding": "chunked"},
            {"Transfer-Encoding": "gzip"},
            {"X": "a" * 20_000},
        ],
    )
    async def test_headers(self, headers):
        async with serving() as server:
            for path in ("/metrics", "/decisions"):
                answer = await server.send("GET", path, **headers)
                assert answer.status is not None
                assert answer.status < 500
        assert "defect" not in server.refused

    @settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        st.one_of(
            st.binary(max_size=200),
            st.builds(
                lambda method, path, name, value: (
                    b"%b /%b HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %b\r\n"
                    b"%b: %b\r\n\r\n" % (method, path, TOKEN.encode(), name, value)
                ),
                st.sampled_from([b"GET", b"POST", b"HEAD", b"OPTIONS", b"DELETE", b"QUERY"]),
                st.one_of(
                    st.binary(max_size=40),
                    st.sampled_from([b"metrics", b"decisions?deployment="]),
                    st.binary(max_size=20).map(lambda id_: b"decisions/" + id_),
                    st.binary(max_size=20).map(lambda id_: b"resume/" + id_),
                    st.binary(max_size=9).map(lambda id_: b"resume/" + quote(id_).encode()),
                    st.binary(max_size=9).map(lambda glob: b"decisions?deployment=" + glob),
                ),
                st.sampled_from([b"X", b"Accept", b"Accept-Encoding", b"Origin", b"Expect", b"TE"]),
                st.binary(max_size=20),
            ),
        )
    )
    def test_any_bytes(self, sent):
        async def story():
            async with serving() as server:
                answer = await exchange(server.admin.port, sent)
                assert answer.status is None or 200 <= answer.status < 500
                healthy = await server.send("GET", "/healthz")
                assert healthy.status == 200
            assert "defect" not in server.refused

        run_in_virtual_time(story())


async def test_ordinary_clients_are_served():
    async with serving() as server, aiohttp.ClientSession() as session:
        for _ in range(3):
            async with session.get(f"http://localhost:{server.admin.port}/decisions") as response:
                assert (await response.json())["deployments"][0]["deployment"] == "e5"
