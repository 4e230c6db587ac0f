"""`autoscaler import elasticsearch`: from this program's metrics as Elasticsearch stores them.

Each export by OTLP becomes documents of a time series data stream, one for the data points that
share their attributes, start and instant: `@timestamp`, `attributes.NAME`,
`resource.attributes.NAME` and `metrics.NAME` (elastic/elasticsearch, `MetricDocumentBuilder.java`).
They are read as they are, by search, because queries for time series would change their instants.
"""

import math
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import msgspec
from msgspec import Struct, field

from autoscaler.adapters.clock import HostClock
from autoscaler.adapters.elasticsearch.api_errors import Forbidden
from autoscaler.adapters.elasticsearch.errors import ElasticsearchError
from autoscaler.adapters.elasticsearch.http_request import HttpRequest
from autoscaler.adapters.elasticsearch.transport import Transport
from autoscaler.cluster_connection import transport_to
from autoscaler.config import Config
from autoscaler.importing.http_client import ImportFailed
from autoscaler.importing.output import Imported, Output
from autoscaler.importing.own_metrics import OwnMetrics
from autoscaler.importing.period import Period, Progress
from autoscaler.importing.readings import (
    ALL_METRICS,
    OBSERVATION_AGE,
    OBSERVED_AT,
    Reader,
    Readings,
    add,
)
from autoscaler.wire.bounds import BodyBound

PAGE = 2_000
"""Documents of one response. 2,000, which have about 2 MB."""

_BOUND = BodyBound(64 * 2**20, 2_000_000)

FIRST_PART_S, MIN_PART_S, MAX_PART_S = 600.0, 300.0, 21_600.0
"""Seconds of the period that are read at once: of the first part, and limits of the others."""

_DOCUMENTS_OF_A_PART = 50_000

_KEEP_ALIVE = "2m"
"""For which a point in time stays after each page."""

_ATTRIBUTES = ("deployment", "node", "state", "issue", "outcome", "model", "version", "cluster")

_INSTANCE = "resource.attributes.service.instance.id"

Response = TypeVar("Response")


class ElasticsearchImport(Struct, frozen=True, kw_only=True):
    config: Config
    period: Period
    index: str = "metrics-generic.otel-*"
    cluster: str = ""  # the attribute; empty: there is one cluster only
    deployments: tuple[str, ...] = ()  # empty: all
    path: Path


class _FoundPoints(Struct):
    fields: dict[str, list[Any]] = {}
    sort: list[Any] = []


class _FoundPages(Struct):
    hits: list[_FoundPoints] = []


class _ShardCounts(Struct):
    failed: int = 0


class _SearchResponse(Struct):
    hits: _FoundPages
    pit_id: str = ""
    timed_out: bool = False
    shards: _ShardCounts = field(default_factory=_ShardCounts, name="_shards")


class _PointInTime(Struct):
    id: str


async def import_elasticsearch(options: ElasticsearchImport, progress: Progress) -> Imported:
    """
    Raises:
        UserError: the source cannot be read, has no such load, or the file cannot be written.
    """
    try:
        async with transport_to(options.config, HostClock()) as transport:
            with Output(options.path, "elasticsearch") as output:
                await _read_all(options, transport, output, progress)
                return output.write()
    except Forbidden as error:
        raise ImportFailed(
            f"the credentials may not read {options.index}; grant the index privilege read for it"
        ) from error
    except ElasticsearchError as error:
        raise ImportFailed(str(error)) from error


async def _read_all(
    options: ElasticsearchImport, transport: Transport, output: Output, progress: Progress
) -> None:
    made = OwnMetrics(step_s=60.0)
    begin, part_s, found = options.period.since, FIRST_PART_S, 0
    while begin < options.period.until:
        end = min(begin + part_s, options.period.until)
        readings: dict[Reader, Readings] = {}
        count = 0
        async for hit in _documents(options, transport, begin, end):
            count += 1
            found += _take(readings, hit.fields, options)
        output.add(made.lines(readings, end))
        options.period.report(progress, end)
        wanted = part_s * _DOCUMENTS_OF_A_PART / max(1, count)
        begin, part_s = end, max(MIN_PART_S, min(MAX_PART_S, wanted))
    output.add(made.rest())
    if not found:
        raise ImportFailed(
            f"{options.index} has no metrics of this program in that time; check --index and "
            "--from, and that [otlp] of the daemon sends them there"
        )


async def _documents(
    options: ElasticsearchImport, transport: Transport, begin: float, end: float
) -> AsyncIterator[_FoundPoints]:
    """The documents of a part of the period: all of them, or an error."""
    opened = HttpRequest(
        method="POST",
        path=f"/{quote(options.index, safe='*,')}/_pit",
        query={"keep_alive": _KEEP_ALIVE, "ignore_unavailable": "true"},
        repeatable=True,
    )
    point = _decoded(await transport.send(opened), _PointInTime).id
    after: list[Any] = []
    while True:
        request = HttpRequest(
            method="POST",
            path="/_search",
            body=msgspec.json.encode(_search(options, point, begin, end, after)),
            repeatable=True,
            bound=_BOUND,
        )
        response = _decoded(await transport.send(request), _SearchResponse)
        if response.timed_out or response.shards.failed:
            raise ImportFailed(
                f"{options.index} was read in part only: {response.shards.failed} shards have "
                "failed; repeat it when all of its shards are available"
            )
        for hit in response.hits.hits:
            yield hit
        if len(response.hits.hits) < PAGE:
            break
        point, after = response.pit_id or point, response.hits.hits[-1].sort
        if not after:
            raise ImportFailed(
                f"{options.index} cannot be read: documents have no sort values, so that the next "
                "page is not known; is a proxy in between?"
            )
    closing = msgspec.json.encode({"id": point})
    with suppress(ElasticsearchError):  # it ends by itself
        await transport.send(HttpRequest(method="DELETE", path="/_pit", body=closing))


def _search(
    options: ElasticsearchImport, point: str, begin: float, end: float, after: list[Any]
) -> dict[str, Any]:
    between = {
        "gt": round(begin * 1e3),
        "lte": round(end * 1e3),
        "format": "epoch_millis",
    }
    filters: list[dict[str, Any]] = [
        {"range": {"@timestamp": between}},
        {
            "bool": {
                "should": [
                    {"exists": {"field": f"metrics.{name}"}}
                    for name in (OBSERVATION_AGE, *ALL_METRICS)
                ],
                "minimum_should_match": 1,
            }
        },
    ]
    if options.cluster:
        filters.append({"term": {"attributes.cluster": options.cluster}})
    search: dict[str, Any] = {
        "size": PAGE,
        "track_total_hits": False,
        "_source": False,
        "fields": [
            {"field": "@timestamp", "format": "epoch_millis"},
            _INSTANCE,
            *(f"attributes.{name}" for name in _ATTRIBUTES),
            "metrics.elasticsearch_ml_*",
            "metrics.autoscaler_*",
        ],
        "query": {"bool": {"filter": filters}},
        "sort": [{"@timestamp": {"order": "asc"}}],
        "pit": {"id": point, "keep_alive": _KEEP_ALIVE},
    }
    return {**search, "search_after": after} if after else search


def _take(
    readings: dict[Reader, Readings], fields: Mapping[str, list[Any]], options: ElasticsearchImport
) -> int:
    """Add the data points of a document. Returns their number."""
    at = _number(fields.get("@timestamp"))
    if at is None:
        return 0
    instant = at / 1e3
    labels = {
        name: str(values[0]) for name in _ATTRIBUTES if (values := fields.get(f"attributes.{name}"))
    }
    if options.deployments and labels.get("deployment", "") not in ("", *options.deployments):
        return 0
    instance = fields.get(_INSTANCE)
    reader: Reader = tuple(
        (name, text)
        for name, text in (
            ("cluster", labels.pop("cluster", "")),
            ("instance", str(instance[0]) if instance else ""),
        )
        if text
    )
    found = readings.setdefault(reader, Readings())
    count = 0
    for name in (OBSERVATION_AGE, *ALL_METRICS):
        value = _number(fields.get(f"metrics.{name}"))
        if value is None:
            continue
        count += 1
        if name == OBSERVATION_AGE:
            add(found, OBSERVED_AT, labels, [(instant, instant - value)])
        else:
            add(found, name, labels, [(instant, value)])
    return count


def _number(values: list[Any] | None) -> float | None:
    try:
        found = float(values[0]) if values else None
    except (TypeError, ValueError):
        return None
    return found if found is not None and math.isfinite(found) else None


def _decoded(body: bytes, kind: type[Response]) -> Response:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ImportFailed(
            f"Elasticsearch answers a search in a form that is not known: {error}"
        ) from error
