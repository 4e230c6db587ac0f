"""Deployments by hand."""

from pathlib import Path
from typing import Any

import click

from autoscaler.cli.shared import (
    address,
    config_option,
    duration,
    load_config,
    report_errors,
    run_async,
    url_option,
)
from autoscaler.errors import UserError


@click.command()
@click.argument("model")
@click.option("--deployment-id", metavar="ID", help="What to call it.  [default: as the model]")
@click.option("--allocations", type=click.IntRange(1), help="How many it has.  [default: 1]")
@click.option(
    "--min",
    "minimum",
    type=click.IntRange(0),
    help="With --max, in place of --allocations: Elasticsearch's own scaler chooses.",
)
@click.option("--max", "maximum", type=click.IntRange(1), help="The most that scaler may choose.")
@click.option("--threads", type=click.IntRange(1, 32), help="Threads of an allocation: 1, 2, 4 ...")
@click.option("--queue-capacity", type=click.IntRange(1), help="Requests that may wait on a node.")
@click.option("--cache-size", metavar="SIZE", help="Memory for answers, such as 100mb; 0b: none.")
@click.option("--priority", type=click.Choice(["normal", "low"]), help="[default: normal]")
@click.option(
    "--wait-for",
    type=click.Choice(["starting", "started", "fully_allocated"]),
    default="started",
    show_default=True,
    help="When it is enough.",
)
@click.option(
    "--timeout",
    "timeout_s",
    type=duration,
    metavar="DURATION",
    default="5m",
    show_default=True,
    help="How long to wait for that. The deployment stays, and goes on starting.",
)
@config_option
@report_errors()
def start(model: str, path: Path | None, **given: Any) -> None:
    """Start a deployment of MODEL and wait until it serves."""
    minimum, maximum = given["minimum"], given["maximum"]
    if (minimum is None) != (maximum is None):
        raise click.UsageError("--min and --max belong together; set both.")
    if minimum is not None and given["allocations"] is not None:
        raise click.UsageError("--allocations excludes --min and --max.")
    if minimum is not None and maximum < minimum:
        raise click.UsageError("--max must be at least --min.")
    from rich.console import Console

    from autoscaler.adapters.clock import HostClock
    from autoscaler.operate.progress import ProgressView
    from autoscaler.operate.start import StartOptions
    from autoscaler.operate.start import start as begin

    config = load_config(path)
    with ProgressView(Console()) as watch:
        reached = run_async(
            begin(config, StartOptions(model_id=model, **given), HostClock(), watch)
        )
    click.echo(f"{reached.sentence}, after {reached.elapsed_s:.0f} s")


@click.command()
@click.argument("deployment")
@click.option("--force", is_flag=True, help="Stop it though pipelines or endpoints use it.")
@config_option
@report_errors()
def stop(deployment: str, path: Path | None, *, force: bool) -> None:
    """Stop DEPLOYMENT, which frees what it takes."""
    from autoscaler.adapters.clock import HostClock
    from autoscaler.operate.stop import stop as end

    run_async(end(load_config(path), deployment, HostClock(), force=force))
    click.echo(f"{deployment} is stopped")


@click.command()
@click.argument("deployment")
@url_option
@config_option
@report_errors()
def resume(deployment: str, url: str | None, path: Path | None) -> None:
    """Have the daemon start DEPLOYMENT again, which sleeps.

    It was stopped because nobody used it (scale_to_zero via stop).
    """
    from autoscaler.operate.resume import resume as rouse

    click.echo(run_async(rouse(address(url, path), deployment)))


@click.command()
@click.argument("deployments", nargs=-1, metavar="[DEPLOYMENT]...")
@click.option(
    "--to",
    type=click.Choice(["adaptive", "floor"]),
    help="native: to Elasticsearch's own scaler, within the bounds of the rule. floor: at least "
    "safe_allocations, or else max_allocations.  [default: as on_exit of the rule says]",
)
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@config_option
@report_errors()
def release(
    deployments: tuple[str, ...], to: str | None, path: Path | None, *, dry_run: bool
) -> None:
    """Leave deployments safe without a daemon.

    All that it scales, unless some are named; those that it has stopped are started again. What
    is only observed is left alone unless it is named. Stop the daemon first.
    """
    from autoscaler.adapters.clock import HostClock
    from autoscaler.core.selection import OnExit
    from autoscaler.operate.release import ReleaseLine, ReleaseOptions
    from autoscaler.operate.release import release as hand_back

    def tell(line: ReleaseLine) -> None:
        click.echo(f"{line.deployment_id} {line.sentence}")

    options = ReleaseOptions(names=deployments, to=OnExit(to) if to else None, dry_run=dry_run)
    failures = run_async(hand_back(load_config(path), options, HostClock(), tell))
    if failures:
        raise UserError(f"{failures} could not be released; the lines above say why")
