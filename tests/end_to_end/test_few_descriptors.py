"""A daemon that may have 64 descriptors, and clients that keep many connections open."""

import asyncio
import os
import re
import resource
import socket
import sys
from pathlib import Path

from autoscaler.adapters.clock import HostClock
from autoscaler.simulation.emulator.server import running_emulator
from tests.adapters.raw_http import exchange, request
from tests.test_daemon import SCENARIO

ROOT = Path(__file__).parents[2]
DESCRIPTORS = 64
IDLE = 120
CONFIG = """
poll_interval = "1s"
[elasticsearch]
hosts = ["{url}"]
[server]
port = 0
[[rules]]
name = "all"
max_allocations = 8
"""
METRICS = request("GET", "/metrics", {"Host": "localhost"})


def few_descriptors():
    resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))


async def completed(port):
    """How many cycles the daemon has completed, and how many it has skipped."""
    answer = await exchange(port, METRICS)
    assert answer.status == 200
    found = dict(re.findall(rb'autoscaler_cycles_total\{result="(\w+)"\} (\d+)', answer.body))
    return int(found.get(b"completed", 0)), int(found.get(b"skipped", 0))


async def test_idle_connections_stop_neither_the_statistics_nor_the_probes(tmp_path):
    idle = []
    async with running_emulator(SCENARIO, clock=HostClock()) as emulator:
        path = tmp_path / "config.toml"
        path.write_text(CONFIG.format(url=emulator.url))
        daemon = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "autoscaler", "run", "--config", str(path)),
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stderr=asyncio.subprocess.PIPE,
            preexec_fn=few_descriptors,
        )
        try:
            lines = [await daemon.stderr.readline()]
            while b"metrics on port" not in lines[-1]:
                assert lines[-1], lines
                lines.append(await daemon.stderr.readline())
            port = int(re.search(rb"metrics on port (\d+)", lines[-1])[1])
            begun = None
            async with asyncio.timeout(50):
                while begun is None or (await completed(port))[0] < begun + 3:
                    idle += [socket.create_connection(("127.0.0.1", port)) for _ in range(IDLE)]
                    healthy = await exchange(port, request("GET", "/healthz", {"Host": "[::1]"}))
                    assert healthy.status == 200
                    begun = (await completed(port))[0] if begun is None else begun
                    while len(idle) > IDLE:
                        idle.pop(0).close()
            assert (await completed(port))[1] == 0
        finally:
            for each in idle:
                each.close()
            if daemon.returncode is None:
                daemon.terminate()
            _, rest = await daemon.communicate()
    assert daemon.returncode == 0
    log = b"".join(lines) + rest
    assert log.count(b"http.refused") == 1
    assert len(log) < 20_000
