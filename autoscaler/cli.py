"""Arguments in, exit code out. What a command needs is imported when it runs.

Exit codes: 0 done; 1 it did not work; 2 wrong usage; 70 an error of the program; 78 a wrong
configuration, scenario or trace (the last two as in sysexits.h); 130 interrupted.
"""

import asyncio
import logging
import math
import os
import sys
import traceback
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click

from autoscaler import __version__
from autoscaler.mistakes import ConfigurationMistake, Mistake

if TYPE_CHECKING:
    from autoscaler.config import Config

Answer = TypeVar("Answer")

EX_SOFTWARE = 70
INTERRUPTED = 130


class _Number(click.FloatRange):
    """A number in a range. Not a number is in none, though it compares as if it were."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        number = float(super().convert(value, param, ctx))
        if math.isnan(number):
            self.fail(f"{value!r} is not a number.", param, ctx)
        return number


@contextmanager
def _errors_in_one_sentence() -> Iterator[None]:
    """Nobody who uses the program gets to see a traceback, whatever happens and whenever."""
    try:
        yield
    except Mistake as mistake:
        _fail(str(mistake), mistake.exit_code)
    except KeyboardInterrupt:
        _fail("interrupted", INTERRUPTED)
    except BrokenPipeError:
        raise  # whoever read our output has seen enough; click ends quietly
    except Exception as defect:
        _fail(
            f"an error of the program itself, please report it: {defect!r} ({_place_of(defect)})",
            EX_SOFTWARE,
        )


def _place_of(defect: Exception) -> str:
    """The last line of ours that had to do with it."""
    frames = traceback.extract_tb(defect.__traceback__)
    package = str(Path(__file__).parent)
    ours = [frame for frame in frames if frame.filename.startswith(package)]
    where = (ours or frames)[-1]
    return f"{Path(where.filename).name}:{where.lineno}"


def _fail(message: str, exit_code: int) -> NoReturn:
    for line in message.splitlines():
        click.echo(f"autoscaler: {line}", err=True)
    sys.exit(exit_code)


_config = click.option(
    "--config",
    "path",
    type=click.Path(path_type=Path),
    envvar="AUTOSCALER_CONFIG",
    show_envvar=True,
    help="The TOML file. Without it, the AUTOSCALER_... variables say everything.",
)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="autoscaler")
def main() -> None:
    """Scales Elasticsearch trained-model deployments with their load, and says why."""


@main.command()
@_config
@_errors_in_one_sentence()
def run(path: Path | None) -> None:
    """Run the daemon until SIGTERM or Ctrl-C.

    It reads the configuration again when the file changes, and on SIGHUP.
    """
    from autoscaler.adapters.logs import configure
    from autoscaler.daemon import Daemon

    async def live() -> None:
        await Daemon(load).run()

    load = partial(_load, path)
    wanted = load().logging
    configure(wanted.style, wanted.level, version=__version__, environ=os.environ)
    asyncio.run(live())


@main.command()
@_config
@_errors_in_one_sentence()
def check(path: Path | None) -> None:
    """Show what would be managed, and what is wrong.

    Connects, names every problem with its remedy, and lists the deployments. Changes nothing.
    """
    from rich.console import Console

    from autoscaler.check import check as look
    from autoscaler.check import report

    findings = _run(look(_load(path)))
    report(findings, Console())
    if findings.fatal:
        raise Mistake("\n".join(findings.fatal))


@main.command()
@click.argument("deployment", required=False)
@click.option(
    "--url",
    help="Where the daemon answers.  [default: as [server] of the configuration says; without one, "
    "http://127.0.0.1:9464]",
)
@_config
@click.option("--json", "as_json", is_flag=True, help="Print the daemon's answer as it is.")
@_errors_in_one_sentence()
def explain(deployment: str | None, url: str | None, path: Path | None, *, as_json: bool) -> None:
    """Ask the running daemon why it wants that number.

    Of one DEPLOYMENT, every step from what was measured to what was done; without a name, a table
    of all.
    """
    from autoscaler.explain import USUAL_URL, address_of, ask, pretty, tell

    if url is None:
        url = address_of(_load(path).server) if _is_configured(path) else USUAL_URL
    reply = _run(ask(url, deployment))
    if as_json:
        click.echo(pretty(reply))
        return
    from rich.console import Console

    tell(reply.answer, Console())


@main.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=9200,
    show_default=True,
    help="Port; 0 takes any that is free.",
)
@click.option(
    "--scenario",
    "path",
    type=click.Path(path_type=Path),
    help="A TOML file that describes the cluster. Without it: a small sample cluster.",
)
@click.option("--version", "number", help="The version to emulate, such as 8.19.  [default: 9.2]")
@click.option("--load/--no-load", default=None, help="Whether requests come.  [default: they do]")
@click.option(
    "--speed",
    type=_Number(0.001, 10_000),
    help="Seconds of the cluster in one of ours.  [default: 1]",
)
@click.option("--user", metavar="NAME:PASSWORD", help="Ask for these credentials, of a superuser.")
@_errors_in_one_sentence()
def emulate(path: Path | None, **given: Any) -> None:
    """Serve an emulated Elasticsearch cluster.

    It answers the part of the API that has to do with trained models, over simulated nodes, until
    SIGTERM or Ctrl-C.
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
            click.echo(f"An emulated Elasticsearch {scenario.version} listens on {emulator.url}")
            await _until_interrupted()

    scenario = adjust(read_scenario(path) if path else sample_scenario(), **given)
    _run(serve())


@main.command()
@click.option(
    "--trace",
    type=click.Path(path_type=Path),
    help="Replay this request-rate trace (t_seconds,requests) instead of the built-in load.",
)
@click.option(
    "--speed",
    type=_Number(0.1, 1000),
    default=20.0,
    show_default=True,
    help="Seconds of the cluster in one of ours.",
)
@click.option(
    "--duration",
    type=_Number(1, 86_400),
    default=90.0,
    show_default=True,
    help="Our seconds that it lasts.",
)
@click.option("--keep-running", is_flag=True, help="Go on until Ctrl-C.")
@_errors_in_one_sentence()
def demo(trace: Path | None, speed: float, duration: float, *, keep_running: bool) -> None:
    """Watch the daemon scale an emulated cluster.

    The cluster is under load, and the daemon speaks to it over HTTP, as it would to any. At the
    end, or on Ctrl-C, two other ways of scaling are given the same requests, to compare.
    """
    from autoscaler.demo import show

    _run(show(trace, speed=speed, duration_s=duration, keep_running=keep_running))


@main.command()
@click.argument("traces", nargs=-1, required=True, metavar="TRACE...")
@click.option(
    "--policy",
    "policies",
    multiple=True,
    metavar="NAME[,NAME...]",
    help="Try these only; installed ones as well.  [default: all that come with the program]",
)
@click.option(
    "--scenario",
    metavar="FILE.toml",
    help="The deployment, its nodes and its callers; or the name of a standard scenario."
    "  [default: all four of those]",
)
@click.option(
    "--seeds",
    type=click.IntRange(1, 1000),
    default=1,
    show_default=True,
    help="How often to repeat it with other random numbers.",
)
@click.option(
    "--sweep/--no-sweep",
    default=None,
    help="Whether to try other settings of each policy too, once, to draw frontiers."
    "  [default: for a report]",
)
@click.option("--json", type=click.Path(path_type=Path), help="Write one row a run to this file.")
@click.option("--report", type=click.Path(path_type=Path), help="Write plots to this HTML file.")
@click.option("--workers", type=click.IntRange(1), help="Processes.  [default: one a core]")
@_errors_in_one_sentence()
def backtest(policies: tuple[str, ...], *, sweep: bool | None, **given: Any) -> None:
    """Find out what any autoscaler would have made of a load.

    A TRACE is a file of request counts (t_seconds,requests), a directory of such files, or the
    name of a generator. Every request is simulated, for our policy, for Elasticsearch's own
    scaler, for the autoscalers that people know, and for one that knows the future. Ctrl-C keeps
    what is finished.
    """
    from rich.console import Console

    try:
        from autoscaler.laboratory.backtest import Wish, chosen_policies
        from autoscaler.laboratory.backtest import backtest as run_all
    except ImportError as absent:
        raise Mistake(
            f"back-tests need {absent.name}, which is not installed; install it with "
            "`pip install 'autoscaler[lab]'`"
        ) from absent

    wish = Wish(
        policies=chosen_policies(policies),
        sweep=given["report"] is not None if sweep is None else sweep,
        **given,
    )
    # Rows are wider than the 80 columns that are taken for granted where there is no terminal.
    out = Console()
    run_all(wish, out if out.is_terminal else Console(width=120), Console(stderr=True))


def _run(command: Coroutine[Any, Any, Answer]) -> Answer:
    # A connection that comes about while its task is being cancelled is logged as an error, with
    # a traceback, and would be all that is seen of a Ctrl-C. (The daemon has its log for that.)
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    return asyncio.run(command)


def _load(path: Path | None) -> "Config":
    from autoscaler.config import CONFIG_VARIABLE, load

    if not _is_configured(path):
        raise ConfigurationMistake(
            "there is no configuration; name a file with --config or in "
            f"{CONFIG_VARIABLE}, such as a copy of config.example.toml"
        )
    return load(path, os.environ)


def _is_configured(path: Path | None) -> bool:
    """Whether there is a file, or a variable that stands for one."""
    return path is not None or any(name.upper().startswith("AUTOSCALER_") for name in os.environ)


async def _until_interrupted() -> None:
    import signal

    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await stop.wait()
