"""Load from other sources."""

from pathlib import Path
from typing import Any

import click

from autoscaler.cli.import_options import (
    access_of,
    file_option,
    import_progress,
    mean_time,
    period_of,
    period_options,
    report,
    selection_options,
    step,
)
from autoscaler.cli.shared import UTF8, load_config, report_errors, run_async, time_instant, warn


@click.group("import")
def import_load() -> None:
    """Make a file of load from another source.

    The files are for `autoscaler replay`. What a source does not have is unknown in them, and their
    first line says what that is.
    """


@import_load.command()
@click.argument("url", type=UTF8)
@period_options
@click.option(
    "--step",
    "step_s",
    type=step,
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
@selection_options
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
@file_option
@report_errors()
def prometheus(
    url: str,
    *,
    since: float,
    until: float,
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
        access=access_of(url, **access),
        period=period_of(since, until),
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
    with import_progress() as progress:
        imported = run_async(import_prometheus(options, warn, progress))
    report(imported, path)


@import_load.command()
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    envvar="AUTOSCALER_CONFIG",
    show_envvar=True,
    help="The TOML file. Without it, the AUTOSCALER_... variables are the configuration.",
)
@period_options
@click.option(
    "--index",
    type=UTF8,
    default="metrics-generic.otel-*",
    show_default=True,
    help="The data streams with the metrics.",
)
@selection_options
@file_option
@report_errors()
def elasticsearch(
    config: Path | None,
    *,
    since: float,
    until: float,
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
        period=period_of(since, until),
        index=index,
        cluster=cluster,
        deployments=deployments,
        path=path,
    )
    ensure_writable(path)
    with import_progress() as progress:
        imported = run_async(import_elasticsearch(options, progress))
    report(imported, path)


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
    type=time_instant,
    metavar="TIME",
    help="The date of second 0, for files whose times are no dates.",
)
@click.option(
    "--service-time",
    type=mean_time,
    metavar="DURATION",
    help="Mean time of a request, such as 80ms, where a file has no column service_time_s.",
)
@click.option(
    "--allocations",
    type=click.IntRange(0, 100_000),
    help="Allocations that ran, where a file has no column allocations.",
)
@file_option
@report_errors()
def csv(
    files: tuple[Path, ...],
    *,
    deployment: str | None,
    column: str,
    starts_at: float | None,
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
        starts_at=starts_at,
        deployment=deployment or "",
        column=column,
        service_time_s=service_time,
        allocations=allocations,
    )
    report(import_csv(options, warn), path)
