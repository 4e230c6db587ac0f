"""`resume`: the request to a daemon, and its response."""

import asyncio
import json

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from click.testing import CliRunner
from prometheus_client import CollectorRegistry

from autoscaler.adapters.admin_http import (
    AdminServer,
    ClusterPages,
    DecisionRecorder,
    Guard,
    Health,
    Tokens,
    client,
)
from autoscaler.adapters.admin_http.client import AdminRequestFailed, DaemonAddress
from autoscaler.cli import main
from autoscaler.connection import Bearer
from autoscaler.operate.resume import resume
from tests.fakes import FakeClock

TOKEN = "0123456789abcdef"


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
        guard=Guard(Tokens(Bearer(TOKEN))),
    )
    async with server:
        yield f"http://127.0.0.1:{server.port}"


async def test_the_message_of_the_daemon(url):
    assert (
        await resume(DaemonAddress(url, TOKEN), "a/b c?")
        == "a/b c?: will be resumed in the next cycle"
    )


@pytest.mark.parametrize(
    ("daemon", "error"),
    [
        (DaemonAddress("", "another-token-of-16"), "the token is not that of the daemon; use the"),
        (DaemonAddress(""), "a token is required; use the one in server.token_file"),
        (DaemonAddress("", "", "/t cannot be read"), "a token is required; use the one in"),
    ],
)
async def test_without_the_token_of_the_daemon(url, daemon, error):
    with pytest.raises(AdminRequestFailed) as refused:
        await resume(daemon._replace(url=url), "a/b c?")
    assert str(refused.value).startswith(error)
    assert str(refused.value).endswith(daemon.no_token)


async def test_a_deployment_that_is_not_stopped(url):
    with pytest.raises(AdminRequestFailed) as refused:
        await resume(DaemonAddress(url, TOKEN), "elser")
    assert str(refused.value).startswith("elser: not stopped; ")


async def test_the_scheme_is_optional(url):
    assert await resume(DaemonAddress(url.removeprefix("http://") + "/", TOKEN), "a/b c?")


@pytest.mark.parametrize("status", [200, 202, 404])
async def test_another_server(status):
    async def respond(_request):
        return web.Response(text="Welcome", status=status)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", respond)
    async with TestServer(app) as server:
        url = str(server.make_url("")).rstrip("/")
        with pytest.raises(AdminRequestFailed) as refused:
            await resume(DaemonAddress(url, TOKEN), "elser")
    message = f"unexpected response from {url}: {status} to POST /resume/elser; "
    assert str(refused.value).startswith(message)


async def test_a_response_larger_than_any(monkeypatch):
    monkeypatch.setattr(client, "MAX_RESPONSE_BYTES", 2**20)

    async def respond(_request):
        response = web.Response(body=b" " * 2**21)
        response.enable_compression()
        return response

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", respond)
    async with TestServer(app) as server:
        url = str(server.make_url("")).rstrip("/")
        with pytest.raises(AdminRequestFailed) as refused:
            await resume(DaemonAddress(url), "elser")
    assert str(refused.value).startswith(f"unexpected response from {url}: larger than 1 MiB; ")


async def test_it_follows_no_redirect_with_the_token():
    arrived = []

    async def respond(request):
        arrived.append(request.path)
        raise web.HTTPTemporaryRedirect("/elsewhere")

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", respond)
    async with TestServer(app) as server:
        with pytest.raises(AdminRequestFailed):
            await resume(DaemonAddress(str(server.make_url("")), TOKEN), "elser")
    assert arrived == ["/resume/elser"]


class TestTheCommand:
    """`autoscaler resume` finds the address and the token in the configuration."""

    CONFIG = """
    [elasticsearch]
    hosts = ["http://127.0.0.1:9"]
    [server]
    port = {port}
    token_file = "token"
    """

    @pytest.fixture
    def config(self, url, tmp_path):
        path = tmp_path / "config.toml"
        path.write_text(self.CONFIG.format(port=url.rpartition(":")[2]))
        (tmp_path / "token").write_text(TOKEN)
        return path

    async def invoke(self, *arguments):
        return await asyncio.to_thread(CliRunner().invoke, main, ["resume", *map(str, arguments)])

    async def test_with_the_configuration(self, config):
        result = await self.invoke("a/b c?", "--config", config)
        assert (result.exit_code, result.stderr) == (0, "")
        assert result.stdout == "a/b c?: will be resumed in the next cycle\n"

    async def test_as_json_it_prints_the_response_of_the_api(self):
        accepted = {"autoscaler": "1.2.3", "message": "a/b: will be resumed", "saved": True}
        received = []

        async def accept(request):
            received.append(await request.json())
            return web.json_response(accepted, status=202)

        app = web.Application()
        app.router.add_post("/api/v1/resume", accept)
        async with TestServer(app) as server:
            result = await self.invoke("a/b", "--url", server.make_url(""), "--json")
        assert (result.exit_code, result.stderr) == (0, "")
        assert json.loads(result.stdout) == accepted
        assert received == [{"deployment": "a/b"}]

    async def test_at_another_address(self, config, url):
        assert (await self.invoke("a/b c?", "--config", config, "--url", url)).exit_code == 0

    async def test_without_a_configuration(self, url):
        result = await self.invoke("a/b c?", "--url", url)
        assert result.exit_code == 1
        assert "a token is required" in result.stderr

    async def test_a_token_that_cannot_be_read(self, config, tmp_path):
        (tmp_path / "token").unlink()
        result = await self.invoke("a/b c?", "--config", config)
        assert result.exit_code == 78
        assert f"token_file: names no file in {tmp_path}; " in result.stderr

    async def test_the_token_is_not_shown(self, config, tmp_path):
        (tmp_path / "token").write_text("another-token-of-16")
        result = await self.invoke("a/b c?", "--config", config)
        assert result.exit_code == 1
        assert "the token is not that of the daemon" in result.stderr
        assert "another-token" not in result.output
