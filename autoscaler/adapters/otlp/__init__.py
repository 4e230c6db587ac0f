"""The metrics of the daemon and its decisions, sent by OTLP over HTTP.

Imported only if `[otlp]` has an endpoint: the generated types of the protocol take memory and time.

decisions  keeps the decisions of each cycle until they are sent
exporter   sends the metrics at an interval
delivery   one request: what became of it, counted and logged
collector  requests to a receiver at an address of its own
requests   metrics and decisions, made into requests of bounded size
"""

from collections.abc import Mapping

from prometheus_client import CollectorRegistry
from structlog.typing import FilteringBoundLogger

from autoscaler.adapters.otlp.collector import Collector
from autoscaler.adapters.otlp.decisions import DecisionExporter, DecisionQueue
from autoscaler.adapters.otlp.delivery import Delivery, Receiver
from autoscaler.adapters.otlp.exporter import MetricsExporter
from autoscaler.adapters.otlp.requests import decisions_result, metrics_result
from autoscaler.ports import Clock

__all__ = ["Collector", "DecisionQueue", "Exporters"]


class Exporters:
    """What sends the metrics and, with a queue, the decisions to one receiver.

    Args:
        resource: the attributes that say whose they are.

    Attributes:
        all: each to be run until it is cancelled.
        deliveries: what became of the exports, by signal.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        queue: DecisionQueue | None,
        receiver: Receiver,
        clock: Clock,
        log: FilteringBoundLogger,
        *,
        interval_s: float,
        resource: Mapping[str, str],
    ) -> None:
        metrics = Delivery(
            receiver,
            log,
            signal="metrics",
            path="/v1/metrics",
            result_of=metrics_result,
            interval_s=interval_s,
        )
        self.deliveries = {"metrics": metrics}
        self.all: list[MetricsExporter | DecisionExporter] = [
            MetricsExporter(registry, metrics, clock, interval_s=interval_s, resource=resource)
        ]
        if queue is None:
            return
        decisions = Delivery(
            receiver,
            log,
            signal="decisions",
            path="/v1/logs",
            result_of=decisions_result,
            interval_s=interval_s,
        )
        self.deliveries["decisions"] = decisions
        self.all.append(
            DecisionExporter(queue, decisions, clock, interval_s=interval_s, resource=resource)
        )
