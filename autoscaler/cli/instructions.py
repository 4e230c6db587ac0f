"""What operators ask of a running daemon: pauses, overrides, a reload, its status."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from autoscaler.cli.shared import (
    ID,
    STATED_REASON,
    ask_daemon,
    config_option,
    report_errors,
    say,
    url_option,
)
from autoscaler.text import printable_json

if TYPE_CHECKING:
    from msgspec import Struct

    from autoscaler.wire.decision_views import InstructionView

json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print the daemon's response as JSON."
)
reason_option = click.option(
    "--reason",
    type=STATED_REASON,
    default="",
    metavar="TEXT",
    help="Why: shown wherever it has an effect.",
)
all_option = click.option("--all", "of_all", is_flag=True, help="All deployments.")


def _time(text: str) -> float:
    """Seconds for which an instruction is in force."""
    from autoscaler.config.durations import between, parse_duration

    try:
        return between("1m", "7d")(parse_duration(text))
    except ValueError as error:
        raise click.BadParameter(f"{error}.") from error


for_option = click.option(
    "--for",
    "for_s",
    type=_time,
    required=True,
    metavar="DURATION",
    help="After which it ends by itself: 1m to 7d.",
)


@click.command()
@click.argument("deployment", type=ID, required=False)
@all_option
@for_option
@click.option(
    "--only",
    type=click.Choice(["increases", "decreases"]),
    help="Hold these, and permit the others.  [default: change nothing]",
)
@reason_option
@json_option
@url_option
@config_option
@report_errors()
def pause(
    deployment: str | None, *, of_all: bool, for_s: float, only: Any, reason: str, **daemon: Any
) -> None:
    """Hold the allocations of DEPLOYMENT for a time.

    The running daemon changes nothing of it, or of all deployments, until the time is over. Updates
    that were decided before and have not been sent are held as well.
    """
    from autoscaler.wire.instruction_views import PauseRequest

    _check_which(deployment, of_all)
    request = PauseRequest(
        deployment=deployment, for_s=for_s, changes=only or "everything", reason=reason
    )
    instruct_daemon("pause", request, **daemon)


@click.command()
@click.argument("deployment", type=ID, required=False)
@all_option
@reason_option
@json_option
@url_option
@config_option
@report_errors()
def unpause(deployment: str | None, *, of_all: bool, reason: str, **daemon: Any) -> None:
    """End the pause of DEPLOYMENT, or every pause."""
    from autoscaler.wire.instruction_views import UnpauseRequest

    _check_which(deployment, of_all)
    instruct_daemon("unpause", UnpauseRequest(deployment=deployment, reason=reason), **daemon)


@click.command()
@click.argument("deployment", type=ID)
@click.argument("allocations", type=click.IntRange(0, 1_000_000))
@for_option
@reason_option
@json_option
@url_option
@config_option
@report_errors()
def override(
    deployment: str, allocations: int, *, for_s: float, reason: str, **daemon: Any
) -> None:
    """Set the ALLOCATIONS of DEPLOYMENT for a time.

    The running daemon keeps them until the time is over. The number has to be within the bounds of
    the rule.
    """
    from autoscaler.wire.instruction_views import OverrideRequest

    request = OverrideRequest(
        deployment=deployment, allocations=allocations, for_s=for_s, reason=reason
    )
    instruct_daemon("override", request, **daemon)


@click.command("end-override")
@click.argument("deployment", type=ID)
@reason_option
@json_option
@url_option
@config_option
@report_errors()
def end_override(deployment: str, *, reason: str, **daemon: Any) -> None:
    """End the override of DEPLOYMENT."""
    from autoscaler.wire.instruction_views import EndOverrideRequest

    instruct_daemon(
        "end-override", EndOverrideRequest(deployment=deployment, reason=reason), **daemon
    )


@click.command()
@json_option
@url_option
@config_option
@report_errors()
def instructions(url: str | None, path: Path | None, *, as_json: bool) -> None:
    """Show the pauses and overrides in force."""
    from autoscaler.operate.instruct import read
    from autoscaler.wire.instruction_views import InstructionsResponse

    found, body = ask_daemon(
        url, path, partial(read, name="instructions", kind=InstructionsResponse)
    )
    if as_json:
        _print_json(body)
    elif not found.instructions:
        say("no pause and no override is in force")
    else:
        _say_instructions(found.instructions)


@click.command()
@json_option
@url_option
@config_option
@report_errors()
def reload(**daemon: Any) -> None:
    """Let the daemon read its configuration again.

    Says what came of it: that it is in effect, or why it is not.
    """
    instruct_daemon("reload", None, **daemon)


@click.command()
@json_option
@url_option
@config_option
@report_errors()
def status(url: str | None, path: Path | None, *, as_json: bool) -> None:
    """Show the running daemon at a glance.

    `autoscaler explain` has the deployments, and their decisions.
    """
    from autoscaler.explain.status_lines import status_lines
    from autoscaler.operate.instruct import read
    from autoscaler.wire.status_views import StatusResponse

    found, body = ask_daemon(url, path, partial(read, name="status", kind=StatusResponse))
    if as_json:
        _print_json(body)
        return
    for line in status_lines(found):
        say(line)


def _check_which(deployment: str | None, of_all: bool) -> None:
    if (deployment is None) is not of_all:
        raise click.UsageError("Name a DEPLOYMENT, or set --all.")


def instruct_daemon(
    name: str, request: "Struct | None", *, url: str | None, path: Path | None, as_json: bool
) -> None:
    """Send a request to the daemon, and print what comes of it."""
    from autoscaler.operate.instruct import instruct

    reply = ask_daemon(url, path, partial(instruct, name=name, request=request))
    if as_json:
        _print_json(reply.body)
    else:
        say(reply.accepted.message)


def _print_json(body: bytes) -> None:
    import msgspec

    click.echo(printable_json(msgspec.json.format(body, indent=2).decode()))


def _say_instructions(found: "tuple[InstructionView, ...]") -> None:
    for each in found:
        say(each.message)
