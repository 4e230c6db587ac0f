"""The daemon's own memory, polling 1,000 deployments on 3 nodes and being scraped."""

import os
import subprocess
import sys
import tempfile
import time
from multiprocessing import get_context

from aiohttp import web

from benchmarks.cycle import DEPLOYMENTS, ENVIRON, NODES
from benchmarks.daemon_process import body_of, compile_modules, made_up_cluster, sizes_mb
from benchmarks.markdown import table, wrapped
from benchmarks.payload import stats

CYCLES, SCRAPES, GOAL_MB = 40, 5, 90
CLUSTER_PORT, METRICS_PORT = 19_200, 19_464

_DAEMON = """
import sys
# structlog imports these where there are any: only for development.
sys.modules["rich"] = sys.modules["greenlet"] = None
sys.argv[1:] = ["run"]
import runpy
runpy.run_module("autoscaler", run_name="__main__", alter_sys=True)
"""
"""Runs the daemon with the packages that an installation has."""


def serve() -> None:
    """A minimal cluster: statistics whose counters increase by those of ten seconds with each poll,
    and 404 for everything else."""
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
    """The memory of the daemon at the end and at most, with two kinds of loads, and in dry run."""
    compile_modules()
    with made_up_cluster(DEPLOYMENTS, NODES, CLUSTER_PORT):
        acting, usual = _measured(dry_run=False), _measured(dry_run=True)
    overloaded_cluster = get_context("spawn").Process(target=serve, daemon=True)
    overloaded_cluster.start()
    try:
        overloaded = _measured(dry_run=True)
    finally:
        overloaded_cluster.terminate()
        overloaded_cluster.join()
    names = ("resident at the end", "resident at most")
    rows = zip(names, acting, usual, overloaded, strict=True)
    return "\n\n".join(
        [
            wrapped(
                f"The daemon in a separate process, polling {DEPLOYMENTS:,} "
                f"deployments on {NODES} nodes every second for {CYCLES} s over HTTP, and scraped "
                f"{SCRAPES} times: with Poisson streams, of which one in a hundred changes every "
                "minute, and with every deployment overloaded, so that each has another decision "
                "with each poll. In dry run, each has a second memory of its policy."
            ),
            table(
                ["in MB", "acting", "dry run", "dry run, overloaded"],
                [
                    *([name, *(f"{each:.0f}" for each in figures)] for name, *figures in rows),
                    ["goal", f"at most {GOAL_MB}", "", ""],
                ],
            ),
        ]
    )


def _measured(*, dry_run: bool) -> tuple[float, float]:
    """The memory of a daemon at the end and at most."""
    environ = os.environ | ENVIRON
    environ |= {
        "AUTOSCALER_ELASTICSEARCH__HOSTS": f'["http://127.0.0.1:{CLUSTER_PORT}"]',
        "AUTOSCALER_SERVER__PORT": str(METRICS_PORT),
        "AUTOSCALER_POLL_INTERVAL": "1s",
        "AUTOSCALER_DRY_RUN": str(dry_run).lower(),
        "AUTOSCALER_LOGGING__LEVEL": "error",
    }
    with tempfile.TemporaryDirectory() as state:
        environ["AUTOSCALER_STATE_DIR"] = state
        daemon = subprocess.Popen([sys.executable, "-c", _DAEMON], env=environ)
        try:
            time.sleep(CYCLES)
            for _ in range(SCRAPES):
                body_of(f"http://127.0.0.1:{METRICS_PORT}/metrics", timeout_s=30.0)
            sizes = sizes_mb(daemon.pid)
        finally:
            daemon.terminate()
            daemon.wait(10)
    return sizes["VmRSS"], sizes["VmHWM"]


def report() -> None:
    print(section())
