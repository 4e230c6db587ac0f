"""The table [otlp] -> where metrics are sent, and what is wrong with the table."""

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from autoscaler.config.telemetry import OtlpTable
from autoscaler.connection import Problem, normal_host
from autoscaler.files import open_regular
from autoscaler.otlp_access import OtlpSettings, headers_in

OF_THE_CLUSTER = "elasticsearch"
"""The endpoint that is the cluster itself, with its credentials and certificates."""


def otlp_of(table: OtlpTable, directory: Path) -> OtlpSettings | None:
    """A relative path is relative to the directory. None: metrics are not sent."""
    if table.endpoint is None:
        return None
    return OtlpSettings(
        endpoint="" if table.endpoint == OF_THE_CLUSTER else table.endpoint.rstrip("/"),
        headers_file=None if table.headers_file is None else directory / table.headers_file,
        ca_certs=None if table.ca_certs is None else directory / table.ca_certs,
        interval_s=table.interval,
        decisions=table.decisions,
    )


def otlp_problems(table: OtlpTable, directory: Path) -> Iterator[Problem]:
    """Everything that is wrong with a table, files that it names included."""
    settings = otlp_of(table, directory)
    for key in ("headers_file", "ca_certs"):
        if getattr(table, key) is None:
            continue
        if settings is None:
            yield key, "has no effect without endpoint; set that, or remove this"
        elif not settings.endpoint:
            yield key, f"has no effect with endpoint = {OF_THE_CLUSTER!r}; remove it"
    if settings is None:
        return
    if not _is_installed():
        yield "endpoint", "needs an extra package; install it by `pip install 'autoscaler[otel]'`"
    if not settings.endpoint:
        return
    try:
        if "@" in settings.endpoint:
            raise ValueError("must not contain credentials; use headers_file")
        normal_host(settings.endpoint)
    except ValueError as error:
        yield "endpoint", str(error)
    if settings.headers_file is not None:
        try:
            headers_in(settings.headers_file)
        except ValueError as error:
            yield "headers_file", str(error)
    if settings.ca_certs is not None:
        try:
            open_regular(settings.ca_certs).close()
        except OSError as error:
            yield "ca_certs", f"{settings.ca_certs} cannot be read: {error.strerror}"


def _is_installed() -> bool:
    try:
        return find_spec("opentelemetry.proto") is not None
    except ModuleNotFoundError:  # the package around it
        return False
