"""`resume`: the request to a daemon, and its response."""

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from prometheus_client import CollectorRegistry

from autoscaler.adapters.admin_http import AdminServer, ClusterPages, DecisionRecorder, Health
from autoscaler.adapters.admin_http.client import AdminRequestFailed
from autoscaler.operate.resume import resume
from tests.fakes import FakeClock


@pytest.fixture
async def url():
    """The address of a daemon's server with one stopped deployment, whose id needs quoting."""
    clock = FakeClock()
    server = AdminServer(
        CollectorRegistry(),
        ClusterPages(
            Health(clock, 10.0), DecisionRecorder(clock, "1.2.3"), resume={"a/b c?"}.__contains__
        ),
        host="127.0.0.1",
        port=0,
        version="1.2.3",
    )
    async with server:
        yield f"http://127.0.0.1:{server.port}"


async def test_the_message_of_the_daemon(url):
    assert await resume(url, "a/b c?") == "a/b c?: will be resumed in the next cycle"


async def test_a_deployment_that_is_not_stopped(url):
    with pytest.raises(AdminRequestFailed) as refused:
        await resume(url, "elser")
    assert str(refused.value).startswith("elser: not stopped; ")


async def test_the_scheme_is_optional(url):
    assert await resume(url.removeprefix("http://") + "/", "a/b c?")


@pytest.mark.parametrize("status", [200, 202, 404])
async def test_another_server(status):
    async def respond(_request):
        return web.Response(text="Welcome", status=status)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", respond)
    async with TestServer(app) as server:
        url = str(server.make_url("")).rstrip("/")
        with pytest.raises(AdminRequestFailed) as refused:
            await resume(url, "elser")
    message = f"unexpected response from {url}: {status} to POST /resume/elser; "
    assert str(refused.value).startswith(message)
