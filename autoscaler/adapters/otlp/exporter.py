"""Metrics, sent at an interval."""

import asyncio
from collections.abc import Iterator, Mapping
from typing import Protocol

from prometheus_client import CollectorRegistry
from structlog.typing import FilteringBoundLogger

from autoscaler.adapters.otlp.requests import MetricsRequest, metrics_requests, metrics_result
from autoscaler.core.units import duration_text
from autoscaler.otlp_access import ExportFailed
from autoscaler.ports import Clock
from autoscaler.text import printable

PATH = "/v1/metrics"

MAX_PAUSE_S = 600.0
"""Seconds for which nothing is sent after a failure, at most, whatever the receiver asks for. 10
min, so that metrics return soon after a collector does."""

MAX_MESSAGE_CHARACTERS = 500
"""Characters of the receiver's own words in the log."""


class Receiver(Protocol):
    """Where the requests go."""

    async def send(self, path: str, body: bytes) -> bytes:
        """The body of the response to a request that was accepted.

        Args:
            body: compressed by gzip.

        Raises:
            ExportFailed: it was not, or there was no response.
        """


class OtlpExporter:
    """Sends all metrics to one receiver, whatever that does.

    Nothing is kept for a receiver that fails: counters and histograms are totals since the start,
    so the next export has everything that a lost one had, except for its instant.

    Args:
        resource: the attributes that say whose metrics these are.

    Attributes:
        results: the number of exports, by result: `accepted`; `rejected`, of which the receiver has
            rejected data points; `failed`, not accepted, or not all of it; `unknown`, where a
            response is not of the protocol.
        rejected_points: the number of data points that the receiver has rejected.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        receiver: Receiver,
        clock: Clock,
        log: FilteringBoundLogger,
        *,
        interval_s: float,
        resource: Mapping[str, str],
    ) -> None:
        self._registry = registry
        self._receiver = receiver
        self._clock = clock
        self._log = log
        self._interval_s = interval_s
        self._resource = resource
        self._started_at = clock.now()
        self._failures = 0  # in succession
        self._result = "accepted"  # of the last export, as logged
        self.results = dict.fromkeys(("accepted", "rejected", "failed", "unknown"), 0)
        self.rejected_points = 0

    async def run(self) -> None:
        """Export until cancelled. What is under way then is lost, so that the end does not wait."""
        while True:
            await self._clock.sleep(self._interval_s)
            try:
                pause_s = await self.export()
            except Exception:
                # Scaling does not depend on it.
                self.results["failed"] += 1
                self._log.exception("otlp.defect", message="an export by OTLP has failed")
                pause_s = MAX_PAUSE_S
            await self._clock.sleep(pause_s)

    async def export(self) -> float:
        """Send all metrics once.

        Returns:
            Seconds for which nothing more should be sent, besides the interval.
        """
        requests = metrics_requests(
            self._registry, self._resource, self._started_at, self._clock.now()
        )
        result, message, pause_s = "accepted", "", 0.0
        # In a thread, as for Prometheus: the metrics of a thousand deployments take a second.
        while (request := await asyncio.to_thread(_next, requests)) is not None:
            try:
                body = await self._receiver.send(PATH, request.body)
            except ExportFailed as error:
                result, message, pause_s = "failed", str(error), self._pause_s(error)
                break
            found = metrics_result(body)
            if found is None:
                result, message = "unknown", "the response is not one of OTLP; check the address"
            elif found.rejected:
                rejected = min(found.rejected, request.points)
                self.rejected_points += rejected
                result, message = "rejected", f"data points were rejected: {found.message}"
        self.results[result] += 1
        self._failures = self._failures + 1 if result == "failed" else 0
        self._report(result, message)
        return pause_s

    def _pause_s(self, error: ExportFailed) -> float:
        """As long as the receiver asks for; otherwise twice as long after each further failure."""
        if error.retry_after_s is not None:
            return min(error.retry_after_s, MAX_PAUSE_S)
        return min(self._interval_s * (2.0 ** min(self._failures, 10) - 1.0), MAX_PAUSE_S)

    def _report(self, result: str, message: str) -> None:
        """Log the beginning of a problem, and its end."""
        before, self._result = self._result, result
        if result == before:
            return
        if result == "accepted":
            self._log.info("otlp.accepted", message="metrics sent by OTLP are accepted again")
            return
        again = duration_text(self._interval_s)
        self._log.warning(
            f"otlp.{result}",
            message=f"metrics sent by OTLP: {printable(message[:MAX_MESSAGE_CHARACTERS])}; "
            f"the next are sent in {again}, or later if the receiver fails",
        )


def _next(requests: Iterator[MetricsRequest]) -> MetricsRequest | None:
    return next(requests, None)
