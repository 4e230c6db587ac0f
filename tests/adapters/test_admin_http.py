import json
import socket
import zlib
from functools import partial
from urllib.parse import quote

import aiohttp
import pytest
import structlog
from prometheus_client import CollectorRegistry, Gauge, generate_latest

from autoscaler.adapters.admin_http import (
    AdminServer,
    CannotListen,
    ClusterPages,
    DecisionRecorder,
    Guard,
    Health,
    Tokens,
)
from autoscaler.connection import Bearer
from autoscaler.core.decision import OutcomeKind, Unmanaged
from autoscaler.ports import FailureKind, ObservationFailed
from tests.adapters.recorded import cycle, decision, outcome, steady
from tests.fakes import FakeClock

TOKEN = "0123456789abcdef"
AUTHORIZATION = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture
def clock():
    return FakeClock(start=1_000.0)


@pytest.fixture
def health(clock):
    return Health(clock, poll_interval_s=60.0)


@pytest.fixture
def decisions(clock):
    return DecisionRecorder(clock, "1.2.3")


@pytest.fixture
def registry():
    registry = CollectorRegistry()
    Gauge("count", "A count.", registry=registry).set(42)
    return registry


@pytest.fixture
def stopped():
    """The deployments that can be resumed."""
    return {"elser", STRANGE}


@pytest.fixture
async def server(registry, health, decisions, stopped):
    server = AdminServer(
        registry,
        ClusterPages(health, decisions, resume=stopped.__contains__),
        host="127.0.0.1",
        port=0,
        version="1.2.3",
        guard=Guard(Tokens(Bearer(TOKEN))),
    )
    async with server:
        yield server


@pytest.fixture
async def send(server):
    """Send a request to the server; return status, content type and text."""

    async def send(method: str, path: str, **headers: str) -> tuple[int, str, str]:
        url = f"http://127.0.0.1:{server.port}{path}"
        async with session.request(method, url, headers=headers) as response:
            return response.status, response.headers["Content-Type"], await response.text()

    async with aiohttp.ClientSession(headers=AUTHORIZATION) as session:
        yield send


@pytest.fixture
def get(send):
    return partial(send, "GET")


@pytest.fixture
def post(send):
    return partial(send, "POST")


def failure() -> ObservationFailed:
    return ObservationFailed(FailureKind.UNREACHABLE, "connection refused")


async def test_the_index_lists_the_paths(get):
    status, content_type, text = await get("/")
    assert (status, content_type) == (200, "text/plain; charset=utf-8")
    assert text.startswith("autoscaler 1.2.3\n")
    paths = ("metrics", "healthz", "readyz", "decisions", "decisions/{deployment_id}")
    for path in (*paths, "resume/{deployment_id}"):
        assert f"\n/{path} " in text


async def test_there_are_no_other_paths(get):
    assert (await get("/config"))[0] == 404


async def test_metrics_as_plain_text(get):
    status, content_type, text = await get("/metrics")
    assert (status, content_type) == (200, "text/plain; version=0.0.4; charset=utf-8")
    assert "\ncount 42.0\n" in text


async def test_metrics_as_openmetrics_on_request(get):
    accept = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"
    _, content_type, text = await get("/metrics", Accept=accept)
    assert content_type.startswith("application/openmetrics-text; version=1.0.0")
    assert text.endswith("# EOF\n")


async def test_openmetrics_that_a_client_excludes(get):
    accept = "application/openmetrics-text;q=0,text/plain"
    _, content_type, _ = await get("/metrics", Accept=accept)
    assert content_type.startswith("text/plain")


async def test_large_responses_are_compressed(get, registry):
    gauge = Gauge("many", "Many series.", ["n"], registry=registry)
    for n in range(5000):
        gauge.labels(str(n)).set(n)
    _, _, text = await get("/metrics", **{"Accept-Encoding": "gzip"})
    assert 'many{n="4999"} 4999.0' in text


@pytest.mark.parametrize("encoding", ["gzip", "identity"])
@pytest.mark.parametrize("series", [1, 50, 20_000])
async def test_a_response_of_any_size_is_complete(server, registry, encoding, series):
    """Long ones are compressed when they are made, and sent in pieces."""
    gauge = Gauge("many", "Many series.", ["n"], registry=registry)
    for n in range(series):
        gauge.labels(str(n)).set(n / 7)
    url = f"http://127.0.0.1:{server.port}/metrics"
    headers = {"Accept-Encoding": encoding}
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        async with session.head(url, headers=headers) as head:
            length = int(head.headers["Content-Length"])
            assert await head.read() == b""
        async with session.get(url, headers=headers) as response:
            body = await response.read()
            assert len(body) == length == int(response.headers["Content-Length"])
            compressed = response.headers.get("Content-Encoding") == "gzip"
    assert compressed == (encoding == "gzip" and series > 1)
    text = zlib.decompress(body, 16 + zlib.MAX_WBITS) if compressed else body
    assert text == generate_latest(registry)


async def test_a_daemon_that_has_just_started_is_alive_and_not_ready(get):
    assert (await get("/healthz"))[::2] == (200, "ok\n")
    assert (await get("/readyz"))[::2] == (503, "the cluster has not been observed yet\n")


async def test_it_is_ready_once_it_has_observed_the_cluster(get, health):
    health.planned(*cycle())
    assert (await get("/readyz"))[::2] == (200, "ok\n")


async def test_it_is_not_ready_from_the_first_failed_observation_to_the_next_good_one(
    get, health, clock
):
    health.planned(*cycle())
    clock.pass_by(12.0)
    assert (await get("/readyz"))[0] == 200
    health.skipped(failure(), clock.now())
    assert (await get("/readyz"))[::2] == (
        503,
        "the cluster was last observed 12 s ago: connection refused\n",
    )
    health.planned(*cycle())
    assert (await get("/readyz"))[::2] == (200, "ok\n")


async def test_it_is_not_ready_if_the_loop_no_longer_observes(get, health, clock):
    health.planned(*cycle())
    clock.pass_by(540.0)
    assert (await get("/readyz"))[0] == 200
    clock.pass_by(1.0)
    assert (await get("/readyz"))[::2] == (503, "the cluster was last observed 9 min ago\n")


async def test_an_unreachable_cluster_does_not_affect_liveness(get, health, clock):
    for _ in range(100):
        clock.pass_by(60.0)
        health.skipped(failure(), clock.now())
    assert (await get("/healthz"))[0] == 200
    assert (await get("/readyz"))[0] == 503


def test_a_cycle_that_waits_for_its_request_timeout_is_alive(clock):
    """Or raising request_timeout, the remedy for slow statistics, would restart the daemon."""
    health = Health(clock, poll_interval_s=10.0, request_timeout_s=300.0)
    clock.pass_by(600.0)
    assert health.why_not_alive() is None
    clock.pass_by(301.0)
    assert health.why_not_alive() is not None


async def test_a_loop_without_a_completed_cycle_is_not_alive(get, health, clock):
    health.planned(*cycle())
    clock.pass_by(600.0)
    assert (await get("/healthz"))[0] == 200
    clock.pass_by(1.0)
    assert (await get("/healthz"))[::2] == (
        503,
        "the control loop has not completed a cycle for 10 min\n",
    )


async def test_the_limit_follows_the_poll_interval_down_to_a_minimum(health, clock):
    health.poll_interval_s = 1.0
    clock.pass_by(120.0)
    assert health.why_not_alive() is None
    clock.pass_by(1.0)
    assert health.why_not_alive() is not None


async def test_a_port_in_use(registry, health, decisions):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        server = AdminServer(
            registry, ClusterPages(health, decisions), host="127.0.0.1", port=port, version="1"
        )
        with pytest.raises(CannotListen) as error:
            await server.start()
        await server.stop()
    assert str(error.value) == (
        f"cannot listen on 127.0.0.1:{port}: address already in use; "
        "set server.host and server.port to a free address"
    )


async def test_an_address_of_another_machine(registry, health, decisions):
    server = AdminServer(
        registry, ClusterPages(health, decisions), host="192.0.2.1", port=0, version="1"
    )
    with pytest.raises(CannotListen, match=r"cannot listen on 192\.0\.2\.1:0: .*; set server"):
        await server.start()


async def test_an_invalid_host_name(registry, health, decisions):
    server = AdminServer(
        registry, ClusterPages(health, decisions), host="x" * 64, port=0, version="1"
    )
    with pytest.raises(CannotListen, match=r"x:0: .*; set server\.host"):
        await server.start()


async def test_it_can_start_again_after_a_stop(registry, health, decisions):
    server = AdminServer(
        registry, ClusterPages(health, decisions), host="127.0.0.1", port=0, version="1"
    )
    for _ in range(2):
        await server.start()
        assert server.port > 0
        await server.stop()


STRANGE = 'a"/\\{}?é %'


class TestDecisions:
    async def test_all_deployments_with_their_reasons(self, get, decisions, clock):
        decisions.planned(
            *cycle(outcome(steady("b"), OutcomeKind.UNCHANGED), unmanaged=NOT_MANAGED)
        )
        clock.pass_by(4.0)
        status, content_type, text = await get("/decisions")
        assert (status, content_type) == (200, "application/json")
        response = json.loads(text)
        assert (response["autoscaler"], response["at"], response["age_s"]) == (
            "1.2.3",
            1_000.0,
            4.0,
        )
        assert [each["deployment"] for each in response["deployments"]] == [".x", "b"]

    async def test_deployments_whose_ids_match(self, get, decisions):
        names = ("e5-a", "e5-b", "elser")
        decisions.planned(*cycle(*(outcome(steady(name), OutcomeKind.UNCHANGED) for name in names)))
        _, _, text = await get("/decisions?deployment=e5-*")
        assert [each["deployment"] for each in json.loads(text)["deployments"]] == ["e5-a", "e5-b"]

    async def test_no_deployment_matches(self, get, decisions):
        decisions.planned(*cycle())
        status, _, text = await get("/decisions?deployment=x")
        assert (status, json.loads(text)["deployments"]) == (200, [])

    async def test_one_deployment(self, get, decisions):
        decisions.planned(*cycle(outcome(decision(), OutcomeKind.ACCEPTED)))
        status, _, text = await get("/decisions/elser")
        assert status == 200
        assert json.loads(text)["deployment"]["message"].startswith("elser 3 -> 6: ")

    async def test_a_deployment_with_a_strange_id(self, get, decisions):
        decisions.planned(*cycle(outcome(steady(STRANGE), OutcomeKind.UNCHANGED)))
        _, _, text = await get(f"/decisions/{quote(STRANGE, safe='')}")
        assert json.loads(text)["deployment"]["deployment"] == STRANGE

    async def test_an_unknown_deployment_is_an_error_with_a_suggestion(self, get, decisions):
        decisions.planned(*cycle(outcome(steady("elser"), OutcomeKind.UNCHANGED)))
        status, content_type, text = await get("/decisions/elsner")
        assert (status, content_type) == (404, "application/json")
        assert json.loads(text) == {
            "autoscaler": "1.2.3",
            "error": "elsner: not found in the cluster; did you mean elser?",
        }

    @pytest.mark.parametrize("path", ["/decisions", "/decisions/elser"])
    async def test_before_the_first_observation(self, get, decisions, path):
        decisions.skipped(failure(), 1_000.0)
        status, _, text = await get(path)
        assert status == 503
        assert json.loads(text)["error"] == (
            "the cluster has not been observed yet: connection refused"
        )

    async def test_a_thousand_are_compressed(self, get, decisions):
        outcomes = (outcome(steady(f"d-{n:04}"), OutcomeKind.UNCHANGED) for n in range(1000))
        decisions.planned(*cycle(*outcomes))
        _, _, text = await get("/decisions", **{"Accept-Encoding": "gzip"})
        assert len(json.loads(text)["deployments"]) == 1000


class TestResume:
    async def test_the_daemon_accepts_it(self, post):
        status, content_type, text = await post("/resume/elser")
        assert (status, content_type) == (202, "application/json")
        assert json.loads(text) == {
            "autoscaler": "1.2.3",
            "message": "elser: will be resumed in the next cycle",
        }

    async def test_a_deployment_with_a_strange_id(self, post):
        assert (await post(f"/resume/{quote(STRANGE, safe='')}"))[0] == 202

    async def test_a_deployment_that_is_not_stopped(self, post):
        status, content_type, text = await post("/resume/e5")
        assert (status, content_type) == (404, "application/json")
        assert json.loads(text) == {
            "autoscaler": "1.2.3",
            "error": "e5: not stopped; `autoscaler explain` lists stopped deployments",
        }

    @pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE"])
    async def test_only_post_is_allowed(self, send, method):
        assert (await send(method, "/resume/elser"))[0] == 405

    async def test_the_id_is_required(self, post):
        assert (await post("/resume/"))[0] == 404

    async def test_nothing_else_can_be_changed(self, post):
        assert (await post("/decisions/elser"))[0] == 405

    async def test_the_old_path_works_and_is_logged_once_as_deprecated(
        self, registry, health, decisions, stopped
    ):
        server = AdminServer(
            registry,
            ClusterPages(health, decisions, resume=stopped.__contains__),
            host="127.0.0.1",
            port=0,
            version="1",
            guard=Guard(Tokens(Bearer(TOKEN))),
        )
        with structlog.testing.capture_logs() as lines:
            async with server, aiohttp.ClientSession(headers=AUTHORIZATION) as session:
                for _ in range(2):
                    url = f"http://127.0.0.1:{server.port}/wake/elser"
                    async with session.post(url) as response:
                        assert response.status == 202
                        assert response.headers["Deprecation"] == "true"
        assert [line["event"] for line in lines] == ["http.deprecated_path"]
        assert "POST /resume/{id}" in lines[0]["message"]

    async def test_without_a_state_file_nothing_is_stopped(self, registry, health, decisions):
        server = AdminServer(
            registry,
            ClusterPages(health, decisions),
            host="127.0.0.1",
            port=0,
            version="1",
            guard=Guard(Tokens(Bearer(TOKEN))),
        )
        async with server, aiohttp.ClientSession(headers=AUTHORIZATION) as session:
            url = f"http://127.0.0.1:{server.port}/resume/elser"
            async with session.post(url) as response:
                assert response.status == 404


NOT_MANAGED = {".x": Unmanaged.HIDDEN}
