"""Emulator, load and daemon, for as long as there is something to see; then the reckoning."""

import asyncio
import math
import os
from pathlib import Path
from typing import Any

from msgspec.structs import replace
from rich.console import Console
from rich.live import Live
from rich.table import Table

from autoscaler import __version__
from autoscaler.adapters.clock import HostClock
from autoscaler.adapters.logs import configure
from autoscaler.config import load
from autoscaler.daemon import Daemon
from autoscaler.demo.comparison import WAIT_LIMIT_S, Result, replay, result
from autoscaler.demo.scenes import (
    MOST_ALLOCATIONS,
    TARGET_UTILISATION,
    built_in,
    fixed_at_the_peak,
    left_to_the_cluster,
    replayed,
)
from autoscaler.demo.view import View
from autoscaler.simulation.emulator.server import running_emulator

DRAWINGS_PER_S = 4


async def show(trace: Path | None, *, speed: float, duration_s: float, keep_running: bool) -> None:
    """Play the demo for `duration_s` of our time, at `speed` times its pace.

    Raises:
        Mistake: the trace cannot be used, or a port is not to be had.
    """
    console = Console()
    configure("console", "error", version=__version__, environ=os.environ)
    lasting_s = duration_s * speed
    scenario = replayed(trace, lasting_s) if trace else built_in(lasting_s)
    scenario = replace(scenario, speed=speed)
    clock = HostClock(speed)
    begin = clock.now()
    async with running_emulator(scenario, clock=clock, keep_up=True) as emulator:
        title = f"autoscaler {__version__}, {speed:g} seconds in one of yours"
        view = View(console, emulator.cluster, begin=begin, title=title)
        environ = _environ(emulator.url)
        daemon = Daemon(lambda: load(None, environ), clock=clock, recorders=(view,))
        running = asyncio.ensure_future(daemon.run())
        console.print(
            f"An emulated cluster on {emulator.url} is under load for {lasting_s / 60.0:.0f} "
            "minutes of its time; the daemon scales it over HTTP.",
            soft_wrap=True,
        )
        try:
            await _draw(console, view, daemon, running, math.inf if keep_running else duration_s)
            daemon.stop()
            await running
            await emulator.emulation.catch_up()
        finally:
            running.cancel()
        results = [result("autoscaler", emulator.cluster)]
        end = emulator.cluster.now
    others = [
        ("fixed at the peak", fixed_at_the_peak(scenario)),
        ("Elasticsearch's own", left_to_the_cluster(scenario)),
    ]
    results += await asyncio.to_thread(replay, others, begin=begin, end=end)
    console.print(_summary(results))


def _environ(url: str) -> dict[str, str]:
    """The daemon's configuration, as anyone would give it."""
    return {
        "AUTOSCALER_ELASTICSEARCH__HOSTS": url,
        "AUTOSCALER_SERVER__PORT": "0",
        "AUTOSCALER_DEFAULTS__TARGET_UTILISATION": str(TARGET_UTILISATION),
        "AUTOSCALER_RULES": f'[{{"name": "demo", "max_allocations": {MOST_ALLOCATIONS}}}]',
    }


async def _draw(
    console: Console,
    view: View,
    daemon: Daemon,
    running: "asyncio.Future[None]",
    duration_s: float,
) -> None:
    """Draw until the time is up, or the daemon has ended, of itself or by Ctrl-C."""
    started: asyncio.Future[Any] = asyncio.ensure_future(daemon.started.wait())
    await asyncio.wait({started, running}, return_when=asyncio.FIRST_COMPLETED)
    started.cancel()
    if running.done():
        return
    console.print(f"Metrics: http://127.0.0.1:{daemon.server.port}/metrics\n", soft_wrap=True)
    timeout_s = None if math.isinf(duration_s) else duration_s
    if console.is_terminal:
        with Live(view, console=console, refresh_per_second=DRAWINGS_PER_S):
            await asyncio.wait({running}, timeout=timeout_s)
    else:
        await asyncio.wait({running}, timeout=timeout_s)


def _summary(results: list[Result]) -> Table:
    table = Table(title="The same load, scaled in three ways", title_justify="left")
    table.add_column("scaled by", no_wrap=True)
    late = f"waited > {WAIT_LIMIT_S:g} s"
    for heading in ("allocation hours", "requests", late, "refused", "changes"):
        table.add_column(heading, justify="right")
    for each in results:
        share = each.waited_too_long / max(1, each.requests)
        table.add_row(
            each.way,
            f"{each.allocation_hours:.2f}",
            f"{each.requests:,}",
            f"{each.waited_too_long:,} ({share:.2%})",
            f"{each.refused:,}",
            str(each.changes),
        )
    return table
