"""Which load a command replays, and with which rules."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from autoscaler.cli.shared import (
    UTF8,
    config_option,
    is_configured,
    load_config,
    time_instant,
    warn,
)
from autoscaler.errors import InputError, UserError

if TYPE_CHECKING:
    from autoscaler.config.loader import Written
    from autoscaler.replay.source import LoadSource


def source_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Which load."""
    options = (
        config_option,
        click.option(
            "--recording",
            type=click.Path(path_type=Path),
            help="A recording.  [default: that of the configuration's state directory]",
        ),
        click.option(
            "--intervals",
            type=click.Path(path_type=Path),
            help="Instead of a recording, a file of intervals that `autoscaler import` or "
            "`autoscaler export` wrote; .jsonl or .jsonl.zst.",
        ),
        click.option(
            "--from",
            "since",
            metavar="TIME",
            type=time_instant,
            help="From when: a time ago such as 24h or 7d, or a date such as 2026-01-31 or "
            "2026-01-31T12:00:00Z.  [default: the beginning]",
        ),
        click.option(
            "--to",
            "until",
            metavar="TIME",
            type=time_instant,
            help="Until when.  [default: the end]",
        ),
        click.option(
            "--deployment",
            "deployments",
            type=UTF8,
            multiple=True,
            metavar="ID",
            help="Only this deployment. May be repeated.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def ensure_installed() -> None:
    """
    Raises:
        UserError: an extra is not installed.
    """
    try:
        import autoscaler.replay.engine  # noqa: F401
    except ImportError as absent:
        raise UserError(
            f"replays need {absent.name}, which is not installed; install it with "
            "`pip install 'autoscaler[backtest]'`, or in a checkout with `make backtest-deps`"
        ) from absent


def written_config(path: Path | None) -> "Written":
    """The configuration as it is written: its rules need neither secrets nor certificates.

    Raises:
        UserError: there is none, or it cannot be read.
    """
    from autoscaler.config import CONFIG_VARIABLE
    from autoscaler.config.loader import read

    if not is_configured(path):
        raise InputError(
            f"no configuration; name a file with --config or {CONFIG_VARIABLE}, whose rules are to "
            "be replayed"
        )
    written = read(path, os.environ)
    for warning in written.warnings:
        warn(warning)
    return written


def chosen_source(
    path: Path | None,
    *,
    recording: Path | None,
    intervals: Path | None,
    since: float | None,
    until: float | None,
    deployments: tuple[str, ...],
) -> "LoadSource":
    """
    Raises:
        UserError: there is no recording.
    """
    from autoscaler.recording_export import recording_path
    from autoscaler.replay.source import LoadSource

    if recording is not None and intervals is not None:
        raise click.UsageError("--recording and --intervals exclude each other; keep one.")
    if since is not None and until is not None and since >= until:
        raise click.UsageError("--from must be earlier than --to.")
    file = intervals or recording
    if file is None:
        file = recording_path(load_config(path))
    return LoadSource(
        path=file,
        is_recording=intervals is None,
        since=since,
        until=until,
        deployments=deployments,
    )
