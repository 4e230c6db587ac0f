"""What has happened."""

import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from autoscaler.cli.shared import (
    ID,
    ask_daemon,
    config_option,
    is_configured,
    load_config,
    output,
    report_errors,
    url_option,
    warn,
)
from autoscaler.errors import UserError
from autoscaler.text import printable_json

if TYPE_CHECKING:
    from autoscaler.config import Config
    from autoscaler.explain.history import Wanted
    from autoscaler.wire.history_views import HistoryResponse

MAX_ENTRIES = 100_000
"""Entries that one command shows at most. 100,000: more than the file has with its default
limits."""


def _since(text: str) -> float:
    """Seconds, from one second to the longest time for which a history is kept."""
    from autoscaler.config.durations import between, parse_duration

    try:
        return between("1s", "366d")(parse_duration(text))
    except ValueError as error:
        raise click.BadParameter(f"{error}.") from error


@click.command()
@click.argument("deployment", type=ID, required=False)
@click.option(
    "--since",
    "since_s",
    type=_since,
    metavar="DURATION",
    default="1d",
    show_default=True,
    help="How far to go back.",
)
@click.option(
    "--limit",
    type=click.IntRange(1, MAX_ENTRIES),
    default=200,
    show_default=True,
    help="The latest entries, at most so many.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with every step of decisions.")
@url_option
@config_option
@report_errors()
def history(
    deployment: str | None,
    url: str | None,
    path: Path | None,
    *,
    since_s: float,
    limit: int,
    as_json: bool,
) -> None:
    """Show what has happened.

    Decisions, updates and refusals, changes of other writers, lost allocations, failed polls,
    reloads, and the instructions of operators. For one DEPLOYMENT, with what concerns all of them;
    without an id, everything. From the running daemon; if none runs, from the file of its state.
    """
    import msgspec

    from autoscaler.adapters.admin_http.client import DaemonUnreachable
    from autoscaler.explain.history import Wanted, fetch_history
    from autoscaler.explain.history_lines import render_history

    since = max(0.0, time.time() - since_s)
    wanted = Wanted(deployment, since, limit, as_json)
    try:
        found = ask_daemon(url, path, partial(fetch_history, wanted=wanted))
    except DaemonUnreachable as failure:
        if url is not None or not is_configured(path):
            raise
        found = _from_file(load_config(path), wanted, failure)
    if as_json:
        text = msgspec.json.format(msgspec.json.encode(found), indent=2).decode()
        click.echo(printable_json(text))
        return
    render_history(found, since, output())


def _from_file(config: "Config", wanted: "Wanted", failure: UserError) -> "HistoryResponse":
    """
    Raises:
        UserError: there is no file.
    """
    from autoscaler.explain.history import read_history

    if config.state_index is not None or config.state_dir is None:
        raise UserError(
            f"{failure}; the state is not in a file, so only the daemon has the history"
        )
    found = read_history(config.state_dir, wanted)
    warn(f"{failure}; this is the history in its file")
    name = wanted.deployment_id
    if name is not None and not found.next and not any(each.deployment for each in found.entries):
        warn(f"nothing is recorded of {name} in this time; without an id, all entries are shown")
    return found
