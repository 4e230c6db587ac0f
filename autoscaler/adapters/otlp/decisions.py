"""Decisions, sent as log records after each cycle."""

import asyncio
from collections import deque
from collections.abc import Mapping
from functools import partial

from autoscaler.adapters.otlp.delivery import Delivered, Delivery
from autoscaler.adapters.otlp.requests import decisions_request
from autoscaler.core.decision import Outcome, Plan
from autoscaler.core.values import Observation
from autoscaler.ports import Clock, CycleTimes, ObservationFailed
from autoscaler.threads import without_collector

MAX_QUEUED = 5_000
"""Decisions that wait to be sent. 5,000: five cycles of a thousand deployments. The oldest are
dropped first."""

MAX_OF_A_REQUEST = 500
"""Decisions of one request: about 1 MB before compression, where receivers accept at least 4 MB."""


class DecisionQueue:
    """A Recorder: keeps each decision until it is sent, or until there are too many."""

    def __init__(self) -> None:
        self._queued: deque[Outcome] = deque()
        self._filled = asyncio.Event()
        self.dropped = 0

    def planned(
        self, observation: Observation, plan: Plan, outcomes: tuple[Outcome, ...], took: CycleTimes
    ) -> None:
        self._add(outcomes)

    def skipped(self, failure: ObservationFailed, at: float) -> None:
        self._add(failure.outcomes)

    async def first(self) -> list[Outcome]:
        """Wait for decisions, and take the oldest."""
        await self._filled.wait()
        taken = [self._queued.popleft() for _ in range(min(MAX_OF_A_REQUEST, len(self._queued)))]
        if not self._queued:
            self._filled.clear()
        return taken

    def _add(self, outcomes: tuple[Outcome, ...]) -> None:
        self._queued.extend(outcomes)
        while len(self._queued) > MAX_QUEUED:
            self._queued.popleft()
            self.dropped += 1
        if self._queued:
            self._filled.set()


class DecisionExporter:
    """Sends the queued decisions to one receiver, whatever that does.

    Args:
        resource: the attributes that say whose decisions these are.
    """

    def __init__(
        self,
        queue: DecisionQueue,
        delivery: Delivery,
        clock: Clock,
        *,
        interval_s: float,
        resource: Mapping[str, str],
    ) -> None:
        self._queue = queue
        self._delivery = delivery
        self._clock = clock
        self._interval_s = interval_s
        self._resource = resource
        self._refused = 0  # decisions that are not sent again

    async def run(self) -> None:
        """Export until cancelled. What is queued then is lost, so that the end does not wait."""
        while True:
            outcomes = await self._queue.first()
            while (export := await self._export(outcomes)).result == "failed":
                if not export.may_repeat:
                    self._refused += len(outcomes)
                self._delivery.lost["dropped"] = self._queue.dropped + self._refused
                await self._clock.sleep(self._interval_s + export.pause_s)
                if not export.may_repeat:
                    break
            self._delivery.lost["dropped"] = self._queue.dropped + self._refused

    async def _export(self, outcomes: list[Outcome]) -> Delivered:
        try:
            # In a thread: the texts of a thousand decisions take more time than the decisions.
            request = await asyncio.to_thread(
                without_collector, partial(decisions_request, outcomes, self._resource)
            )
            export = await self._delivery.send(request)
        except Exception:
            return self._delivery.defect()
        self._delivery.ended(export)
        return export
