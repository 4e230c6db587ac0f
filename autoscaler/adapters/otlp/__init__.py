"""The metrics of the daemon, sent by OTLP over HTTP.

Imported only if `[otlp]` is configured: the generated types of the protocol take memory and time.

exporter   sends them at an interval, and counts what was not accepted
collector  requests to a receiver at an address of its own
requests   the collected metrics, made into requests of bounded size
"""

from autoscaler.adapters.otlp.collector import Collector
from autoscaler.adapters.otlp.exporter import OtlpExporter

__all__ = ["Collector", "OtlpExporter"]
