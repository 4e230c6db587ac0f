"""What every command needs: options, the configuration, and errors in one sentence each."""

import logging
import math
import os
import re
import sys
import time
import traceback
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NoReturn, TypeVar, cast

import click

from autoscaler.cli.streams import OUTPUT_ERRORS
from autoscaler.errors import InputError, UserError
from autoscaler.text import printable

if TYPE_CHECKING:
    from rich.console import Console

    from autoscaler.adapters.admin_http.client import DaemonAddress
    from autoscaler.config import Config

Response = TypeVar("Response")

EX_SOFTWARE = 70
INTERRUPTED = 130


def time_instant(text: str) -> float:
    """The type of an option: Unix seconds, written as a time ago, a date, or as they are."""
    from autoscaler.importing.period import instant

    try:
        return instant(text, time.time())
    except ValueError as error:
        raise click.BadParameter(f"{error}.") from error


class FiniteFloat(click.FloatRange):
    """A float in a range. NaN is rejected, though its comparisons would let it pass."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        parsed = float(super().convert(value, param, ctx))
        if math.isnan(parsed):
            self.fail(f"{value!r} is not finite.", param, ctx)
        return parsed


class _Utf8(click.types.StringParamType):
    """A text. An argument of other bytes has characters that no request can contain."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        text = str(super().convert(value, param, ctx))
        try:
            text.encode()
        except UnicodeEncodeError:
            self.fail(f"{printable(text)} is not valid UTF-8.", param, ctx)
        return text


UTF8 = _Utf8()


class _PathId(_Utf8):
    """An id of the cluster that can be a part of a path: `.` and `..` would lead to another one."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        from autoscaler.wire.instruction_views import MAX_ID_CHARACTERS

        text = super().convert(value, param, ctx)
        if text in {"", ".", ".."}:
            self.fail(f"{text!r} is no id; `autoscaler check` lists the deployments.", param, ctx)
        if len(text) > MAX_ID_CHARACTERS:
            self.fail(f"an id has at most {MAX_ID_CHARACTERS} characters.", param, ctx)
        return text


class _StatedReason(_Utf8):
    """The reason of an operator."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        from autoscaler.core.instructions import MAX_REASON_CHARACTERS

        text = super().convert(value, param, ctx)
        if (length := len(text)) > MAX_REASON_CHARACTERS:
            self.fail(
                f"must have at most {MAX_REASON_CHARACTERS} characters, not {length}.", param, ctx
            )
        return text


ID, STATED_REASON = _PathId(), _StatedReason()


class _FilePath(click.Path):
    """The path of a file. An empty one would be the working directory."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(
        self,
        value: "str | os.PathLike[str]",
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> Any:
        if not str(value).strip():
            self.fail("it is empty; name a file, or leave the option out.", param, ctx)
        return super().convert(value, param, ctx)


FILE = _FilePath()


class RenamedChoice(click.Choice[str]):
    """A choice that accepts former names, with a warning, for one release."""

    def __init__(self, choices: Sequence[str], *, renamed: Mapping[str, str]) -> None:
        super().__init__(choices)
        self._renamed = renamed

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if value in self._renamed:
            option = param.opts[0] if param is not None else "this option"
            warn(f"{option} {value} is deprecated; use {option} {self._renamed[value]}")
            value = self._renamed[value]
        return super().convert(value, param, ctx)


def say(message: str, *, err: bool = False) -> None:
    """Print one line to standard output, or to standard error."""
    click.echo(printable(message), err=err)


def warn(message: str) -> None:
    """Print a warning to standard error."""
    say(f"autoscaler: warning: {message}", err=True)


def warn_all(messages: Iterable[str]) -> None:
    for message in messages:
        warn(message)


PLAIN_WIDTH = 10_000
"""Columns of output that is not a terminal. 10,000, so that no line is wrapped."""


class _WithoutPadding:
    """Standard output, without the spaces with which tables fill their lines."""

    def __init__(self) -> None:
        self._file = sys.stdout
        self.encoding = sys.stdout.encoding

    def write(self, text: str) -> int:
        return self._file.write(re.sub(r" +(?=\n)", "", text))

    def flush(self) -> None:
        self._file.flush()


def output() -> "Console":
    """Standard output: on a terminal as wide as that, elsewhere without wraps and colours."""
    from rich.console import Console

    console = Console()
    if console.is_terminal:
        return console
    return Console(file=cast("IO[str]", _WithoutPadding()), width=PLAIN_WIDTH)


def duration(text: str) -> float:
    """Seconds, from one second to one day."""
    from autoscaler.config.durations import between, parse_duration

    try:
        return between("1s", "1d")(parse_duration(text))
    except ValueError as error:
        raise click.BadParameter(f"{error}.") from error


def warn_of_daemon(config: "Config", consequence: str) -> None:
    """Warn if a daemon responds at the address in [server]."""
    from autoscaler.explain import address_of
    from autoscaler.operate.session import daemon_answers

    try:
        daemon = address_of(config.server)
    except InputError:
        return  # any free port, so that the address is not known
    if run_async(daemon_answers(daemon)):
        warn(f"a daemon responds at {daemon.url}; {consequence}")


@contextmanager
def report_errors() -> Iterator[None]:
    """Print each error as a sentence, never as a traceback, and exit with its code."""
    try:
        yield
    except UserError as error:
        _fail(error.exit_code, *error.sentences)
    except KeyboardInterrupt:
        _fail(INTERRUPTED, "interrupted")
    except (click.ClickException, BrokenPipeError):
        raise  # click reports wrong usage, and ends silently if the reader has closed the pipe
    except Exception as defect:
        if isinstance(defect, OSError) and defect.errno in OUTPUT_ERRORS:
            raise
        _fail(
            EX_SOFTWARE,
            f"internal error, please report it: {defect!r} ({_place_of(defect)})",
        )


def _place_of(defect: Exception) -> str:
    """The last line of this program in the traceback."""
    frames = traceback.extract_tb(defect.__traceback__)
    package = str(Path(__file__).parents[1])
    own = [frame for frame in frames if frame.filename.startswith(package)]
    where = (own or frames)[-1]
    return f"{Path(where.filename).name}:{where.lineno}"


def _fail(exit_code: int, *sentences: str) -> NoReturn:
    for sentence in sentences:
        say(f"autoscaler: {sentence}", err=True)
    sys.exit(exit_code)


_CONFIG_VARIABLE = "AUTOSCALER_CONFIG"

config_option = click.option(
    "--config",
    "path",
    type=FILE,
    envvar=_CONFIG_VARIABLE,
    show_envvar=True,
    help="The TOML file. Without it, the AUTOSCALER_... variables are the configuration.",
)


def url_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """The address of a daemon, and how to prove and trust it."""
    options = (
        click.option(
            "--url",
            help="Address of the daemon.  [default: [server] of the configuration; without one, "
            "http://127.0.0.1:9464]",
        ),
        click.option(
            "--ca",
            type=FILE,
            expose_value=False,
            callback=_keep,
            help="File of the authority that has signed the daemon's certificate.  [default: its "
            "certificate in the configuration, or else the authorities of the system]",
        ),
        click.option(
            "--client-certificate",
            type=FILE,
            expose_value=False,
            callback=_keep,
            help="File of a certificate and its key, for a daemon that requires one; PEM.",
        ),
        click.option(
            "--user",
            metavar="NAME",
            expose_value=False,
            callback=_keep,
            help="A user of the daemon, instead of its token; with --password-file.",
        ),
        click.option(
            "--password-file",
            type=FILE,
            expose_value=False,
            callback=_keep,
            help="File of the user's password.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def _keep(context: click.Context, parameter: click.Parameter, value: Response) -> Response:
    context.meta[f"daemon.{parameter.name}"] = value
    return value


def _with_options(daemon: "DaemonAddress") -> "DaemonAddress":
    """The address with what the options of `url_option` say about it."""
    from autoscaler.connection import MAX_SECRET_BYTES
    from autoscaler.files import read_regular

    given = click.get_current_context().meta
    ca, user = given.get("daemon.ca"), given.get("daemon.user")
    path = given.get("daemon.password_file")
    if (user is None) != (path is None):
        raise click.UsageError("--user and --password-file need each other; set both.")
    daemon = daemon._replace(ca_file=ca, client_certificate=given.get("daemon.client_certificate"))
    if user is None or path is None:
        return daemon
    try:
        password = read_regular(path, MAX_SECRET_BYTES).decode().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise InputError(f"--password-file: {path}: {reason.lower()}") from error
    return daemon._replace(user=user, password=password)


def run_async(command: Coroutine[Any, Any, Response]) -> Response:
    # A connection that is established while its task is cancelled is logged as an error, with a
    # traceback, after a Ctrl-C. (The daemon does not use this function: it has its log.)
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    from autoscaler.threads import run

    return run(command)


def load_config(path: Path | None) -> "Config":
    """The configuration. Former names in it are printed as warnings, also if it is not valid."""
    from autoscaler.config import ConfigError

    try:
        config = read_config(path)
    except ConfigError as error:
        warn_all(error.warnings)
        raise
    warn_all(config.warnings)
    return config


def read_config(path: Path | None) -> "Config":
    """The configuration. The caller reports the former names in it."""
    from autoscaler.config import CONFIG_VARIABLE, load

    if not is_configured(path):
        raise InputError(
            f"no configuration; name a file with --config or {CONFIG_VARIABLE}, such as a copy of "
            "config.example.toml"
        )
    return load(path, os.environ)


def ask_daemon(
    url: str | None,
    path: Path | None,
    request: Callable[["DaemonAddress"], Coroutine[Any, Any, Response]],
) -> Response:
    """Send a request to the daemon at `url`, or else at the address of the configuration, with the
    token of the configuration.

    A configuration with errors is no obstacle: the daemon runs with the last valid one. If no
    daemon responds, the errors are reported.
    """
    from autoscaler.config import ConfigError, read_server
    from autoscaler.explain import DEFAULT_URL, AdminRequestFailed, DaemonAddress, address_of

    default = _with_options(DaemonAddress(url or DEFAULT_URL))
    if not is_configured(path):
        return run_async(request(default))
    if url is not None:
        server = read_server(path, os.environ)
        return run_async(
            request(default if server is None else _with_options(address_of(server, url)))
        )
    try:
        daemon = _with_options(address_of(load_config(path).server))
    except ConfigError as error:
        server = read_server(path, os.environ)
        try:
            daemon = default if server is None else _with_options(address_of(server))
            response = run_async(request(daemon))
        except (AdminRequestFailed, InputError) as failure:
            raise error from failure
        count = len(error.problems)
        problems = "a problem" if count == 1 else f"{count} problems"
        warn(
            f"the configuration has {problems}, which `autoscaler check` lists; "
            f"the daemon at {daemon.url} runs with an earlier one"
        )
        return response
    return run_async(request(daemon))


def is_configured(path: Path | None) -> bool:
    """Whether there is a file or a variable of the configuration."""
    names = {name.upper() for name in os.environ}
    names.discard(_CONFIG_VARIABLE)  # if it is set, it is empty, and names no file
    return path is not None or any(name.startswith("AUTOSCALER_") for name in names)
