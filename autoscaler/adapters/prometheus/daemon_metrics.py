"""Metrics that exist once for each process: the build, the configuration, the process itself."""

from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

from prometheus_client import (
    CollectorRegistry,
    GCCollector,
    Metric,
    PlatformCollector,
    ProcessCollector,
)
from prometheus_client.registry import Collector

from autoscaler.adapters.prometheus import families
from autoscaler.adapters.prometheus.counters import LabelledCounter
from autoscaler.adapters.prometheus.cycle_metrics import family
from autoscaler.ports import Clock


class Exports(Protocol):
    """What has become of the exports of one signal by OTLP."""

    results: dict[str, int]  # exports, by result
    lost: dict[str, int]  # data points or decisions, by cause


class Recording(Protocol):
    """What is recorded of the cycles."""

    size_bytes: int  # of the file
    written_at: float | None  # the last recorded cycle; None: none yet
    failed_cycles: int  # that are not recorded


class DaemonMetrics(Collector):
    """The build, the configuration in effect, the log lines that were not written, and the requests
    that the daemon's server has refused.

    Args:
        log_lines_dropped: their count, by reason.
    """

    def __init__(
        self,
        clock: Clock,
        version: str,
        log_lines_dropped: Callable[[], Mapping[str, int]] = dict,
    ) -> None:
        self._clock = clock
        self._version = version
        self._log_lines_dropped = log_lines_dropped
        self._config: tuple[str, float, float] | None = None  # fingerprint, poll interval, at
        self._config_valid = True
        self._refused = LabelledCounter[str]()
        self.recording: Recording | None = None  # None: cycles are not recorded
        self.exports: Mapping[str, Exports] = {}  # by signal; empty: nothing is exported

    def register(self, registry: CollectorRegistry) -> None:
        """Add these metrics and those of the process."""
        registry.register(self)
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)

    def config_accepted(self, fingerprint: str, poll_interval_s: float) -> None:
        """A valid configuration is in effect, from the start or since a reload."""
        self._config = (fingerprint, poll_interval_s, self._clock.now())
        self._config_valid = True

    def config_refused(self) -> None:
        """A new configuration was not valid; the previous one stays in effect."""
        self._config_valid = False

    def http_refused(self, reason: str) -> None:
        """The daemon's server has refused a request, or closed a connection."""
        self._refused.add(reason)

    def collect(self) -> Iterator[Metric]:
        fingerprint, poll_interval_s, at = self._config or ("", 0.0, 0.0)
        known = self._config is not None
        yield family(families.BUILD_INFO, [({"version": self._version}, 1.0)])
        refused = [({"reason": reason}, count) for reason, count in self._refused.items()]
        yield family(families.HTTP_REFUSED, refused)
        yield family(
            families.OTLP_EXPORTS,
            [
                ({"signal": signal, "result": result}, float(count))
                for signal, exports in self.exports.items()
                for result, count in exports.results.items()
            ],
        )
        yield family(
            families.OTLP_LOST,
            [
                ({"signal": signal, "cause": cause}, float(count))
                for signal, exports in self.exports.items()
                for cause, count in exports.lost.items()
            ],
        )
        yield from self._of_the_recording()
        yield family(families.CONFIG_INFO, [({"fingerprint": fingerprint}, 1.0)] if known else [])
        yield family(families.POLL_INTERVAL, [({}, poll_interval_s)] if known else [])
        yield family(families.CONFIG_SUCCESS, [({}, float(self._config_valid))] if known else [])
        yield family(families.CONFIG_SUCCESS_AT, [({}, at)] if known else [])
        yield family(
            families.LOG_LINES_DROPPED,
            [
                ({"reason": reason}, float(count))
                for reason, count in self._log_lines_dropped().items()
            ],
        )

    def _of_the_recording(self) -> Iterator[Metric]:
        kept = self.recording
        written_at = None if kept is None else kept.written_at
        yield family(
            families.RECORDING_BYTES, [] if kept is None else [({}, float(kept.size_bytes))]
        )
        yield family(families.RECORDED_AT, [] if written_at is None else [({}, written_at)])
        yield family(
            families.RECORDING_FAILURES, [] if kept is None else [({}, float(kept.failed_cycles))]
        )

    def describe(self) -> Iterator[Metric]:
        return self.collect()
