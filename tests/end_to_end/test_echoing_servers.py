"""A server, or a proxy before it, that repeats requests in its responses: the credentials of the
daemon reach no log, page, metric or terminal."""

import asyncio
import io
import json
from base64 import b64encode
from contextlib import suppress
from urllib.parse import quote

import aiohttp
import pytest
from aiohttp import web
from rich.console import Console
from structlog.testing import capture_logs

from autoscaler.check import check, report
from autoscaler.config import load
from autoscaler.daemon import Daemon
from tests.adapters.elasticsearch.servers import PRODUCT, serving
from tests.virtual_clock import VirtualClock

KEY = "ui2lp2ax/NmsyakwNtvNnw"
ENCODED = b64encode(f"VuaCfGcBCdbkQm:{KEY}".encode()).decode()

CONFIG = """
[elasticsearch]
hosts = ["{url}"]
api_key_file = "key"
[server]
port = 0
[[rules]]
name = "all"
max_allocations = 8
"""


def repeated(request):
    """The header with the credentials, in the forms in which logs of proxies have it."""
    header = request.headers["Authorization"]
    forms = (header, quote(header), b64encode(header.encode()).decode(), KEY, quote(KEY, safe=""))
    return " ".join(forms)


async def refused(request):
    reason = f"request [{request.path}] with headers [{repeated(request)}] is not permitted"
    error = {"type": "security_exception", "reason": reason, "root_cause": [{"reason": reason[9:]}]}
    return web.json_response({"error": error, "status": 403}, status=403, headers=PRODUCT)


async def not_elasticsearch(request):
    return web.Response(status=502, text=f"<p>{repeated(request)}</p>", content_type="text/html")


async def in_the_statistics(request):
    if not request.path.endswith("_stats") or "trained_models" not in request.path:
        return await refused(request)
    text = repeated(request)
    node = {
        "node": {f"id-{text}": {"name": f"node-{text}"}},
        "routing_state": {"routing_state": "started", "reason": text},
        "inference_count": 1,
    }
    deployments = (
        {"state": "started", "reason": text, "number_of_allocations": 1, "nodes": [node]},
        {
            "state": "started",
            "number_of_allocations": text,
            "nodes": [{**node, "start_time": text}],
        },
        {"state": text, "nodes": text, "allocation_status": text},
    )
    # Masked, such a name is a pattern, and the deployment is not managed.
    names = ("e5", f"e5-1-{text}", f"e5-2-{text}")
    entries = [
        {"model_id": text, "deployment_stats": {"deployment_id": name, **each}}
        for name, each in zip(names, deployments, strict=True)
    ]
    entries.append({"model_id": [text], "deployment_stats": {"deployment_id": text, "nodes": 3}})
    document = {"count": len(entries), "trained_model_stats": entries}
    return web.json_response(document, headers=PRODUCT)


async def output_of(path):
    """Everything that the daemon and `check` write within a minute."""
    clock, parts = VirtualClock(), []
    with capture_logs() as log:
        daemon = Daemon(lambda: load(path, {}), clock=clock)
        task = asyncio.ensure_future(daemon.run())
        try:
            await daemon.started.wait()
            for _ in range(100):
                if any(each["event"].startswith(("observation", "decision")) for each in log):
                    break
                await clock.advance(1.0)
                await asyncio.sleep(0)
            else:
                pytest.fail(f"no cycle within 100 s: {log}")
            await clock.advance(60.0)
            for page in ("/readyz", "/healthz", "/decisions", "/metrics"):
                url = f"http://127.0.0.1:{daemon.server.port}{page}"
                async with aiohttp.request("GET", url) as response:
                    parts.append(await response.text())
        finally:
            daemon.stop()
            with suppress(asyncio.CancelledError):
                await clock.run(task)
    parts.append(json.dumps(log, default=repr))
    shown = io.StringIO()
    found = await check(load(path, {}))
    report(found, Console(file=shown, width=4000))
    return "\n".join([*parts, shown.getvalue(), *found.fatal])


@pytest.mark.parametrize("server", [refused, not_elasticsearch, in_the_statistics])
async def test_credentials_that_a_server_repeats_are_shown_nowhere(tmp_path, server):
    (tmp_path / "key").write_text(ENCODED)
    path = tmp_path / "config.toml"
    async with serving(server) as cluster:
        path.write_text(CONFIG.format(url=cluster.url.rstrip("/")))
        output = await output_of(path)
        assert cluster.header("Authorization") == f"ApiKey {ENCODED}"
    core = ENCODED.rstrip("=")
    forms = (core, KEY, quote(KEY, safe=""), quote(core, safe=""), KEY.replace("/", "\\/"))
    assert not [form for form in forms if form in output]
    assert b64encode(f"ApiKey {ENCODED}".encode()).decode()[10:60] not in output
    if server is not not_elasticsearch:  # the text is shown, without the credentials
        assert "ApiKey ***" in output
