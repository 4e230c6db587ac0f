"""Metrics and decisions, made into requests of bounded size, and the responses to them.

The types are generated from the protocol's own definition, `opentelemetry/proto` 1.x. Each metric
has the name that its series have for Prometheus, and their labels as attributes. Sums and
histograms are cumulative. Each decision is a log record, with the fields of its log line.
"""

import gzip
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import (
    AnyValue,
    ArrayValue,
    KeyValue,
    KeyValueList,
)
from opentelemetry.proto.logs.v1 import logs_pb2 as logs
from opentelemetry.proto.metrics.v1 import metrics_pb2 as otlp
from prometheus_client import CollectorRegistry, Metric

from autoscaler.core.decision import NOT_SENT, Outcome, OutcomeKind
from autoscaler.text import printable
from autoscaler.wire.decisions import log_fields

POINTS_OF_A_REQUEST = 2_000
"""Data points of one request at most: about 400 kB before compression, where receivers accept at
least 4 MB."""

_COMPRESSION = 6
"""The level of gzip that its own command has by default."""

_CUMULATIVE = otlp.AGGREGATION_TEMPORALITY_CUMULATIVE


class OtlpRequest(NamedTuple):
    """The body of a request, compressed by gzip, and the number of data points or records in it."""

    body: bytes
    items: int


class OtlpResult(NamedTuple):
    """What the receiver says of a request that it has accepted, at least in part."""

    rejected: int  # data points or records
    message: str


def metrics_requests(
    registry: CollectorRegistry, resource: Mapping[str, str], started_at: float, at: float
) -> Iterator[OtlpRequest]:
    """Everything that the registry collects now.

    Args:
        resource: the attributes that say whose metrics these are.
        started_at: Unix seconds since when counters count.
        at: Unix seconds of the values.
    """
    metrics: list[Any] = []
    points = 0
    span = (round(started_at * 1e9), round(at * 1e9))
    for family in registry.collect():
        for metric, count in _metrics_of(family, *span):
            if metrics and points + count > POINTS_OF_A_REQUEST:
                yield _request(metrics, resource, points)
                metrics, points = [], 0
            metrics.append(metric)
            points += count
    if metrics:
        yield _request(metrics, resource, points)


def decisions_request(outcomes: Iterable[Outcome], resource: Mapping[str, str]) -> OtlpRequest:
    """One record for each decision, with its sentence as the body."""
    records = [_record(outcome) for outcome in outcomes]
    request = ExportLogsServiceRequest()
    of_resource = request.resource_logs.add()
    of_resource.resource.attributes.extend(_attributes(resource))
    of_scope = of_resource.scope_logs.add()
    of_scope.scope.name = "autoscaler"
    of_scope.log_records.extend(records)
    return OtlpRequest(_compressed(request), len(records))


def metrics_result(body: bytes) -> OtlpResult | None:
    """What a response with status 200 says; None: it is not of this protocol."""
    return _result(body, ExportMetricsServiceResponse, "rejected_data_points")


def decisions_result(body: bytes) -> OtlpResult | None:
    """The same of a response to decisions."""
    return _result(body, ExportLogsServiceResponse, "rejected_log_records")


def _result(body: bytes, response: Any, rejected: str) -> OtlpResult | None:
    try:
        partial = response.FromString(body).partial_success
    except DecodeError:
        return None
    return OtlpResult(max(0, getattr(partial, rejected)), partial.error_message)


def _record(outcome: Outcome) -> Any:
    fields = log_fields(outcome, candidates=False)
    severity, text = _severity(outcome.kind)
    return logs.LogRecord(
        time_unix_nano=round(outcome.at * 1e9),
        observed_time_unix_nano=round(outcome.at * 1e9),
        severity_number=severity,
        severity_text=text,
        event_name="autoscaler.decision",
        body=_value(fields.pop("message")),
        attributes=_pairs(fields),
    )


def _severity(kind: OutcomeKind) -> tuple[int, str]:
    """What changes nothing is for those who look for it; a refusal is a warning."""
    if kind in NOT_SENT:
        return logs.SEVERITY_NUMBER_DEBUG, "DEBUG"
    if kind is OutcomeKind.ACCEPTED:
        return logs.SEVERITY_NUMBER_INFO, "INFO"
    return logs.SEVERITY_NUMBER_WARN, "WARN"


def _pairs(fields: Mapping[str, Any]) -> list[Any]:
    """Attributes; what is not known is left out."""
    return [
        KeyValue(key=name, value=_value(value))
        for name, value in fields.items()
        if value is not None
    ]


def _value(value: Any) -> Any:
    """Any data of JSON. Texts may be from outside."""
    match value:
        case bool():
            return AnyValue(bool_value=value)
        case int() if -(2**63) <= value < 2**63:
            return AnyValue(int_value=value)
        case float():
            return AnyValue(double_value=value)
        case Mapping():
            return AnyValue(kvlist_value=KeyValueList(values=_pairs(value)))
        case list() | tuple():
            return AnyValue(array_value=ArrayValue(values=[_value(each) for each in value]))
        case None:
            return AnyValue()
        case _:
            return AnyValue(string_value=printable(str(value)))


def _request(metrics: list[Any], resource: Mapping[str, str], points: int) -> OtlpRequest:
    request = ExportMetricsServiceRequest()
    of_resource = request.resource_metrics.add()
    of_resource.resource.attributes.extend(_attributes(resource))
    of_scope = of_resource.scope_metrics.add()
    of_scope.scope.name = "autoscaler"
    of_scope.metrics.extend(metrics)
    return OtlpRequest(_compressed(request), points)


def _compressed(request: Any) -> bytes:
    # The bytes of equal requests are equal: no time is in the header of gzip.
    return gzip.compress(request.SerializeToString(), _COMPRESSION, mtime=0)


def _metrics_of(family: Metric, started_ns: int, at_ns: int) -> Iterator[tuple[Any, int]]:
    """The metrics of a family, each with at most `POINTS_OF_A_REQUEST` points, and their number."""
    if family.type == "histogram":
        points = _histogram_points(family, started_ns, at_ns)
        for part in _parts(points):
            histogram = otlp.Histogram(data_points=part, aggregation_temporality=_CUMULATIVE)
            yield _metric(family, family.name, histogram=histogram), len(part)
        return
    # Some families of the process have samples of several names.
    for name in dict.fromkeys(sample.name for sample in family.samples):
        is_sum = family.type == "counter" and name == f"{family.name}_total"
        points = [
            otlp.NumberDataPoint(
                attributes=_attributes(sample.labels),
                start_time_unix_nano=started_ns if is_sum else 0,
                time_unix_nano=at_ns,
                as_double=sample.value,
            )
            for sample in family.samples
            if sample.name == name
        ]
        for part in _parts(points):
            if is_sum:
                counted = otlp.Sum(
                    data_points=part, aggregation_temporality=_CUMULATIVE, is_monotonic=True
                )
                yield _metric(family, name, sum=counted), len(part)
            else:
                yield _metric(family, name, gauge=otlp.Gauge(data_points=part)), len(part)


def _metric(family: Metric, name: str, **data: Any) -> Any:
    return otlp.Metric(name=name, description=family.documentation, **data)


def _parts(points: list[Any]) -> Iterator[list[Any]]:
    for first in range(0, len(points), POINTS_OF_A_REQUEST):
        yield points[first : first + POINTS_OF_A_REQUEST]


def _histogram_points(family: Metric, started_ns: int, at_ns: int) -> list[Any]:
    """A point for the samples that differ in their bound only."""
    points: dict[tuple[tuple[str, str], ...], Any] = {}
    below: dict[tuple[tuple[str, str], ...], float] = {}  # the count up to the last bound
    for sample in family.samples:
        labels = {name: text for name, text in sample.labels.items() if name != "le"}
        key = tuple(labels.items())
        if key not in points:
            points[key] = otlp.HistogramDataPoint(
                attributes=_attributes(labels),
                start_time_unix_nano=started_ns,
                time_unix_nano=at_ns,
            )
        point = points[key]
        match sample.name.removeprefix(family.name):
            case "_bucket":
                # Prometheus counts what is at most the bound, OTLP what is between two bounds.
                point.bucket_counts.append(round(sample.value - below.get(key, 0.0)))
                below[key] = sample.value
                if sample.labels["le"] != "+Inf":
                    point.explicit_bounds.append(float(sample.labels["le"]))
            case "_count":
                point.count = round(sample.value)
            case "_sum":
                point.sum = sample.value
    return list(points.values())


def _attributes(labels: Mapping[str, str]) -> list[Any]:
    return [KeyValue(key=name, value=AnyValue(string_value=text)) for name, text in labels.items()]
