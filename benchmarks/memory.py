"""The daemon's own memory, polling 1,000 deployments on 3 nodes and being scraped."""

import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from multiprocessing import get_context

from aiohttp import web

from benchmarks.cycle import DEPLOYMENTS, ENVIRON, NODES
from benchmarks.daemon_process import compile_modules, sizes_mb
from benchmarks.markdown import table, wrapped
from benchmarks.payload import stats

CYCLES, SCRAPES, GOAL_MB = 40, 5, 90
CLUSTER_PORT, METRICS_PORT = 19_200, 19_464

_DAEMON = """
import sys
sys.modules["rich"] = None  # structlog imports it where there is one: only for development
sys.argv[1:] = ["run"]
import runpy
runpy.run_module("autoscaler", run_name="__main__", alter_sys=True)
"""
"""Runs the daemon with the packages that an installation has."""


def serve() -> None:
    """A minimal cluster: statistics with increasing counters, and 404 for everything else."""
    bodies = [stats(DEPLOYMENTS, NODES, cycle) for cycle in range(CYCLES)]
    calls = iter(range(10**9))

    async def respond(request: web.Request) -> web.Response:
        headers = {"X-Elastic-Product": "Elasticsearch"}
        if request.path != "/_ml/trained_models/_stats":
            return web.json_response({"error": "none", "status": 404}, status=404, headers=headers)
        body = bodies[min(next(calls), CYCLES - 1)]
        return web.Response(body=body, content_type="application/json", headers=headers)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", respond)
    web.run_app(app, host="127.0.0.1", port=CLUSTER_PORT, print=None)


def section() -> str:
    """The memory of the daemon at the end and at most."""
    compile_modules()
    cluster = get_context("spawn").Process(target=serve, daemon=True)
    cluster.start()
    environ = os.environ | ENVIRON
    environ |= {
        "AUTOSCALER_ELASTICSEARCH__HOSTS": f'["http://127.0.0.1:{CLUSTER_PORT}"]',
        "AUTOSCALER_SERVER__PORT": str(METRICS_PORT),
        "AUTOSCALER_POLL_INTERVAL": "1s",
        "AUTOSCALER_DRY_RUN": "true",
        "AUTOSCALER_LOGGING__LEVEL": "error",
    }
    state = tempfile.TemporaryDirectory()
    environ["AUTOSCALER_STATE_DIR"] = state.name
    daemon = subprocess.Popen([sys.executable, "-c", _DAEMON], env=environ)
    try:
        time.sleep(CYCLES)
        for _ in range(SCRAPES):
            scrape = f"http://127.0.0.1:{METRICS_PORT}/metrics"
            with urllib.request.urlopen(scrape, timeout=30) as exposition:
                exposition.read()
        sizes = sizes_mb(daemon.pid)
    finally:
        daemon.terminate()
        daemon.wait(10)
        cluster.terminate()
        state.cleanup()
    now_mb, most_mb = sizes["VmRSS"], sizes["VmHWM"]
    return "\n\n".join(
        [
            wrapped(
                f"The daemon in a separate process, polling the same {DEPLOYMENTS:,} deployments "
                f"every second for {CYCLES} s over HTTP, and scraped {SCRAPES} times:"
            ),
            table(
                ["", "MB"],
                [
                    ["resident at the end", f"{now_mb:.0f}"],
                    ["resident at most", f"{most_mb:.0f}"],
                    ["goal", f"at most {GOAL_MB}"],
                ],
            ),
        ]
    )


def report() -> None:
    print(section())
