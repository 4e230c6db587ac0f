"""Metrics in Elasticsearch as `/_otlp` stores them, and the searches that an import sends.

The documents are those of elastic/elasticsearch, `MetricDocumentBuilder.java`: one for the data
points of one resource that share attributes, start and instant.
"""

import gzip
import json
from fnmatch import fnmatchcase
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)

from tests.importing.store import StoreRequest, StoreResponse, as_json

PRODUCT = (("X-Elastic-Product", "Elasticsearch"),)


class OtelStore:
    """Documents by field, in flat form."""

    def __init__(self) -> None:
        self.documents: list[dict[str, Any]] = []
        self.searches = 0
        self.open: set[str] = set()
        self.failed_shards = 0

    def receive(self, body: bytes) -> None:
        """One export."""
        request = ExportMetricsServiceRequest.FromString(gzip.decompress(body))
        grouped: dict[tuple[object, ...], dict[str, Any]] = {}
        for resource in request.resource_metrics:
            of_resource = {
                f"resource.attributes.{each.key}": each.value.string_value
                for each in resource.resource.attributes
            }
            for metric in (m for scope in resource.scope_metrics for m in scope.metrics):
                for point in (*metric.gauge.data_points, *metric.sum.data_points):
                    attributes = {
                        f"attributes.{each.key}": each.value.string_value
                        for each in point.attributes
                    }
                    start, at = point.start_time_unix_nano, point.time_unix_nano
                    key = (start, at, *sorted(attributes.items()))
                    document = grouped.setdefault(
                        key, {"@timestamp": at // 1_000_000, **of_resource, **attributes}
                    )
                    document[f"metrics.{metric.name}"] = point.as_double
        self.documents += grouped.values()

    def answer(self, request: StoreRequest) -> StoreResponse:
        """The response of Elasticsearch."""
        body = json.loads(request.body) if request.body else {}
        if request.path.endswith("/_pit") and not body:
            self.open.add("point")
            assert request.path == "/metrics-generic.otel-*/_pit"
            return as_json({"id": "point"})._replace(headers=PRODUCT)
        if request.path == "/_pit":
            self.open.remove(body["id"])
            return as_json({"succeeded": True, "num_freed": 1})._replace(headers=PRODUCT)
        assert request.path == "/_search"
        self.searches += 1
        found = self._search(body)
        shards = {"total": 1, "failed": self.failed_shards}
        document = {"pit_id": "point", "timed_out": False, "_shards": shards, "hits": found}
        return as_json(document)._replace(headers=PRODUCT)

    def _search(self, body: dict[str, Any]) -> dict[str, Any]:
        between, one_of, *terms = body["query"]["bool"]["filter"]
        limits = between["range"]["@timestamp"]
        names = {each["exists"]["field"] for each in one_of["bool"]["should"]}
        after = body.get("search_after", [-1, -1])
        wanted = [each if isinstance(each, str) else each["field"] for each in body["fields"]]
        hits = []
        order = sorted(enumerate(self.documents), key=lambda each: each[1]["@timestamp"])
        for number, document in order:
            sort = [document["@timestamp"], number]
            matches = all(
                document.get(field) == value
                for term in terms
                for field, value in term["term"].items()
            )
            if (
                limits["gt"] < sort[0] <= limits["lte"]
                and sort > after
                and matches
                and not names.isdisjoint(document)
            ):
                fields = {
                    name: [str(value) if name == "@timestamp" else value]
                    for name, value in document.items()
                    if any(fnmatchcase(name, pattern) for pattern in wanted)
                }
                hits.append({"_index": "metrics", "fields": fields, "sort": sort})
        return {"hits": hits[: body["size"]]}
