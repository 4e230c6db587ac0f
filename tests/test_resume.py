"""`wake`: a running daemon told to start a deployment again, and what it answers."""

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from prometheus_client import CollectorRegistry

from autoscaler.adapters.admin_http import AdminServer, DecisionRecorder, Health
from autoscaler.adapters.admin_http.client import AdminRequestFailed
from autoscaler.operate.resume import resume
from tests.fakes import FakeClock


@pytest.fixture
async def url():
    """The address of a daemon's server, which knows one that sleeps, of a strange name."""
    clock = FakeClock()
    server = AdminServer(
        CollectorRegistry(),
        Health(clock, 10.0),
        DecisionRecorder(clock, "1.2.3"),
        host="127.0.0.1",
        port=0,
        version="1.2.3",
        resume={"a/b c?"}.__contains__,
    )
    async with server:
        yield f"http://127.0.0.1:{server.port}"


async def test_the_daemon_says_what_it_will_do(url):
    assert await resume(url, "a/b c?") == "a/b c?: will be resumed in the next cycle"


async def test_one_that_is_not_asleep(url):
    with pytest.raises(AdminRequestFailed) as refused:
        await resume(url, "elser")
    assert (
        str(refused.value) == "elser: not stopped; `autoscaler explain` lists stopped deployments"
    )


async def test_the_scheme_goes_without_saying(url):
    assert await resume(url.removeprefix("http://") + "/", "a/b c?")


@pytest.mark.parametrize("status", [200, 202, 404])
async def test_somebody_else(status):
    async def answer(_request):
        return web.Response(text="Welcome", status=status)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    async with TestServer(app) as server:
        url = str(server.make_url("")).rstrip("/")
        with pytest.raises(AdminRequestFailed) as refused:
            await resume(url, "elser")
    told = f"{url} is not an autoscaler that wakes deployments: it answered {status}; set --url "
    assert str(refused.value).startswith(told)
