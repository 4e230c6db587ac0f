"""Metrics and decisions by OTLP: what a receiver decodes, and what a bad one may do."""

import asyncio
import gzip
import random
import ssl

import pytest
import trustme
from aiohttp import web
from aiohttp.test_utils import TestServer
from prometheus_client import CollectorRegistry, Metric
from prometheus_client.registry import Collector as Collecting
from structlog.testing import capture_logs

pytest.importorskip("opentelemetry.proto", reason="needs the extra otel, which the dev lock has")

import structlog
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)

from autoscaler import client_sockets
from autoscaler.adapters.elasticsearch.otlp import OtlpEndpoint
from autoscaler.adapters.elasticsearch.transport import Transport
from autoscaler.adapters.otlp import Collector, DecisionQueue, Exporters
from autoscaler.adapters.otlp.collector import CONTEXT_S
from autoscaler.adapters.otlp.decisions import MAX_OF_A_REQUEST, MAX_QUEUED
from autoscaler.adapters.otlp.delivery import MAX_PAUSE_S
from autoscaler.adapters.otlp.requests import POINTS_OF_A_REQUEST, _value, metrics_requests
from autoscaler.adapters.prometheus import DaemonMetrics, PrometheusRecorder
from autoscaler.connection import ApiKey, Connection
from autoscaler.core.decision import OutcomeKind
from autoscaler.otlp_access import OtlpSettings
from autoscaler.wire.decisions import log_fields
from tests.adapters.elasticsearch.servers import PRODUCT, page, refusal, reset, serving, truncated
from tests.adapters.recorded import cycle, outcome, steady
from tests.adapters.test_prometheus import busy_cycle
from tests.fakes import FakeClock

RESOURCE = {"service.name": "autoscaler"}
SECRET = "Zx81-long-secret-of-the-test"
HOSTILE = ("a\u202eb", "\ud800", 'a"b\n')


def accepted(rejected=0, message=""):
    """A receiver that has rejected some data points."""
    response = ExportMetricsServiceResponse()
    response.partial_success.rejected_data_points = rejected
    response.partial_success.error_message = message

    async def give(request):
        return web.Response(
            body=response.SerializeToString(),
            content_type="application/x-protobuf",
            headers=PRODUCT,
        )

    return give


async def echo(request):
    """A refusal that repeats the headers."""
    return web.Response(status=403, text=str(dict(request.headers)))


async def elsewhere(request):
    raise web.HTTPTemporaryRedirect("/other")


def decoded(body):
    """The metrics of a request, and its resource."""
    request = ExportMetricsServiceRequest.FromString(body)
    (of_resource,) = request.resource_metrics
    (of_scope,) = of_resource.scope_metrics
    return list(of_scope.metrics), texts(of_resource.resource.attributes)


def texts(attributes):
    return {each.key: each.value.string_value for each in attributes}


def samples_of(metrics):
    """The samples that Prometheus has for the same metrics."""
    for metric in metrics:
        kind = metric.WhichOneof("data")
        for point in getattr(metric, kind).data_points:
            labels = texts(point.attributes)
            if kind != "histogram":
                yield metric.name, labels, point.as_double
                continue
            bounds = [*map(float, point.explicit_bounds), float("inf")]
            for number, bound in enumerate(bounds, 1):
                below = float(sum(point.bucket_counts[:number]))
                yield f"{metric.name}_bucket", labels | {"le": bound}, below
            yield f"{metric.name}_count", labels, float(point.count)
            yield f"{metric.name}_sum", labels, point.sum


def comparable(samples):
    return sorted(
        (
            (name, sorted((k, float(v) if k == "le" else v) for k, v in labels.items()), value)
            for name, labels, value in samples
        ),
        key=repr,
    )


@pytest.fixture
def registry():
    recorder = PrometheusRecorder(FakeClock(start=1_000.0), "eu")
    recorder.planned(*busy_cycle())
    recorder.planned(
        *cycle(*(outcome(steady(id_), OutcomeKind.UNCHANGED) for id_ in ("elser", *HOSTILE)))
    )
    registry = CollectorRegistry()
    registry.register(recorder)
    registry.register(DaemonMetrics(FakeClock(start=1_000.0), "1.2.3", lambda: {"rate": 7}))
    return registry


class Many(Collecting):
    """A gauge with a number of series."""

    def __init__(self, series):
        self.metric = Metric("many", "Many.", "gauge")
        for number in range(series):
            self.metric.add_sample("many", {"number": str(number)}, float(number))

    def collect(self):
        return iter((self.metric,))


class Broken(Collecting):
    """A metric that cannot be collected."""

    def collect(self):
        raise ZeroDivisionError("a defect")

    def describe(self):
        return iter(())


class Exporter:
    """What sends the metrics, and its counts."""

    def __init__(self, registry, receiver, clock):
        self.exporters = exporters_of(registry, receiver, clock)
        (self.metrics,) = self.exporters.all
        self.delivery = self.exporters.deliveries["metrics"]

    async def export(self):
        """Seconds for which nothing should be sent."""
        return (await self.metrics.export()).pause_s

    @property
    def results(self):
        return self.delivery.results

    @property
    def lost(self):
        return self.delivery.lost


def exporter_of(registry, receiver, clock=None):
    return Exporter(registry, receiver, clock or FakeClock(start=2_000.0))


def exporters_of(registry, receiver, clock, queue=None):
    log = structlog.get_logger("autoscaler")
    return Exporters(registry, queue, receiver, clock, log, interval_s=60.0, resource=RESOURCE)


def collector_at(server, *, timeout_s=10.0, **settings):
    endpoint = server.url.rstrip("/")
    settings = OtlpSettings(endpoint=endpoint, **settings)
    return Collector(settings, FakeClock(start=2_000.0), timeout_s=timeout_s)


class TestRequests:
    def test_they_have_every_sample_that_prometheus_is_given(self, registry):
        (request,) = metrics_requests(registry, RESOURCE, 1_000.0, 2_000.0)
        metrics, resource = decoded(gzip.decompress(request.body))
        collected = [
            (sample.name, sample.labels, sample.value)
            for family in registry.collect()
            for sample in family.samples
        ]
        assert len(collected) > 100
        assert comparable(samples_of(metrics)) == comparable(collected)
        assert resource == RESOURCE

    def test_counters_and_histograms_are_totals_since_the_start(self, registry):
        (request,) = metrics_requests(registry, RESOURCE, 1_000.0, 2_000.0)
        metrics = {metric.name: metric for metric in decoded(gzip.decompress(request.body))[0]}
        counter = metrics["autoscaler_cycles_total"].sum
        assert counter.is_monotonic
        histogram = metrics["autoscaler_cycle_duration_seconds"].histogram
        for totals in (counter, histogram):
            assert totals.aggregation_temporality == 2  # cumulative
            assert totals.data_points[0].start_time_unix_nano == 1_000_000_000_000
            assert totals.data_points[0].time_unix_nano == 2_000_000_000_000
        gauge = metrics["autoscaler_elasticsearch_up"].gauge.data_points[0]
        assert (gauge.as_double, gauge.time_unix_nano) == (1.0, 2_000_000_000_000)
        assert "observation succeeded" in metrics["autoscaler_elasticsearch_up"].description

    @pytest.mark.parametrize("series", [0, 1, POINTS_OF_A_REQUEST, 2 * POINTS_OF_A_REQUEST + 1])
    def test_each_is_bounded(self, series):
        registry = CollectorRegistry()
        registry.register(Many(series))
        requests = list(metrics_requests(registry, RESOURCE, 1_000.0, 2_000.0))
        assert len(requests) == -(-series // POINTS_OF_A_REQUEST)
        assert all(request.items <= POINTS_OF_A_REQUEST for request in requests)
        bodies = [decoded(gzip.decompress(request.body))[0] for request in requests]
        found = [sample for body in bodies for sample in samples_of(body)]
        assert [value for _, _, value in found] == [float(number) for number in range(series)]


class TestACollector:
    async def test_it_is_sent_compressed_protobuf_with_the_configured_headers(
        self, registry, tmp_path
    ):
        (tmp_path / "headers").write_text(f"Authorization: Bearer {SECRET}\n\nX-Tenant:  a\n")
        async with serving(accepted()) as server:
            exporter = exporter_of(
                registry, collector_at(server, headers_file=tmp_path / "headers")
            )
            await exporter.export()
            (request,) = server.requests
            assert (request.method, request.path) == ("POST", "/v1/metrics")
            assert request.headers["Content-Type"] == "application/x-protobuf"
            assert request.headers["Content-Encoding"] == "gzip"
            assert request.headers["Authorization"] == f"Bearer {SECRET}"
            assert request.headers["X-Tenant"] == "a"
            # aiohttp's server has decompressed it
            assert "autoscaler_managed" in {metric.name for metric in decoded(server.bodies[0])[0]}
            assert exporter.results["accepted"] == 1

    async def test_new_headers_count_at_once(self, registry, tmp_path):
        path = tmp_path / "headers"
        async with serving(accepted()) as server:
            exporter = exporter_of(registry, collector_at(server, headers_file=path))
            for value in ("first", "second"):
                path.write_text(f"Authorization: {value}")
                await exporter.export()
            assert [each.headers["Authorization"] for each in server.requests] == [
                "first",
                "second",
            ]
            path.unlink()
            await exporter.export()
        assert exporter.results == {"accepted": 2, "rejected": 0, "failed": 1, "unknown": 0}

    async def test_its_certificate_is_checked(self, registry, tmp_path):
        authority, ca = trustme.CA(), tmp_path / "ca.pem"
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert("localhost").configure_cert(context)
        application = web.Application()
        application.router.add_post("/v1/metrics", accepted())
        server = TestServer(application, scheme="https", host="localhost")
        await server.start_server(ssl=context)
        try:
            clock = FakeClock(start=2_000.0)
            endpoint = f"https://localhost:{server.port}"
            exporter = exporter_of(
                registry, Collector(OtlpSettings(endpoint=endpoint, ca_certs=ca), clock)
            )
            trustme.CA().cert_pem.write_to_path(ca)
            await exporter.export()
            assert exporter.results["failed"] == 1
            authority.cert_pem.write_to_path(ca)
            clock.pass_by(CONTEXT_S)
            await exporter.export()
            assert exporter.results["accepted"] == 1
        finally:
            await server.close()

    async def test_what_a_receiver_has_accepted_is_not_failed_by_how_its_connection_ends(
        self, tmp_path, monkeypatch
    ):
        monkeypatch.setattr(client_sockets, "CLOSING_S", 2.2)
        authority, ca = trustme.CA(), tmp_path / "ca.pem"
        authority.cert_pem.write_to_path(ca)
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert("localhost").configure_cert(context)
        ended = asyncio.Event()

        async def respond(reader, writer):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")
            writer.transport.pause_reading()  # the end of the client is not read
            await ended.wait()
            writer.transport.abort()

        server = await asyncio.start_server(respond, "127.0.0.1", 0, ssl=context)
        async with server:
            settings = OtlpSettings(
                endpoint=f"https://localhost:{server.sockets[0].getsockname()[1]}", ca_certs=ca
            )
            receiver = Collector(settings, FakeClock(start=2_000.0), timeout_s=2.0)
            assert await receiver.send("/v1/metrics", b"x") == b"ok"
            ended.set()

    @pytest.mark.parametrize(
        ("response", "words"),
        [
            (page(503, "try later"), "status 503: try later"),
            (page(400, "no"), "status 400: no"),
            (page(500, "x" * 100_000), "status 500: xxx"),
            (page(404, "\x1b[2J"), "\\x1b[2J"),
            (elsewhere, "status 307"),
            (reset, "no response"),
            (truncated, "no response"),
        ],
    )
    async def test_a_failure_is_counted_and_logged_once(self, registry, response, words):
        async with serving(response) as server:
            exporter = exporter_of(registry, collector_at(server))
            with capture_logs() as log:
                await exporter.export()
                await exporter.export()
            assert {request.path for request in server.requests} == {"/v1/metrics"}
        assert exporter.results == {"accepted": 0, "rejected": 0, "failed": 2, "unknown": 0}
        (line,) = log
        assert line["event"] == "otlp.failed"
        assert words in line["message"]
        assert line["message"].isprintable()
        assert len(line["message"]) < 800

    async def test_one_that_hangs_is_given_up(self, registry):
        async with serving() as server:
            server.responses = [server.never]
            exporter = exporter_of(registry, collector_at(server, timeout_s=0.01))
            with capture_logs() as log:
                await exporter.export()
        assert exporter.results["failed"] == 1
        assert "no response within 0.01 s" in log[0]["message"]

    async def test_after_a_failure_the_rest_is_not_sent(self):
        registry = CollectorRegistry()
        registry.register(Many(3 * POINTS_OF_A_REQUEST))
        async with serving(accepted(), page(503)) as server:
            exporter = exporter_of(registry, collector_at(server))
            await exporter.export()
            assert len(server.requests) == 2
        assert exporter.results == {"accepted": 0, "rejected": 0, "failed": 1, "unknown": 0}

    async def test_rejected_data_points_are_counted(self, registry):
        async with serving(accepted(3, "no\nhistograms"), accepted()) as server:
            exporter = exporter_of(registry, collector_at(server))
            with capture_logs() as log:
                await exporter.export()
                await exporter.export()
        assert exporter.results == {"accepted": 1, "rejected": 1, "failed": 0, "unknown": 0}
        assert exporter.lost == {"rejected": 3, "dropped": 0}
        assert [line["event"] for line in log] == ["otlp.rejected", "otlp.accepted"]
        assert "no\\nhistograms" in log[0]["message"]

    async def test_it_may_reject_no_more_than_it_was_sent(self):
        registry = CollectorRegistry()
        registry.register(Many(5))
        async with serving(accepted(10**15), accepted(-4)) as server:
            exporter = exporter_of(registry, collector_at(server))
            await exporter.export()
            await exporter.export()
        assert exporter.lost["rejected"] == 5

    async def test_whether_another_protocol_has_accepted_them_is_unknown(self, registry):
        async with serving(page(200, "<html>It works</html>")) as server:
            exporter = exporter_of(registry, collector_at(server))
            with capture_logs() as log:
                await exporter.export()
        assert exporter.results == {"accepted": 0, "rejected": 0, "failed": 0, "unknown": 1}
        assert "check the address" in log[0]["message"]

    async def test_what_it_repeats_has_no_secret(self, registry, tmp_path):
        (tmp_path / "headers").write_text(f"Authorization: Bearer {SECRET}\nX-Key: {SECRET[::-1]}")
        async with serving(echo) as server:
            exporter = exporter_of(
                registry, collector_at(server, headers_file=tmp_path / "headers")
            )
            with capture_logs() as log:
                await exporter.export()
        assert "status 403" in log[0]["message"]
        assert SECRET not in log[0]["message"]
        assert SECRET[::-1] not in log[0]["message"]


class TestThePauseAfterAFailure:
    @pytest.mark.parametrize(
        ("header", "pause_s"),
        [
            ("120", 120.0),
            ("0", 0.0),
            ("Thu, 01 Jan 1970 00:35:00 GMT", 100.0),
            ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
            ("99999999", MAX_PAUSE_S),
        ],
    )
    async def test_it_is_what_the_receiver_asks_for(self, registry, header, pause_s):
        async with serving(page(503, **{"Retry-After": header})) as server:
            assert await exporter_of(registry, collector_at(server)).export() == pause_s

    async def test_otherwise_it_grows_to_a_limit_until_an_export_is_accepted(self, registry):
        responses = [page(503)] * 6
        async with serving(*responses, accepted(), page(503)) as server:
            exporter = exporter_of(registry, collector_at(server))
            pauses = [await exporter.export() for _ in range(8)]
        assert pauses == [0.0, 60.0, 180.0, 420.0, MAX_PAUSE_S, MAX_PAUSE_S, 0.0, 0.0]

    async def test_it_is_kept(self, registry):
        clock = FakeClock(start=2_000.0, until=2_300.0)
        async with serving(page(429, **{"Retry-After": "200"})) as server:
            exporter = exporter_of(registry, collector_at(server), clock)
            running = asyncio.ensure_future(exporter.metrics.run())
            while clock.now() <= 2_300.0:
                await asyncio.sleep(0)
            running.cancel()
            assert len(server.requests) == 1  # at 2,060; the next would be at 2,320


class TestTheClusterItself:
    async def test_it_is_sent_them_with_its_credentials(self, registry):
        async with serving(accepted(1, "no histograms")) as server, transport_to(server) as to:
            exporter = exporter_of(registry, OtlpEndpoint(to))
            await exporter.export()
            (request,) = server.requests
            assert (request.method, request.path) == ("POST", "/_otlp/v1/metrics")
            assert request.headers["Content-Type"] == "application/x-protobuf"
            assert request.headers["Authorization"] == f"ApiKey {SECRET}"
            assert "autoscaler_managed" in {metric.name for metric in decoded(server.bodies[0])[0]}
        assert exporter.results["rejected"] == 1

    async def test_it_may_refuse_them(self, registry):
        refused = refusal(429, "es_rejected", "too many", headers={"Retry-After": "7"})
        async with serving(refused) as server, transport_to(server) as transport:
            exporter = exporter_of(registry, OtlpEndpoint(transport))
            assert await exporter.export() == 7.0
        assert exporter.results["failed"] == 1

    async def test_an_older_one_has_no_such_path(self, registry):
        async with serving() as server, transport_to(server) as transport:
            server.responses = [server.no_handler]
            exporter = exporter_of(registry, OtlpEndpoint(transport))
            await exporter.export()
        assert exporter.results["failed"] == 1


def records_in(body):
    (of_resource,) = ExportLogsServiceRequest.FromString(body).resource_logs
    (of_scope,) = of_resource.scope_logs
    return list(of_scope.log_records)


def plain(value):
    """The data of an attribute."""
    kind = value.WhichOneof("value")
    if kind == "kvlist_value":
        return {each.key: plain(each.value) for each in value.kvlist_value.values}
    if kind == "array_value":
        return [plain(each) for each in value.array_value.values]
    return None if kind is None else getattr(value, kind)


def fields_of(record):
    return {each.key: plain(each.value) for each in record.attributes}


class Decisions:
    """A queue, and what sends it."""

    def __init__(self, receiver):
        self.queue = DecisionQueue()
        self.clock = FakeClock(start=2_000.0)
        exporters = exporters_of(CollectorRegistry(), receiver, self.clock, self.queue)
        self.exporter = exporters.all[1]
        self.delivery = exporters.deliveries["decisions"]

    def decide(self, *ids, kind=OutcomeKind.UNCHANGED):
        self.queue.planned(*cycle(*(outcome(steady(id_), kind) for id_ in ids)))

    async def run(self, done):
        """Until something holds."""
        running = asyncio.ensure_future(self.exporter.run())
        async with asyncio.timeout(10):
            while not done():
                await asyncio.sleep(0)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


class TestDecisions:
    @pytest.mark.parametrize("value", [2**63 - 1, -(2**63), True, 0.5, "a", [1, {"b": None}]])
    def test_any_data_is_an_attribute(self, value):
        assert plain(_value(value)) == without_unknown(value)

    def test_a_number_that_the_protocol_cannot_have_is_a_text(self):
        assert plain(_value(2**63)) == str(2**63)

    async def test_each_is_a_record_with_its_sentence_and_the_fields_of_its_log_line(self):
        async with serving(accepted()) as server:
            decisions = Decisions(collector_at(server))
            decisions.decide("elser")
            decisions.decide("e5", kind=OutcomeKind.ACCEPTED)
            decisions.decide("e6", kind=OutcomeKind.FORBIDDEN)
            await decisions.run(lambda: decisions.delivery.results["accepted"])
            (request,) = server.requests
            assert request.path == "/v1/logs"
            records = records_in(server.bodies[0])
        decided = [outcome(steady("elser"), OutcomeKind.UNCHANGED)]
        expected = log_fields(decided[0], candidates=False)
        assert records[0].body.string_value == expected.pop("message")
        assert fields_of(records[0]) == without_unknown(expected)
        assert records[0].time_unix_nano == round(decided[0].at * 1e9)
        assert [record.severity_text for record in records] == ["DEBUG", "INFO", "WARN"]
        assert [fields_of(record)["deployment"] for record in records] == ["elser", "e5", "e6"]
        assert [fields_of(record)["outcome"] for record in records] == [
            "unchanged",
            "accepted",
            "forbidden",
        ]

    async def test_hostile_text_is_printable(self):
        async with serving(accepted()) as server:
            decisions = Decisions(collector_at(server))
            decisions.decide(*HOSTILE)
            await decisions.run(lambda: decisions.delivery.results["accepted"])
            records = records_in(server.bodies[0])
        assert len(records) == len(HOSTILE)
        for record in records:
            assert record.body.string_value.isprintable()
            assert fields_of(record)["deployment"].isprintable()

    async def test_after_a_failure_they_are_sent_again_and_none_twice(self):
        failing = page(503, **{"Retry-After": "30"})
        async with serving(failing, reset, accepted()) as server:
            decisions = Decisions(collector_at(server))
            decisions.decide("a", "b")
            await decisions.run(lambda: decisions.delivery.results["accepted"])
            bodies = server.bodies
        assert len(bodies) == 3
        assert [fields_of(record)["deployment"] for record in records_in(bodies[-1])] == ["a", "b"]
        assert decisions.clock.now() >= 2_000.0 + 60.0 + 30.0 + 60.0
        assert decisions.delivery.lost == {"rejected": 0, "dropped": 0}

    async def test_what_the_receiver_refuses_for_good_is_dropped_and_the_next_are_sent(self):
        async with serving(page(400), accepted()) as server:
            decisions = Decisions(collector_at(server))
            decisions.decide(*map(str, range(MAX_OF_A_REQUEST + 1)))
            await decisions.run(lambda: decisions.delivery.results["accepted"])
            assert [len(records_in(body)) for body in server.bodies] == [MAX_OF_A_REQUEST, 1]
        assert decisions.delivery.lost == {"rejected": 0, "dropped": MAX_OF_A_REQUEST}

    async def test_the_queue_is_bounded_and_drops_the_oldest(self):
        queue = DecisionQueue()
        for at in range(3):
            ids = (f"{at}-{number}" for number in range(MAX_QUEUED // 2))
            queue.planned(*cycle(*(outcome(steady(id_), OutcomeKind.UNCHANGED) for id_ in ids)))
        assert queue.dropped == MAX_QUEUED // 2
        first = await queue.first()
        assert len(first) == MAX_OF_A_REQUEST
        assert first[0].decision.deployment_id == "1-0"

    async def test_rejected_ones_are_counted(self):
        rejected = ExportLogsServiceResponse()
        rejected.partial_success.rejected_log_records = 1

        async def give(request):
            return web.Response(body=rejected.SerializeToString())

        async with serving(give) as server:
            decisions = Decisions(collector_at(server))
            decisions.decide("a", "b")
            await decisions.run(lambda: decisions.delivery.results["rejected"])
        assert decisions.delivery.lost == {"rejected": 1, "dropped": 0}


def without_unknown(value):
    """What is not known is no attribute."""
    if isinstance(value, dict):
        return {key: without_unknown(each) for key, each in value.items() if each is not None}
    if isinstance(value, list | tuple):
        return [without_unknown(each) for each in value]
    return value


async def test_a_defect_ends_nothing():
    registry = CollectorRegistry()
    registry.register(Broken())
    clock = FakeClock(start=0.0, until=5_000.0)
    exporter = exporter_of(registry, None, clock)
    with capture_logs() as log:
        running = asyncio.ensure_future(exporter.metrics.run())
        while clock.now() <= 5_000.0:
            await asyncio.sleep(0)
        assert not running.done()
        running.cancel()
    assert exporter.results["failed"] == 8  # in 5,000 s, with the longest pause after each
    assert {line["event"] for line in log} == {"otlp.defect"}


def transport_to(server):
    connection = Connection(hosts=(server.url.rstrip("/"),), auth=ApiKey(SECRET))
    return Transport(connection, FakeClock(start=2_000.0), random.Random(1))
