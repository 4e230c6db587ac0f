"""What policies would have done with a recorded load."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from autoscaler.cli.replay_source import (
    chosen_source,
    ensure_installed,
    source_options,
    written_config,
)
from autoscaler.cli.shared import (
    UTF8,
    is_configured,
    output,
    report_errors,
    say,
    warn,
)
from autoscaler.errors import UserError

if TYPE_CHECKING:
    from autoscaler.config.loader import Written
    from autoscaler.replay.results import ReplayResults
    from autoscaler.replay.source import LoadSource


def _executor_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Where the deployments are simulated."""
    options = (
        click.option(
            "--executor",
            type=UTF8,
            default="local",
            show_default=True,
            metavar="local|dask://HOST:PORT",
            help="Where to run: in processes of this machine, or on the workers of a Dask "
            "scheduler.",
        ),
        click.option(
            "--workers",
            type=click.IntRange(1),
            help="Processes of this machine.  [default: one for each core]",
        ),
        click.option(
            "--resume",
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="Keep finished deployments in this file, and do not simulate again those that are "
            "in it.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


@click.command()
@source_options
@click.option(
    "--policy",
    "policies",
    multiple=True,
    metavar="NAME[,NAME...]",
    help="Compare the rule with these policies.  [default: adaptive allocations, hpa, keda and "
    "static-peak]",
)
@click.option(
    "--oracle/--no-oracle",
    default=False,
    help="Whether the oracle, which knows each request in advance, runs too. It takes longer than "
    "all others together.",
)
@click.option("--json", type=click.Path(path_type=Path), help="Write the results to this file.")
@click.option("--report", type=click.Path(path_type=Path), help="Write the page to this file.")
@click.option("--markdown", type=click.Path(path_type=Path), help="Write Markdown to this file.")
@_executor_options
@report_errors()
def replay(
    path: Path | None,
    *,
    policies: tuple[str, ...],
    oracle: bool,
    json: Path | None,
    report: Path | None,
    markdown: Path | None,
    executor: str,
    workers: int | None,
    resume: Path | None,
    **given: Any,
) -> None:
    """Compare the rules with what really ran, on the recorded load.

    Each deployment's load, service times and nodes run through the rule that selects it, beside
    the recorded allocations, adaptive allocations and other autoscalers. Where the simulation of
    what really ran misses what was observed, there is no verdict. Nothing is changed, and no
    cluster is needed.

    Exits with 0 if a deployment was replayed, also without a verdict, and with 1 if none could be,
    or if a simulation failed.
    """
    ensure_installed()
    from autoscaler.config.loader import report_settings
    from autoscaler.replay.outputs import Outputs
    from autoscaler.replay.presentation.table import show

    outputs = Outputs(json=json, report=report, markdown=markdown)
    written = written_config(path)
    settings = report_settings(written)
    source = chosen_source(path, **given)
    outputs.ensure_writable((path, source.path), resume)
    results = _replayed(
        written,
        source,
        policies=policies,
        oracle=oracle,
        executor=executor,
        workers=workers,
        resume=resume,
    )
    try:
        outputs.write(results, settings, datetime.now(UTC))
    finally:
        show(output(), results)
    _ensure_complete(results)


@click.command()
@click.argument("file", type=click.Path(path_type=Path), required=False, metavar="[RESULTS]")
@source_options
@click.option(
    "--to-file",
    "page",
    type=click.Path(path_type=Path),
    default="report.html",
    show_default=True,
    help="Write the page to this file.",
)
@click.option("--markdown", type=click.Path(path_type=Path), help="Write Markdown to this file.")
@_executor_options
@report_errors()
def report(
    file: Path | None,
    path: Path | None,
    *,
    page: Path,
    markdown: Path | None,
    executor: str,
    workers: int | None,
    resume: Path | None,
    **given: Any,
) -> None:
    """Write what the rules would have saved or spent as a page.

    From RESULTS, a file of `autoscaler replay --json`; without it, the recorded load is replayed.
    The page is one file without scripts and without requests. With `[report]` in the configuration,
    it says what a month would cost.
    """
    from autoscaler.config.loader import report_settings
    from autoscaler.config.values import ReportSettings
    from autoscaler.replay.outputs import Outputs
    from autoscaler.replay.presentation.sentences import headline
    from autoscaler.replay.results_file import read_results
    from autoscaler.replay.totals import totals_of

    outputs = Outputs(report=page, markdown=markdown, report_option="--to-file")
    if file is not None:
        outputs.ensure_writable((file, path))
        if any(given.values()) or resume or workers or executor != "local":
            raise click.UsageError("RESULTS excludes the options of another replay; keep one.")
        results = read_results(file).results
        configured = is_configured(path)
        settings = report_settings(written_config(path)) if configured else ReportSettings()
    else:
        ensure_installed()
        written = written_config(path)
        settings = report_settings(written)
        source = chosen_source(path, **given)
        outputs.ensure_writable((path, source.path), resume)
        results = _replayed(written, source, executor=executor, workers=workers, resume=resume)
    try:
        outputs.write(results, settings, datetime.now(UTC))
    finally:
        say(headline(totals_of(results), results))
    for written_file in (page, markdown):
        if written_file is not None:
            say(f"written: {written_file}")
    if file is None:
        _ensure_complete(results)


def _ensure_complete(results: "ReplayResults") -> None:
    """
    Raises:
        UserError: simulations failed, so that results lack what they should have.
    """
    if results.failed:
        which = "one deployment" if results.failed == 1 else f"{results.failed:,} deployments"
        raise UserError(
            f"the simulation of {which} failed, which the results have among those left out; "
            "report it as a defect, with the record"
        )


def _replayed(
    written: "Written",
    source: "LoadSource",
    *,
    policies: tuple[str, ...] = (),
    oracle: bool = False,
    executor: str,
    workers: int | None,
    resume: Path | None,
) -> "ReplayResults":
    from rich.console import Console

    from autoscaler.backtest.options import chosen_policies
    from autoscaler.replay.command import replay_all
    from autoscaler.replay.engine import ReplayOptions

    options = ReplayOptions(
        source=source.path.name,
        since=source.since,
        until=source.until,
        policies=chosen_policies(policies, warn) if policies else None,
        oracles=oracle,
    )
    return replay_all(
        written,
        source,
        options,
        executor=executor,
        workers=workers,
        resume=resume,
        progress=Console(stderr=True),
        warn=warn,
    )


@click.command()
@source_options
@click.option(
    "--to-dir",
    "directory",
    type=click.Path(path_type=Path),
    help="Write a scenario and a trace of each deployment into this directory.  [default: only "
    "the table]",
)
@report_errors()
def calibrate(path: Path | None, *, directory: Path | None, **given: Any) -> None:
    """Fit the assumptions of a simulation to the recorded load.

    For each deployment: service times and how they depend on the load, the speed of the nodes, the
    time to load the model, and queues. They become a scenario of `autoscaler backtest`, in which a
    comment says what cannot be known from the record. An assumption that the record contradicts is
    named.
    """
    ensure_installed()
    from rich.console import Console

    from autoscaler.replay.calibration.files import ensure_replaceable, write_files
    from autoscaler.replay.calibration.fits import calibration_of
    from autoscaler.replay.calibration.table import show
    from autoscaler.replay.command import read_tasks
    from autoscaler.replay.engine import ReplayOptions

    written, source = written_config(path), chosen_source(path, **given)
    options = ReplayOptions(source=source.path.name, since=source.since, until=source.until)
    planned = read_tasks(written, source, options, progress=Console(stderr=True), warn=warn)
    if directory is not None:
        ensure_replaceable([task.name for task in planned.tasks], directory)
    found = [calibration_of(task) for task in planned.tasks]
    if directory is not None:
        try:
            directory.mkdir(exist_ok=True)
        except OSError as error:
            raise UserError(
                f"cannot write into {directory}: {(error.strerror or str(error)).lower()}; name a "
                "directory in an existing, writable one"
            ) from error
    files = [] if directory is None else list(write_files(found, directory))
    show(output(), found, planned.left_out)
    for _, scenario, trace in files:
        say(f"written: {scenario}, {trace}")
