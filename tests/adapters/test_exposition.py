"""The text of the metrics is what the library makes of them."""

import tracemalloc
from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry, Counter, Histogram, Metric, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from autoscaler.adapters.admin_http.exposition import SAMPLES_OF_A_PIECE, exposition
from autoscaler.adapters.prometheus import DaemonMetrics, PrometheusRecorder
from autoscaler.core.decision import OutcomeKind
from autoscaler.shared_labels import SharedLabels
from tests.adapters.recorded import cycle, outcome, steady
from tests.adapters.test_prometheus import busy_cycle
from tests.fakes import FakeClock

HOSTILE = ['a"b', "a\\b", "a\nb", "a\u2028b", "ünï", "\ud800", ""]
ENCODERS = pytest.mark.parametrize("encode", [generate_latest, generate_openmetrics])


class Families(Collector):
    """The families that a test names; the values never change."""

    def __init__(self, *families: Metric) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        return iter(self._families)


def registry_of(*collectors: Collector) -> CollectorRegistry:
    registry = CollectorRegistry()
    for collector in collectors:
        registry.register(collector)
    return registry


def recorded(cluster="", *deployments):
    recorder = PrometheusRecorder(FakeClock(start=1_000.0), cluster)
    recorder.planned(*busy_cycle())
    if deployments:
        outcomes = [outcome(steady(each), OutcomeKind.UNCHANGED) for each in deployments]
        recorder.planned(*cycle(*outcomes))
    return recorder


@ENCODERS
@pytest.mark.parametrize("cluster", ["", "eu"])
def test_of_the_daemon(encode, cluster):
    metrics = DaemonMetrics(FakeClock(start=1_000.0), "1.2.3")
    registry = registry_of(recorded(cluster, "elser", *HOSTILE), metrics)
    assert b"".join(exposition(registry, encode)) == encode(registry)


@ENCODERS
@pytest.mark.parametrize(
    "value", [0.0, -0.0, 1, 1e300, 1e-9, 123456789.125, 2**53, float("inf"), float("nan"), -1.5]
)
def test_of_any_value(encode, value):
    metric = Metric("some_metric", "Help with \\ and \n in it.", "gauge")
    for place, text in enumerate(HOSTILE[:5]):
        metric.add_sample("some_metric", {"b": text, "a": str(place)}, value)
    metric.add_sample("some_metric", {}, value)
    registry = registry_of(Families(metric))
    assert b"".join(exposition(registry, encode)) == encode(registry)


@ENCODERS
def test_of_families_that_are_not_plain(encode):
    registry = CollectorRegistry()
    Histogram("sizes", "A histogram.", registry=registry).observe(3.0)
    Counter("created", "A counter with its time of creation.", registry=registry).inc()
    stamped = Metric("stamped", "A gauge with timestamps.", "gauge")
    stamped.add_sample("stamped", {"a": "b"}, 1.0, timestamp=12.5)
    registry.register(Families(stamped, Metric("empty", "No samples.", "gauge")))
    assert b"".join(exposition(registry, encode)) == encode(registry)


@ENCODERS
def test_equal_labels_of_different_families_have_their_own_text(encode):
    """Mappings are known by their identity, and one may take the place of another in memory."""

    class Fleeting(Collector):
        def collect(self) -> Iterator[Metric]:
            for n in range(200):
                metric = Metric(f"metric_{n}", "Help.", "gauge")
                metric.add_sample(f"metric_{n}", {"n": str(n)}, float(n))
                yield metric

    registry = registry_of(Fleeting())
    assert b"".join(exposition(registry, encode)) == encode(registry)


@ENCODERS
def test_pieces_are_small(encode):
    """The event loop waits for no more than one of them."""
    names = [f"deployment-{n}" for n in range(2 * SAMPLES_OF_A_PIECE + 1)]
    pieces = list(exposition(registry_of(recorded("", *names)), encode))
    assert all(pieces)
    assert max(piece.count(b"\n") for piece in pieces) <= SAMPLES_OF_A_PIECE + 2


def test_the_memory_of_a_scrape_does_not_grow_with_the_number_of_families():
    """Labels that one family alone has are forgotten with it."""

    class Distinct(Collector):
        def __init__(self, families: int) -> None:
            self._families = families

        def collect(self) -> Iterator[Metric]:
            shared = [SharedLabels({"deployment": f"e5-{n}"}) for n in range(500)]
            for number in range(self._families):
                metric = Metric(f"metric_{number}", "Help.", "gauge")
                own = [labels | {"reason": f"{number}"} for labels in shared]
                metric.samples = [Sample(metric.name, each, 1.0) for each in own]
                yield metric

    def peak(families: int) -> int:
        registry = registry_of(Distinct(families))
        tracemalloc.start()
        for _ in exposition(registry, generate_latest):
            pass
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    assert peak(20) < 1.5 * peak(2)


def test_labels_that_families_share_are_made_into_text_once():
    shared = SharedLabels({"deployment": "e5"})
    families = [Metric(name, "Help.", "gauge") for name in ("one", "two")]
    for metric in families:
        metric.samples = [Sample(metric.name, shared, 1.0)]
    registry = registry_of(Families(*families))
    shared.text = '{deployment="known"}'
    assert b"".join(exposition(registry, generate_latest)).count(b'{deployment="known"} 1.0') == 2


def test_the_shown_labels_are_made_once():
    made = []

    def make(labels):
        made.append(labels)
        return {"cluster": "eu", **labels}

    labels = SharedLabels({"deployment": "e5"})
    assert labels.shown(make) is labels.shown(make)
    assert labels.shown(make) == {"cluster": "eu", "deployment": "e5"}
    assert len(made) == 1
    assert (unchanged := SharedLabels({"a": "b"})).shown(dict) is unchanged
