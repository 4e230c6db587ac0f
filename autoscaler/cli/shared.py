"""What every command needs: options, the configuration, and errors in one sentence."""

import asyncio
import logging
import math
import os
import sys
import traceback
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click

from autoscaler.errors import InputError, UserError

if TYPE_CHECKING:
    from autoscaler.config import Config

Response = TypeVar("Response")

EX_SOFTWARE = 70
INTERRUPTED = 130


class Number(click.FloatRange):
    """A number in a range. Not a number is in none, though it compares as if it were."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        number = float(super().convert(value, param, ctx))
        if math.isnan(number):
            self.fail(f"{value!r} is not a number.", param, ctx)
        return number


def duration(text: str) -> float:
    """Seconds, from one to those of a day."""
    from autoscaler.config.durations import between, parse_duration

    try:
        return between("1s", "1d")(parse_duration(text))
    except ValueError as error:
        raise click.BadParameter(f"{text!r} {error}.") from error


@contextmanager
def report_errors() -> Iterator[None]:
    """Nobody who uses the program gets to see a traceback, whatever happens and whenever."""
    try:
        yield
    except UserError as mistake:
        _fail(str(mistake), mistake.exit_code)
    except KeyboardInterrupt:
        _fail("interrupted", INTERRUPTED)
    except (click.ClickException, BrokenPipeError):
        raise  # click tells of wrong usage, and ends quietly if our reader has seen enough
    except Exception as defect:
        _fail(
            f"an error of the program itself, please report it: {defect!r} ({_place_of(defect)})",
            EX_SOFTWARE,
        )


def _place_of(defect: Exception) -> str:
    """The last line of ours that had to do with it."""
    frames = traceback.extract_tb(defect.__traceback__)
    package = str(Path(__file__).parents[1])
    ours = [frame for frame in frames if frame.filename.startswith(package)]
    where = (ours or frames)[-1]
    return f"{Path(where.filename).name}:{where.lineno}"


def _fail(message: str, exit_code: int) -> NoReturn:
    for line in message.splitlines():
        click.echo(f"autoscaler: {line}", err=True)
    sys.exit(exit_code)


config_option = click.option(
    "--config",
    "path",
    type=click.Path(path_type=Path),
    envvar="AUTOSCALER_CONFIG",
    show_envvar=True,
    help="The TOML file. Without it, the AUTOSCALER_... variables say everything.",
)

url_option = click.option(
    "--url",
    help="Where the daemon answers.  [default: as [server] of the configuration says; without one, "
    "http://127.0.0.1:9464]",
)


def run_async(command: Coroutine[Any, Any, Response]) -> Response:
    # A connection that comes about while its task is being cancelled is logged as an error, with
    # a traceback, and would be all that is seen of a Ctrl-C. (The daemon has its log for that.)
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    return asyncio.run(command)


def load_config(path: Path | None) -> "Config":
    from autoscaler.config import CONFIG_VARIABLE, load

    if not is_configured(path):
        raise InputError(
            "there is no configuration; name a file with --config or in "
            f"{CONFIG_VARIABLE}, such as a copy of config.example.toml"
        )
    return load(path, os.environ)


def address(url: str | None, path: Path | None) -> str:
    """Where the daemon answers."""
    from autoscaler.explain import DEFAULT_URL, address_of

    if url is not None:
        return url
    return address_of(load_config(path).server) if is_configured(path) else DEFAULT_URL


def is_configured(path: Path | None) -> bool:
    """Whether there is a file, or a variable that stands for one."""
    return path is not None or any(name.upper().startswith("AUTOSCALER_") for name in os.environ)
