"""Load from other sources."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from autoscaler.cli.shared import UTF8, load_config, report_errors, run_async, say, warn
from autoscaler.errors import UserError

if TYPE_CHECKING:
    from autoscaler.importing.http_client import StoreAccess
    from autoscaler.importing.output import Imported
    from autoscaler.importing.period import Period, Progress


def _step(text: str) -> float:
    from autoscaler.config.durations import between, parse_duration

    try:
        seconds = between("1s", "1h")(parse_duration(text))
    except ValueError as error:
        raise click.BadParameter(f"{error}.") from error
    if seconds % 1.0:
        raise click.BadParameter("must be whole seconds.")
    return seconds


def _service_time(text: str) -> float:
    from autoscaler.config.durations import between, parse_duration

    try:
        return between("1ms", "1h")(parse_duration(text))
    except ValueError as error:
        raise click.BadParameter(f"{error}.") from error


def _instant(option: str, text: str) -> float:
    from autoscaler.importing.period import instant

    try:
        return instant(text, time.time())
    except ValueError as error:
        raise click.BadParameter(f"{error}.", param_hint=option) from error


def _period(since: str, until: str) -> "Period":
    from autoscaler.importing.period import Period

    begin, end = _instant("--from", since), min(_instant("--to", until), time.time())
    if begin >= end:
        raise click.UsageError("--from must be earlier than --to, and than now.")
    return Period(begin, end)


def _file_option(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--to-file",
        "path",
        type=click.Path(path_type=Path),
        required=True,
        help="The file of intervals to write; .jsonl, or .jsonl.zst to compress it.",
    )(command)


def _period_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option(
            "--to", "until", metavar="TIME", default="now", show_default=True, help="Until when."
        ),
        click.option(
            "--from",
            "since",
            metavar="TIME",
            default="1d",
            show_default=True,
            help="From when: a time ago such as 24h or 7d, or a date such as 2026-01-31 or "
            "2026-01-31T12:00:00Z.",
        ),
    ):
        command = option(command)
    return command


def _selection(command: Callable[..., Any]) -> Callable[..., Any]:
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


@click.group("import")
def import_load() -> None:
    """Make a file of load from another source.

    The files are for `autoscaler replay`. What a source does not have is unknown in them, and their
    first line says what that is.
    """


@import_load.command()
@click.argument("url", type=UTF8)
@_period_options
@click.option(
    "--step",
    "step_s",
    type=_step,
    metavar="DURATION",
    default="1m",
    show_default=True,
    help="Between two readings; no shorter than the scrape interval.",
)
@click.option(
    "--matcher",
    "matchers",
    type=UTF8,
    multiple=True,
    metavar="LABEL=VALUE",
    help="Read only series with this label, as in 'cluster=\"prod\"'. May be repeated.",
)
@_selection
@click.option(
    "--arrivals",
    type=UTF8,
    metavar="QUERY",
    help="The requests of each deployment, where there are no metrics of this program, as in "
    "'sum by (deployment) (rate(requests_total[1m]))'.",
)
@click.option(
    "--arrivals-are",
    "kind",
    type=click.Choice(["rate", "count", "counter"]),
    default="rate",
    show_default=True,
    help="What the values of --arrivals are: requests per second, requests in a step, or all "
    "requests so far.",
)
@click.option(
    "--service-time", type=UTF8, metavar="QUERY", help="With --arrivals: seconds of a request."
)
@click.option(
    "--allocations", type=UTF8, metavar="QUERY", help="With --arrivals: running allocations."
)
@click.option(
    "--label",
    type=UTF8,
    default="deployment",
    show_default=True,
    help="With --arrivals: the label that has the deployment.",
)
@click.option("--user", metavar="NAME", help="A user of the source, with --password-file.")
@click.option("--password-file", type=click.Path(path_type=Path), help="File of its password.")
@click.option("--token-file", type=click.Path(path_type=Path), help="File of a bearer token.")
@click.option(
    "--ca",
    type=click.Path(path_type=Path),
    help="File of the authority that has signed the source's certificate.  [default: those of the "
    "system]",
)
@click.option(
    "--client-certificate",
    type=click.Path(path_type=Path),
    help="File of a certificate and its key, for a source that requires one; PEM.",
)
@_file_option
@report_errors()
def prometheus(
    url: str,
    *,
    since: str,
    until: str,
    step_s: float,
    matchers: tuple[str, ...],
    deployments: tuple[str, ...],
    cluster: str,
    arrivals: str | None,
    kind: str,
    service_time: str | None,
    allocations: str | None,
    label: str,
    path: Path,
    **access: Any,
) -> None:
    """Import load from Prometheus, or from what has its HTTP API.

    URL is the address before /api/v1. The metrics are those of this program, in any rule or mode,
    dry runs included; for those of others, name a query for their requests with --arrivals.
    """
    from autoscaler.importing.counts import CountKind
    from autoscaler.importing.prometheus import Counted, PrometheusImport, import_prometheus
    from autoscaler.interval_files import ensure_writable

    if arrivals is None and (service_time is not None or allocations is not None):
        raise click.UsageError("--service-time and --allocations need --arrivals.")
    if arrivals is not None and (matchers or cluster):
        raise click.UsageError("--matcher and --cluster exclude --arrivals; select in the query.")
    options = PrometheusImport(
        access=_access(url, **access),
        period=_period(since, until),
        step_s=step_s,
        matchers=matchers,
        deployments=deployments,
        cluster=cluster,
        counted=None
        if arrivals is None
        else Counted(
            arrivals=arrivals,
            kind=CountKind(kind),
            service_time=service_time or "",
            allocations=allocations or "",
            label=label,
        ),
        path=path,
    )
    ensure_writable(path)
    with _progress() as progress:
        imported = run_async(import_prometheus(options, warn, progress))
    _report(imported, path)


@import_load.command()
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    envvar="AUTOSCALER_CONFIG",
    show_envvar=True,
    help="The TOML file. Without it, the AUTOSCALER_... variables are the configuration.",
)
@_period_options
@click.option(
    "--index",
    type=UTF8,
    default="metrics-generic.otel-*",
    show_default=True,
    help="The data streams with the metrics.",
)
@_selection
@_file_option
@report_errors()
def elasticsearch(
    config: Path | None,
    *,
    since: str,
    until: str,
    index: str,
    cluster: str,
    deployments: tuple[str, ...],
    path: Path,
) -> None:
    """Import load from metrics that the daemon has sent to Elasticsearch by OTLP.

    [elasticsearch] of the configuration is the cluster with the metrics; it needs the privilege
    read for the data streams.
    """
    from autoscaler.importing.elasticsearch import ElasticsearchImport, import_elasticsearch
    from autoscaler.interval_files import ensure_writable

    options = ElasticsearchImport(
        config=load_config(config),
        period=_period(since, until),
        index=index,
        cluster=cluster,
        deployments=deployments,
        path=path,
    )
    ensure_writable(path)
    with _progress() as progress:
        imported = run_async(import_elasticsearch(options, progress))
    _report(imported, path)


@import_load.command()
@click.argument(
    "files", nargs=-1, required=True, metavar="FILE...", type=click.Path(path_type=Path)
)
@click.option(
    "--deployment",
    type=UTF8,
    metavar="ID",
    help="Whose requests they are, if there is one FILE.  [default: the column of each row, or the "
    "name of the file]",
)
@click.option(
    "--column",
    type=UTF8,
    default="deployment",
    show_default=True,
    help="The column that has the deployment.",
)
@click.option(
    "--starts-at",
    metavar="TIME",
    help="The date of second 0, for files whose times are no dates.",
)
@click.option(
    "--service-time",
    type=_service_time,
    metavar="DURATION",
    help="Mean time of a request, such as 80ms, where a file has no column service_time_s.",
)
@click.option(
    "--allocations",
    type=click.IntRange(0, 100_000),
    help="Allocations that ran, where a file has no column allocations.",
)
@_file_option
@report_errors()
def csv(
    files: tuple[Path, ...],
    *,
    deployment: str | None,
    column: str,
    starts_at: str | None,
    service_time: float | None,
    allocations: int | None,
    path: Path,
) -> None:
    """Import load from files of request counts.

    Each FILE has a row for each bin of time, with its start and the count of requests, as for
    `autoscaler backtest`: t_seconds,requests, in any order and with any further columns; .csv or
    .csv.gz.
    """
    from autoscaler.importing.csv_files import CsvImport, import_csv
    from autoscaler.interval_files import ensure_writable

    if deployment is not None and len(files) > 1:
        raise click.UsageError("--deployment needs a single FILE; use the column of each row.")
    ensure_writable(path)
    options = CsvImport(
        files=files,
        path=path,
        starts_at=None if starts_at is None else _instant("--starts-at", starts_at),
        deployment=deployment or "",
        column=column,
        service_time_s=service_time,
        allocations=allocations,
    )
    _report(import_csv(options, warn), path)


def _access(
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


def _progress() -> AbstractContextManager["Progress"]:
    from rich.console import Console

    from autoscaler.backtest.progress import progress_on

    return progress_on(Console(stderr=True), "import, minutes")


def _report(imported: "Imported", path: Path) -> None:
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
