"""The tables [logging], [metrics] and [otlp]: what the daemon writes about itself."""

from typing import Literal

from pydantic import Field

from autoscaler.config.durations import ExportInterval
from autoscaler.config.fields import Line
from autoscaler.config.table import Table


class LoggingTable(Table):
    """The log, which is written to standard error."""

    format: Literal["auto", "console", "json", "ecs"] = Field(
        default="auto", description="auto: console on a terminal, JSON elsewhere."
    )
    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="The lowest level of events that are written."
    )


class MetricsTable(Table):
    """The metrics."""

    per_node: bool | None = Field(
        default=None,
        description="Export the metrics of each deployment on each node; default: with at most "
        "200 deployments.",
    )


class OtlpTable(Table):
    """The receiver of metrics and decisions by OTLP over HTTP."""

    endpoint: Line | None = Field(
        default=None,
        description="Address of the receiver, to which /v1/metrics and /v1/logs are added; "
        "or elasticsearch, for the cluster itself, from Elasticsearch 9.2. Default: nothing is "
        "sent.",
    )
    headers_file: Line | None = Field(
        default=None,
        description="File with headers of the requests, such as Authorization; one on each line.",
    )
    ca_certs: Line | None = Field(
        default=None,
        description="PEM file of the certificate authorities to trust; default: the system's.",
    )
    interval: ExportInterval = Field(
        default=60.0, description="From one export of the metrics to the next, while none fails."
    )
    decisions: bool = Field(
        default=True, description="Send each decision too, as a log record, after each cycle."
    )
