"""Runs emulator, workload and daemon, then compares the result with other ways of scaling."""

import asyncio
import math
import os
import webbrowser
from pathlib import Path
from typing import Any

from msgspec.structs import replace
from rich import box
from rich.console import Console, JustifyMethod
from rich.live import Live
from rich.table import Table

from autoscaler import __version__
from autoscaler.adapters.clock import HostClock
from autoscaler.adapters.logs import configure
from autoscaler.config import load
from autoscaler.config.polling import DEFAULT_MIN_POLL_INTERVAL_S, polling_of
from autoscaler.core.next_poll import Polling
from autoscaler.core.units import duration_text
from autoscaler.daemon import Daemon
from autoscaler.demo.comparison import MAX_QUEUE_WAIT_S, Result, Score, as_text, replay
from autoscaler.demo.scenarios import (
    MAX_ALLOCATIONS,
    TARGET_UTILISATION,
    built_in,
    fixed_at_the_peak,
    replayed,
    with_adaptive_allocations,
)
from autoscaler.demo.view import View
from autoscaler.simulation.emulator.server import running_emulator
from autoscaler.simulation.scenario import ClusterScenario

DRAWINGS_PER_S = 4
"""Frames per second on a terminal: enough for a smooth display, at little processor time."""

NARROW = 95
"""Columns of a terminal below which the summary has fewer columns."""

FILE_COLUMNS = 120
"""Columns of the summary if the output is not a terminal: enough for all of its headings."""

POLL_INTERVAL_S = 10.0
"""The default poll interval, in seconds of the cluster; longer at high speeds."""

MIN_POLL_INTERVAL_S = 0.2
"""Shortest poll interval in seconds of the host: ten times the 20 ms of a cycle over HTTP."""


async def show(
    trace: Path | None,
    *,
    speed: float,
    duration_s: float,
    keep_running: bool,
    open_page: bool = False,
) -> None:
    """Run the demo for `duration_s` seconds of the host, at `speed` times its pace.

    Args:
        open_page: opens the status page in a browser.

    Raises:
        UserError: the trace is invalid, or a port is not available.
    """
    console = Console()
    configure("console", "error", version=__version__, environ=os.environ)
    lasting_s = duration_s * speed
    scenario = replayed(trace, lasting_s) if trace else built_in(lasting_s)
    scenario = replace(scenario, speed=speed)
    clock = HostClock(speed)
    async with running_emulator(scenario, clock=clock, keep_up=True) as emulator:
        # The cluster has not advanced yet, so its workload begins at this instant.
        begin = emulator.cluster.now
        score = Score("autoscaler", emulator.cluster)
        shown_s = math.inf if keep_running else lasting_s
        view = View(console, emulator.cluster, clock, lasting_s=shown_s, speed=speed)
        polling = polling_at(speed)
        poll_s = polling.interval_s
        environ = _environ(emulator.url, polling)
        daemon = Daemon(lambda: load(None, environ), clock=clock, recorders=(view,))
        _introduce(console, emulator.url, poll_s)
        running = asyncio.ensure_future(daemon.run())
        try:
            await _draw(
                console,
                view,
                daemon,
                running,
                math.inf if keep_running else duration_s,
                open_page=open_page,
            )
            daemon.stop()
            await running
            await emulator.emulation.catch_up()
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
        ours = score.result()
        end = emulator.cluster.now
    console.print("\nReplaying the same requests with two other ways of scaling …", highlight=False)
    results = await replay(_other_ways(scenario), begin=begin, end=end)
    print_summary(console, [ours, *results])
    console.print(as_text(ours, results), highlight=False)


def _other_ways(scenario: ClusterScenario) -> list[tuple[str, ClusterScenario]]:
    fixed = fixed_at_the_peak(scenario)
    enough = all(each.number_of_allocations != MAX_ALLOCATIONS for each in fixed.deployments)
    return [
        ("fixed at the peak" if enough else f"fixed at the maximum, {MAX_ALLOCATIONS}", fixed),
        ("adaptive allocations", with_adaptive_allocations(scenario)),
    ]


def polling_at(speed: float) -> Polling:
    """How often the daemon polls, in seconds of the cluster.

    >>> polling_at(5.0).min_interval_s, polling_at(5.0).interval_s
    (2.0, 10.0)
    >>> polling_at(20.0).min_interval_s, polling_at(20.0).interval_s
    (4.0, 10.0)
    >>> polling_at(400.0).min_interval_s, polling_at(400.0).interval_s
    (80.0, 80.0)
    """
    least_s = float(math.ceil(MIN_POLL_INTERVAL_S * speed))
    return polling_of(max(POLL_INTERVAL_S, least_s), max(DEFAULT_MIN_POLL_INTERVAL_S, least_s))


def _environ(url: str, polling: Polling) -> dict[str, str]:
    """The daemon's configuration, as environment variables."""
    poll_s = polling.interval_s
    return {
        "AUTOSCALER_ELASTICSEARCH__HOSTS": url,
        "AUTOSCALER_POLL_INTERVAL": f"{poll_s:.0f}s",
        "AUTOSCALER_MIN_POLL_INTERVAL": f"{polling.min_interval_s:.0f}s",
        "AUTOSCALER_SERVER__PORT": "0",
        "AUTOSCALER_STATE": "none",
        "AUTOSCALER_DEFAULTS__TARGET_UTILISATION": str(TARGET_UTILISATION),
        "AUTOSCALER_DEFAULTS__LOAD_WINDOW": f"{max(60.0, poll_s):.0f}s",
        "AUTOSCALER_RULES": f'[{{"name": "demo", "max_allocations": {MAX_ALLOCATIONS}}}]',
    }


def _introduce(console: Console, url: str, poll_s: float) -> None:
    text = (
        f"autoscaler {__version__} scales an emulated Elasticsearch on {url}, over HTTP; "
        "Ctrl-C ends it early."
    )
    console.print(text, highlight=False, soft_wrap=not console.is_terminal)
    if poll_s > POLL_INTERVAL_S:
        console.print(
            f"At this speed, a poll interval of {duration_text(POLL_INTERVAL_S)} is too short; the "
            f"daemon polls every {duration_text(poll_s)} and reacts later.",
            highlight=False,
            soft_wrap=not console.is_terminal,
        )


async def _draw(
    console: Console,
    view: View,
    daemon: Daemon,
    running: "asyncio.Future[None]",
    duration_s: float,
    *,
    open_page: bool,
) -> None:
    """Draw until the time is up or the daemon has ended, by Ctrl-C or a failure."""
    started: asyncio.Future[Any] = asyncio.ensure_future(daemon.started.wait())
    await asyncio.wait({started, running}, return_when=asyncio.FIRST_COMPLETED)
    started.cancel()
    if running.done():
        return
    view.page_url = f"http://127.0.0.1:{daemon.server.port}/"
    if open_page:
        await asyncio.to_thread(webbrowser.open, view.page_url)
    ending = asyncio.get_running_loop().time() + duration_s
    if not console.is_terminal:
        console.print(f"Status page: {view.page_url}", highlight=False, soft_wrap=True)
        console.print(f"Metrics: {view.page_url}metrics", highlight=False, soft_wrap=True)
        await asyncio.wait({running}, timeout=None if math.isinf(duration_s) else duration_s)
        return
    # Drawn here and not in a thread, which would read a cluster while it advances.
    with Live(view, console=console, auto_refresh=False) as live:
        while not running.done() and (left_s := ending - asyncio.get_running_loop().time()) > 0.0:
            await asyncio.wait({running}, timeout=min(left_s, 1.0 / DRAWINGS_PER_S))
            live.refresh()


def print_summary(console: Console, results: list[Result]) -> None:
    """As a table: with fewer columns on a narrow terminal, and with all of them in a file."""
    width = console.width
    if not console.is_terminal:
        console.width = max(width, FILE_COLUMNS)
    console.print(_short_summary(results) if console.width < NARROW else _summary(results))
    console.width = width


_LATE = f"late (> {duration_text(MAX_QUEUE_WAIT_S)})"


def _summary(results: list[Result]) -> Table:
    rows = [
        (
            each.label,
            f"{each.allocation_hours:.2f}",
            f"{each.requests:,}",
            f"{each.late:,} ({each.late / max(1, each.requests):.2%})",
            f"{each.refused:,}",
            str(each.changes),
        )
        for each in results
    ]
    headings = ("scaled by", "allocation hours", "requests", _LATE, "refused", "changes")
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for heading, cells in zip(headings, zip(*rows, strict=True), strict=True):
        justify: JustifyMethod = "left" if heading == "scaled by" else "right"
        table.add_column(heading, justify=justify, min_width=max(map(len, cells)))
    for row in rows:
        table.add_row(*row)
    return table


def _short_summary(results: list[Result]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("scaled by", no_wrap=True)
    table.add_column("allocation hours", justify="right")
    table.add_column(f"{_LATE} or refused", justify="right")
    for each in results:
        table.add_row(each.label, f"{each.allocation_hours:.2f}", f"{each.failed_fraction:.2%}")
    return table
