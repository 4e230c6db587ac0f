"""The recording of cycles."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from autoscaler import __version__
from autoscaler.cli.shared import (
    config_option,
    load_config,
    read_config,
    report_errors,
    say,
    time_instant,
    warn,
    warn_all,
)
from autoscaler.errors import InputError

if TYPE_CHECKING:
    from autoscaler.config import Config


@click.command()
@config_option
@report_errors()
def record(path: Path | None) -> None:
    """Record the load of all deployments, and change nothing.

    A daemon that runs until SIGTERM or Ctrl-C, and needs the cluster privilege monitor_ml only: it
    decides as the rules say, records and logs that, and sends nothing, whatever the rules say.
    `autoscaler export` and `autoscaler replay` read the recording, also meanwhile.
    """
    from autoscaler.adapters.logs import QueuedStream, configure
    from autoscaler.adapters.systemd import ServiceManager
    from autoscaler.config import ConfigError
    from autoscaler.daemon import Daemon
    from autoscaler.recording_export import ensure_recordable, record_only
    from autoscaler.threads import run as run_loop

    def load() -> "Config":
        return record_only(read_config(path))

    try:
        config = load()
    except ConfigError as error:  # the log is not configured; otherwise it has the warnings
        warn_all(error.warnings)
        raise
    ensure_recordable(config)
    with QueuedStream.of_standard_error() as stream, stream.as_standard_error():
        logging = config.logging
        configure(
            logging.style,
            logging.level,
            version=__version__,
            environ=os.environ,
            stream=stream,
        )
        run_loop(Daemon(load, service=ServiceManager(os.environ)).run())


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@config_option
@click.option(
    "--recording",
    type=click.Path(path_type=Path),
    help="The file recording.db.  [default: that of the configuration]",
)
@click.option(
    "--from",
    "since",
    metavar="TIME",
    default="14d",
    show_default=True,
    type=time_instant,
    help="From when: a time ago such as 24h or 7d, or a date such as 2026-01-31 or "
    "2026-01-31T12:00:00Z.",
)
@click.option(
    "--to",
    "until",
    metavar="TIME",
    default="now",
    show_default=True,
    type=time_instant,
    help="Until when.",
)
@click.option(
    "--hash-ids",
    is_flag=True,
    help="Replace the ids of deployments, models and nodes by hashes, with a random key that is "
    "not kept.",
)
@click.option(
    "--hash-key-file",
    type=click.Path(path_type=Path),
    help="The same with a key of at least 16 bytes, so that the hashes of two exports are equal.",
)
@report_errors()
def export(
    file: Path,
    *,
    path: Path | None,
    recording: Path | None,
    since: float,
    until: float,
    hash_ids: bool,
    hash_key_file: Path | None,
) -> None:
    """Write the recorded load to FILE.

    JSON lines, compressed if its name ends in .jsonl.zst: one for each deployment and poll, with
    the numbers of requests, the time that they took, and the allocations. Works while the daemon
    runs.
    """
    from rich.console import Console

    from autoscaler.backtest.progress import progress_on
    from autoscaler.recording_export import Hashes, recording_path
    from autoscaler.recording_export import export as write

    if since >= until:
        raise click.UsageError("--from must be earlier than --to.")
    hashes = None
    if hash_key_file is not None:
        hashes = Hashes(_key_of(hash_key_file))
    elif hash_ids:
        hashes = Hashes()
    place = recording_path(load_config(path)) if recording is None else recording
    with progress_on(Console(stderr=True), "export, cycles") as progress:
        found = write(place, file, since, until, hashes=hashes, warn=warn, progress=progress)
    if not found.intervals:
        warn("the recording has no intervals of that time")
    deployments = f"{found.deployments:,} deployment{'' if found.deployments == 1 else 's'}"
    say(f"{found.intervals:,} intervals of {deployments} are in {file}")


def _key_of(path: Path) -> bytes:
    from autoscaler.connection import MAX_SECRET_BYTES
    from autoscaler.files import read_regular
    from autoscaler.recording_export import MIN_KEY_BYTES

    try:
        key = read_regular(path, MAX_SECRET_BYTES).strip()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise InputError(f"--hash-key-file: {path}: {reason}") from error
    if len(key) < MIN_KEY_BYTES:
        raise InputError(
            f"--hash-key-file: {path}: it has {len(key)} bytes; write at least {MIN_KEY_BYTES} "
            "random ones to it"
        )
    return key
