"""Commands that need no cluster."""

import os
from pathlib import Path
from typing import Any

import click

from autoscaler.cli.shared import FiniteFloat, output, report_errors, run_async, say, warn
from autoscaler.errors import UserError


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=9200,
    show_default=True,
    help="Port; 0: any free port.",
)
@click.option(
    "--scenario",
    "path",
    type=click.Path(path_type=Path),
    help="A TOML file that describes the cluster. Without it: a small sample cluster.",
)
@click.option(
    "--version",
    help="The version to emulate, such as 8.19, or serverless.  [default: 9.2]",
)
@click.option(
    "--load/--no-load", default=None, help="Whether to simulate requests.  [default: --load]"
)
@click.option(
    "--speed",
    type=FiniteFloat(0.001, 10_000),
    help="Simulated seconds per second.  [default: 1]",
)
@click.option("--user", metavar="NAME:PASSWORD", help="Require these credentials, of a superuser.")
@report_errors()
def emulate(path: Path | None, **given: Any) -> None:
    """Serve an emulated Elasticsearch cluster.

    It implements the trained-model part of the API over simulated nodes, until SIGTERM or Ctrl-C.
    """
    from autoscaler.adapters.clock import HostClock
    from autoscaler.simulation.emulator.server import running_emulator
    from autoscaler.simulation.scenario import adjust, read_scenario, sample_scenario

    host, port = given.pop("host"), given.pop("port")

    async def serve() -> None:
        clock = HostClock(scenario.speed)
        async with running_emulator(
            scenario, host=host, port=port, clock=clock, keep_up=True
        ) as emulator:
            say(f"emulated Elasticsearch {scenario.version} listens on {emulator.url}")
            await _until_interrupted()

    scenario = adjust(read_scenario(path) if path else sample_scenario(), **given)
    run_async(serve())


@click.command()
@click.option(
    "--trace",
    type=click.Path(path_type=Path),
    help="Replay this request-rate trace (t_seconds,requests) instead of the built-in load.",
)
@click.option(
    "--speed",
    type=FiniteFloat(0.1, 1000),
    default=20.0,
    show_default=True,
    help="Simulated seconds per second.",
)
@click.option(
    "--duration",
    type=FiniteFloat(1, 86_400),
    default=90.0,
    show_default=True,
    help="Seconds until it ends.",
)
@click.option("--keep-running", is_flag=True, help="Run until Ctrl-C.")
@click.option("--open", "open_page", is_flag=True, help="Open the status page in a browser.")
@report_errors()
def demo(
    trace: Path | None, speed: float, duration: float, *, keep_running: bool, open_page: bool
) -> None:
    """Watch the daemon scale an emulated cluster.

    The cluster is under load, and the daemon connects to it over HTTP, as to any cluster. At the
    end, or on Ctrl-C, two other ways of scaling get the same requests, for comparison.
    """
    from autoscaler.demo import show

    run_async(
        show(
            trace,
            speed=speed,
            duration_s=duration,
            keep_running=keep_running,
            open_page=open_page,
        )
    )


@click.command()
@click.argument("traces", nargs=-1, required=True, metavar="TRACE...")
@click.option(
    "--policy",
    "policies",
    multiple=True,
    metavar="NAME[,NAME...]",
    help="Run these policies only; includes installed ones.  [default: all built-in ones except "
    "slo-bounds; with --config, only the rule]",
)
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    help="Run a rule of this configuration, with the AUTOSCALER_... variables.",
)
@click.option(
    "--rule",
    metavar="NAME",
    help="The rule of --config.  [default: the only rule that scales]",
)
@click.option(
    "--scenario",
    "scenarios",
    multiple=True,
    metavar="FILE.toml",
    help="The deployment, its nodes and its callers; or the name of a standard scenario. May be "
    "repeated.  [default: all four standard scenarios]",
)
@click.option(
    "--gaps",
    type=click.Choice(["zero", "refuse"]),
    default="zero",
    show_default=True,
    help="Missing bins of a TRACE file: zero: there were no requests; refuse: end with an error.",
)
@click.option(
    "--days",
    default="hardest",
    show_default=True,
    metavar="hardest|all|N",
    help="Of traces longer than a day: the 24 hours that vary most, each day, or each of the last "
    "N days.",
)
@click.option(
    "--seeds",
    type=click.IntRange(1, 1000),
    default=1,
    show_default=True,
    help="Number of runs, each with its own random seed.",
)
@click.option(
    "--sweep/--no-sweep",
    default=None,
    help="Whether to run other settings of each policy as well: those of this program with every "
    "seed, to find the cheapest that meets the SLO, the others once, to draw frontiers."
    "  [default: only with --report or --markdown]",
)
@click.option(
    "--json", type=click.Path(path_type=Path), help="Write a row for each run to this file."
)
@click.option("--report", type=click.Path(path_type=Path), help="Write plots to this HTML file.")
@click.option(
    "--markdown",
    type=click.Path(path_type=Path),
    help="Write the comparison of the settings of this program to this Markdown file.",
)
@click.option("--workers", type=click.IntRange(1), help="Processes.  [default: one for each core]")
@click.option(
    "--executor",
    default="local",
    show_default=True,
    metavar="local|dask://HOST:PORT",
    help="Where the runs are computed: in processes of this machine, or by the workers of a Dask "
    "scheduler; tls://HOST:PORT for an encrypted connection.",
)
@click.option(
    "--resume",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Keep finished runs in this file, and do not run again those that are in it.",
)
@report_errors()
def backtest(
    policies: tuple[str, ...],
    *,
    config: Path | None,
    rule: str | None,
    gaps: str,
    days: str,
    sweep: bool | None,
    **given: Any,
) -> None:
    """Compare autoscalers on recorded or generated loads.

    A TRACE is a CSV file of times and request counts (t_seconds,requests), a directory of such
    files, or the name of a generator. Every request is simulated, for each policy of this program,
    for adaptive allocations, for other autoscalers, and for an oracle. Ctrl-C keeps the completed
    runs.
    """
    from rich.console import Console

    try:
        from autoscaler.backtest.command import backtest as run_all
        from autoscaler.backtest.options import (
            BacktestOptions,
            chosen_days,
            chosen_policies,
            chosen_rule,
        )
        from autoscaler.simulation.trace_files import Gaps
    except ImportError as absent:
        raise UserError(
            f"back-tests need {absent.name}, which is not installed; install it with "
            "`pip install 'autoscaler[backtest]'`, or in a checkout with `make backtest-deps`"
        ) from absent

    options = BacktestOptions(
        policies=chosen_policies(policies, warn),
        rule=chosen_rule(config, rule, os.environ, warn),
        gaps=Gaps(gaps),
        days=chosen_days(days),
        sweep=bool(given["report"] or given["markdown"]) if sweep is None else sweep,
        **given,
    )
    run_all(options, output(), Console(stderr=True))


async def _until_interrupted() -> None:
    import asyncio
    import signal

    stop = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signum, stop.set)
    await stop.wait()
