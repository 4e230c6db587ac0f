"""Arguments in, exit code out. What a command needs is imported when it runs.

Exit codes: 0 done; 1 it did not work; 2 wrong usage; 70 an error of the program; 78 a wrong
configuration, scenario or trace (the last two as in sysexits.h); 130 interrupted.
"""

import asyncio
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from autoscaler import __version__
from autoscaler.mistakes import Mistake

if TYPE_CHECKING:
    from autoscaler.config import Config

EX_SOFTWARE = 70

_config = click.option(
    "--config",
    "path",
    type=click.Path(path_type=Path),
    envvar="AUTOSCALER_CONFIG",
    show_envvar=True,
    help="The TOML file. Without it, the AUTOSCALER_... variables say everything.",
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="autoscaler")
def main() -> None:
    """Scales Elasticsearch trained-model deployments with their load, and says why."""


@main.command()
@_config
def run(path: Path | None) -> None:
    """Run the daemon until SIGTERM. SIGHUP reads the configuration again."""
    from autoscaler.adapters.logs import configure
    from autoscaler.daemon import Daemon

    async def live() -> None:
        await Daemon(load).run()

    with _errors_in_one_sentence():
        load = partial(_load, path)
        logging = load().logging
        configure(logging.style, logging.level, version=__version__, environ=os.environ)
        asyncio.run(live())


@main.command()
@_config
def check(path: Path | None) -> None:
    """Connect, and show what would be managed, what not, and why. Changes nothing."""
    from rich.console import Console

    from autoscaler.check import check as look
    from autoscaler.check import report

    with _errors_in_one_sentence():
        findings = asyncio.run(look(_load(path)))
        report(findings, Console())
    sys.exit(0 if findings.preflight.ok else 1)


@main.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=9200, show_default=True, help="Port; 0 takes any that is free.")
@click.option(
    "--scenario",
    "path",
    type=click.Path(path_type=Path),
    help="A TOML file that describes the cluster. Without it: a small sample cluster.",
)
@click.option("--version", "number", help="The version to emulate, such as 8.19.  [default: 9.2]")
@click.option("--load/--no-load", default=None, help="Whether requests come.  [default: they do]")
@click.option("--speed", type=float, help="Seconds of the cluster in one of ours.  [default: 1]")
@click.option("--user", metavar="NAME:PASSWORD", help="Ask for these credentials, of a superuser.")
def emulate(path: Path | None, **given: Any) -> None:
    """Serve an emulated cluster: the ML part of Elasticsearch's API over simulated nodes."""
    from autoscaler.adapters.clock import HostClock
    from autoscaler.simulation.emulator.server import running_emulator
    from autoscaler.simulation.scenario import adjust, read_scenario, sample_scenario

    host, port = given.pop("host"), given.pop("port")

    async def serve() -> None:
        clock = HostClock(scenario.speed)
        async with running_emulator(
            scenario, host=host, port=port, clock=clock, keep_up=True
        ) as emulator:
            click.echo(f"An emulated Elasticsearch {scenario.version} listens on {emulator.url}")
            await _until_interrupted()

    with _errors_in_one_sentence():
        scenario = adjust(read_scenario(path) if path else sample_scenario(), **given)
        asyncio.run(serve())


@main.command()
@click.option(
    "--trace",
    type=click.Path(path_type=Path),
    help="Replay this request-rate trace (t_seconds,requests) instead of the built-in load.",
)
@click.option(
    "--speed", default=20.0, show_default=True, help="Seconds of the demo in one of ours."
)
@click.option("--duration", default=90.0, show_default=True, help="Our seconds that it lasts.")
@click.option("--keep-running", is_flag=True, help="Go on until Ctrl-C.")
def demo(trace: Path | None, speed: float, duration: float, *, keep_running: bool) -> None:
    """Watch the daemon at work: an emulated cluster under load, scaled over HTTP."""
    from autoscaler.demo import show

    with _errors_in_one_sentence():
        asyncio.run(show(trace, speed=speed, duration_s=duration, keep_running=keep_running))


def _load(path: Path | None) -> "Config":
    from autoscaler.config import load

    return load(path, os.environ)


async def _until_interrupted() -> None:
    import signal

    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await stop.wait()


@contextmanager
def _errors_in_one_sentence() -> Iterator[None]:
    try:
        yield
    except Mistake as mistake:
        _fail(str(mistake), mistake.exit_code)
    except KeyboardInterrupt:
        _fail("interrupted", 130)
    except Exception as defect:
        where = traceback.extract_tb(defect.__traceback__)[-1]
        _fail(
            f"an error of the program itself, please report it: {defect!r} "
            f"({Path(where.filename).name}:{where.lineno})",
            EX_SOFTWARE,
        )


def _fail(message: str, exit_code: int) -> NoReturn:
    for line in message.splitlines():
        click.echo(f"autoscaler: {line}", err=True)
    sys.exit(exit_code)
