"""The collected metrics, made into requests of bounded size, and the responses to them.

The types are generated from the protocol's own definition, `opentelemetry/proto` 1.x. Each metric
has the name that its series have for Prometheus, and their labels as attributes. Sums and
histograms are cumulative.
"""

import gzip
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.metrics.v1 import metrics_pb2 as otlp
from prometheus_client import CollectorRegistry, Metric

POINTS_OF_A_REQUEST = 2_000
"""Data points of one request at most: about 400 kB before compression, where receivers accept at
least 4 MB."""

_COMPRESSION = 6
"""The level of gzip that its own command has by default."""

_CUMULATIVE = otlp.AGGREGATION_TEMPORALITY_CUMULATIVE


class MetricsRequest(NamedTuple):
    """The body of a request, compressed by gzip, and the number of data points in it."""

    body: bytes
    points: int


class MetricsResult(NamedTuple):
    """What the receiver says of a request that it has accepted, at least in part."""

    rejected: int  # data points
    message: str


def metrics_requests(
    registry: CollectorRegistry, resource: Mapping[str, str], started_at: float, at: float
) -> Iterator[MetricsRequest]:
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


def metrics_result(body: bytes) -> MetricsResult | None:
    """What a response with status 200 says; None: it is not of this protocol."""
    try:
        partial = ExportMetricsServiceResponse.FromString(body).partial_success
    except DecodeError:
        return None
    return MetricsResult(max(0, partial.rejected_data_points), partial.error_message)


def _request(metrics: list[Any], resource: Mapping[str, str], points: int) -> MetricsRequest:
    request = ExportMetricsServiceRequest()
    of_resource = request.resource_metrics.add()
    of_resource.resource.attributes.extend(_attributes(resource))
    of_scope = of_resource.scope_metrics.add()
    of_scope.scope.name = "autoscaler"
    of_scope.metrics.extend(metrics)
    # The bytes of equal requests are equal: no time is in the header of gzip.
    body = gzip.compress(request.SerializeToString(), _COMPRESSION, mtime=0)
    return MetricsRequest(body, points)


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
