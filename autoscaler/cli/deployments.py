"""Deployments, started, stopped, resumed and released by an operator."""

from functools import partial
from pathlib import Path
from typing import Any

import click

from autoscaler.cli.instructions import instruct_daemon, json_option
from autoscaler.cli.shared import (
    ID,
    RenamedChoice,
    ask_daemon,
    config_option,
    duration,
    load_config,
    output,
    report_errors,
    run_async,
    say,
    url_option,
    warn,
    warn_of_daemon,
)
from autoscaler.core.units import duration_text
from autoscaler.errors import UserError


@click.command()
@click.argument("model", type=ID)
@click.option(
    "--deployment-id",
    type=ID,
    metavar="ID",
    help="Id of the deployment.  [default: the model's id]",
)
@click.option("--allocations", type=click.IntRange(1), help="Number of allocations.  [default: 1]")
@click.option(
    "--min",
    "minimum",
    type=click.IntRange(0),
    help="With --max, instead of --allocations: enable adaptive allocations.",
)
@click.option(
    "--max", "maximum", type=click.IntRange(1), help="Maximum of the adaptive allocations."
)
@click.option("--threads", type=click.IntRange(1, 32), help="Threads per allocation: 1, 2, 4 ...")
@click.option("--queue-capacity", type=click.IntRange(1), help="Requests that may queue on a node.")
@click.option(
    "--cache-size", metavar="SIZE", help="Memory of the inference cache, such as 100mb; 0b: none."
)
@click.option("--priority", type=click.Choice(["normal", "low"]), help="[default: normal]")
@click.option(
    "--wait-for",
    type=click.Choice(["starting", "started", "fully_allocated"]),
    default="started",
    show_default=True,
    help="The allocation state to wait for.",
)
@click.option(
    "--timeout",
    "timeout_s",
    type=duration,
    metavar="DURATION",
    default="5m",
    show_default=True,
    help="How long to wait. After that, the deployment continues to start.",
)
@config_option
@report_errors()
def start(model: str, path: Path | None, **given: Any) -> None:
    """Start a deployment of MODEL and wait until it runs."""
    minimum, maximum = given["minimum"], given["maximum"]
    if (minimum is None) != (maximum is None):
        raise click.UsageError("--min and --max need each other; set both.")
    if minimum is not None and given["allocations"] is not None:
        raise click.UsageError("--allocations cannot be combined with --min and --max.")
    if minimum is not None and maximum < minimum:
        raise click.UsageError("--max must be at least --min.")
    from autoscaler.adapters.clock import HostClock
    from autoscaler.operate.progress import ProgressView
    from autoscaler.operate.start import StartOptions
    from autoscaler.operate.start import start as start_deployment

    config = load_config(path)
    options = StartOptions(model_id=model, **given)
    with ProgressView(output()) as show:
        reached = run_async(start_deployment(config, options, HostClock(), show))
    say(f"{reached.sentence}, after {duration_text(reached.elapsed_s)}")


@click.command()
@click.argument("deployment", type=ID)
@click.option("--force", is_flag=True, help="Stop it even if pipelines or endpoints use it.")
@config_option
@report_errors()
def stop(deployment: str, path: Path | None, *, force: bool) -> None:
    """Stop DEPLOYMENT, which frees its processors and memory."""
    from autoscaler.adapters.clock import HostClock
    from autoscaler.operate.stop import stop as stop_deployment

    config = load_config(path)
    warn_of_daemon(
        config, f"where a rule matches {deployment}, it scales it again as soon as it is started"
    )
    run_async(stop_deployment(config, deployment, HostClock(), force=force))
    say(f"{deployment} is stopped")


@click.command()
@click.argument("deployment", type=ID)
@json_option
@url_option
@config_option
@report_errors()
def resume(deployment: str, url: str | None, path: Path | None, *, as_json: bool) -> None:
    """Let the daemon start a stopped DEPLOYMENT.

    The daemon stopped it because it was idle (scale_to_zero via stop).
    """
    from autoscaler.operate.resume import resume as request_resume
    from autoscaler.wire.instruction_views import ResumeRequest

    if as_json:
        request = ResumeRequest(deployment=deployment)
        instruct_daemon("resume", request, url=url, path=path, as_json=True)
        return
    say(ask_daemon(url, path, partial(request_resume, deployment_id=deployment)))


@click.command(hidden=True)
@click.argument("deployment", type=ID)
@url_option
@config_option
@click.pass_context
def wake(context: click.Context, /, **given: Any) -> None:
    """Former name of `resume`; works for one release."""
    warn("`autoscaler wake` is deprecated; use `autoscaler resume`")
    context.invoke(resume, as_json=False, **given)


@click.command()
@click.argument("deployments", type=ID, nargs=-1, metavar="[DEPLOYMENT]...")
@click.option(
    "--to",
    type=RenamedChoice(["adaptive", "floor"], renamed={"native": "adaptive"}),
    help="adaptive: enable adaptive allocations, within the bounds of the rule. floor: at least "
    "safe_allocations, or else max_allocations.  [default: on_exit of the rule]",
)
@click.option("--dry-run", is_flag=True, help="Show what would be done, and change nothing.")
@config_option
@report_errors()
def release(
    deployments: tuple[str, ...], to: str | None, path: Path | None, *, dry_run: bool
) -> None:
    """Leave deployments in a state that is safe without a daemon.

    Without arguments: all deployments that the daemon scales; stopped ones are started again.
    Deployments in dry run are only released if they are named. Stop the daemon first.
    """
    from autoscaler.adapters.clock import HostClock
    from autoscaler.core.selection import OnExit
    from autoscaler.operate.release import ReleaseLine, ReleaseOptions
    from autoscaler.operate.release import release as release_deployments

    def show(line: ReleaseLine) -> None:
        say(line.message)

    options = ReleaseOptions(names=deployments, to=OnExit(to) if to else None, dry_run=dry_run)
    config = load_config(path)
    if not dry_run:
        warn_of_daemon(
            config,
            "it may change released deployments; stop it first, or exclude them in a rule",
        )
    failures = run_async(release_deployments(config, options, HostClock(), show))
    if failures:
        were = "1 deployment was" if failures == 1 else f"{failures} deployments were"
        raise UserError(f"{were} not released; the lines above state the reasons")
