"""Metrics, sent at an interval."""

import asyncio
from collections.abc import Mapping
from functools import partial

from prometheus_client import CollectorRegistry

from autoscaler.adapters.otlp.delivery import Delivered, Delivery
from autoscaler.adapters.otlp.requests import metrics_requests
from autoscaler.ports import Clock
from autoscaler.threads import without_collector


class MetricsExporter:
    """Sends all metrics to one receiver, whatever that does.

    Nothing is kept for a receiver that fails: counters and histograms are totals since the start,
    so the next export has everything that a lost one had, except for its instant.

    Args:
        resource: the attributes that say whose metrics these are.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        delivery: Delivery,
        clock: Clock,
        *,
        interval_s: float,
        resource: Mapping[str, str],
    ) -> None:
        self._registry = registry
        self._delivery = delivery
        self._clock = clock
        self._interval_s = interval_s
        self._resource = resource
        self._started_at = clock.now()

    async def run(self) -> None:
        """Export until cancelled. What is under way then is lost, so that the end does not wait."""
        while True:
            await self._clock.sleep(self._interval_s)
            try:
                export = await self.export()
            except Exception:
                export = self._delivery.defect()
            await self._clock.sleep(export.pause_s)

    async def export(self) -> Delivered:
        """Send all metrics once, or until a request fails."""
        requests = metrics_requests(
            self._registry, self._resource, self._started_at, self._clock.now()
        )
        export = Delivered()
        # In a thread, as for Prometheus: the metrics of a thousand deployments take a second.
        following = partial(next, requests, None)
        while (request := await asyncio.to_thread(without_collector, following)) is not None:
            found = await self._delivery.send(request)
            if found.result != "accepted":
                export = found
            if found.result == "failed":
                break
        self._delivery.ended(export)
        return export
