"""What operators do about gradual rollouts."""

from typing import Any

import click

from autoscaler.cli.instructions import instruct_daemon, json_option, reason_option
from autoscaler.cli.shared import ID, config_option, report_errors, url_option


@click.group()
def rollout() -> None:
    """Let a gradual rollout begin again.

    `autoscaler explain` shows how the gradual rollout of a deployment is.
    """


@rollout.command()
@click.argument("deployment", type=ID)
@reason_option
@json_option
@url_option
@config_option
@report_errors()
def resume(deployment: str, *, reason: str, **daemon: Any) -> None:
    """Let the gradual rollout of DEPLOYMENT begin again.

    After it was reverted, because more requests were late than before; or while it waits, because
    the daemon has found no saved state. The rule acts from the next active hour on, and the
    comparison begins again.
    """
    from autoscaler.wire.instruction_views import ResumeRolloutRequest

    request = ResumeRolloutRequest(deployment=deployment, reason=reason)
    instruct_daemon("resume-rollout", request, **daemon)
