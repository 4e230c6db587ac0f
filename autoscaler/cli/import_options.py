"""What the commands of an import share: their options, and what they report."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from autoscaler.cli.shared import UTF8, say, time_instant, warn
from autoscaler.errors import UserError

if TYPE_CHECKING:
    from autoscaler.importing.http_client import StoreAccess
    from autoscaler.importing.output import Imported
    from autoscaler.importing.period import Period, Progress


def step(text: str) -> float:
    from autoscaler.config.durations import between, parse_duration

    try:
        seconds = between("1s", "1h")(parse_duration(text))
    except ValueError as error:
        raise click.BadParameter(f"{error}.") from error
    if seconds % 1.0:
        raise click.BadParameter("must be whole seconds.")
    return seconds


def mean_time(text: str) -> float:
    from autoscaler.config.durations import between, parse_duration

    try:
        return between("1ms", "1h")(parse_duration(text))
    except ValueError as error:
        raise click.BadParameter(f"{error}.") from error


def period_of(since: float, until: float) -> "Period":
    from autoscaler.importing.period import Period

    end = min(until, time.time())
    if since >= end:
        raise click.UsageError("--from must be earlier than --to, and than now.")
    return Period(since, end)


def file_option(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--to-file",
        "path",
        type=click.Path(path_type=Path),
        required=True,
        help="The file of intervals to write; .jsonl, or .jsonl.zst to compress it.",
    )(command)


def period_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option(
            "--to",
            "until",
            type=time_instant,
            metavar="TIME",
            default="now",
            show_default=True,
            help="Until when.",
        ),
        click.option(
            "--from",
            "since",
            type=time_instant,
            metavar="TIME",
            default="1d",
            show_default=True,
            help="From when: a time ago such as 24h or 7d, or a date such as 2026-01-31 or "
            "2026-01-31T12:00:00Z.",
        ),
    ):
        command = option(command)
    return command


def selection_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option(
            "--deployment",
            "deployments",
            type=UTF8,
            multiple=True,
            metavar="ID",
            help="Import only this deployment. May be repeated.",
        ),
        click.option(
            "--cluster",
            type=UTF8,
            default="",
            metavar="NAME",
            help="Import only this cluster, by the label cluster, where there are several.",
        ),
    ):
        command = option(command)
    return command


def access_of(
    url: str,
    *,
    user: str | None,
    password_file: Path | None,
    token_file: Path | None,
    ca: Path | None,
    client_certificate: Path | None,
) -> "StoreAccess":
    from autoscaler.connection import Basic, Bearer
    from autoscaler.importing.http_client import StoreAccess

    if (user is None) != (password_file is None):
        raise click.UsageError("--user and --password-file need each other; set both.")
    if user is not None and token_file is not None:
        raise click.UsageError("--user and --token-file exclude each other; keep one.")
    auth: Basic | Bearer | None = None
    if user is not None and password_file is not None:
        auth = Basic(user, password_file)
    elif token_file is not None:
        auth = Bearer(token_file)
    return StoreAccess(url=url, auth=auth, ca_file=ca, client_certificate=client_certificate)


def import_progress() -> AbstractContextManager["Progress"]:
    from rich.console import Console

    from autoscaler.backtest.progress import progress_on

    return progress_on(Console(stderr=True), "import, minutes")


def report(imported: "Imported", path: Path) -> None:
    """Say what was written, and what is not known."""
    from datetime import UTC, datetime

    if imported.since is None or imported.until is None:
        raise UserError(
            f"{path} has no intervals: the source has fewer than two readings of each deployment"
        )
    begin, end = (
        datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M")
        for at in (imported.since, imported.until)
    )
    deployments = (
        "1 deployment" if imported.deployments == 1 else f"{imported.deployments:,} deployments"
    )
    say(
        f"{path}: {imported.intervals:,} intervals of {deployments} with {imported.arrivals:,} "
        f"arrivals, from {begin} to {end} UTC"
    )
    for sentence in imported.unknown:
        warn(sentence)
