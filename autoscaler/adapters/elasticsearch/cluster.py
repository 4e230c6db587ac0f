"""The cluster as the control loop sees it: an Observer and an Actuator."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from autoscaler.adapters.elasticsearch.api import ElasticsearchApi
from autoscaler.adapters.elasticsearch.capacity import cluster_of
from autoscaler.adapters.elasticsearch.errors import ElasticsearchError
from autoscaler.adapters.elasticsearch.meanings import fate_of, trouble_of
from autoscaler.adapters.elasticsearch.refusals import Forbidden
from autoscaler.core.values import Cluster, Observation
from autoscaler.ports import Clock, ObservationFailed, UpdateFailed

# Nodes come and go in minutes, and three more requests a cycle would be the larger part of them.
CAPACITY_INTERVAL_S = 60.0
# How long the last known capacity may stand in for one that cannot be read.
CAPACITY_KEPT_S = 300.0
# All three requests together: an observation must not wait for what is only an addition to it.
CAPACITY_TIMEOUT_S = 3.0

Answer = TypeVar("Answer")


class ElasticsearchCluster:
    """Reads all deployments and sets their allocations; remembers nothing but the capacity.

    A cluster before 8.6 has no `_update`: it can be observed, and every change is refused.
    """

    def __init__(self, api: ElasticsearchApi, clock: Clock) -> None:
        self._api = api
        self._clock = clock
        self._cycle = 0
        self._cluster: Cluster | None = None
        self._cluster_read_at = float("-inf")
        self._capacity_due_at = float("-inf")

    async def observe(self) -> Observation:
        self._cycle += 1
        self._api.begin(f"autoscaler-{self._cycle}")
        try:
            statistics = await self._api.stats()
        except ElasticsearchError as error:
            raise ObservationFailed(trouble_of(error), str(error)) from error
        at = self._clock.now()
        if at >= self._capacity_due_at:
            self._capacity_due_at = at + CAPACITY_INTERVAL_S
            await self._read_capacity(at)
        return Observation(
            at=at,
            deployments={stats.deployment_id: stats for stats in statistics.deployments},
            unreadable=dict(statistics.unreadable),
            cluster=self._cluster,
        )

    async def set_allocations(self, deployment_id: str, allocations: int) -> None:
        try:
            await self._api.update(deployment_id, allocations=allocations)
        except ElasticsearchError as error:
            raise UpdateFailed(fate_of(error), str(error)) from error

    async def _read_capacity(self, at: float) -> None:
        """Refresh what is known of the nodes. Whatever fails, the observation goes on."""
        failures: list[ElasticsearchError | TimeoutError] = []

        async def attempt(asked: Awaitable[Answer]) -> Answer | None:
            try:
                async with asyncio.timeout(CAPACITY_TIMEOUT_S):
                    return await asked
            except (ElasticsearchError, TimeoutError) as error:
                failures.append(error)
                return None

        nodes, memory, ml_info = await asyncio.gather(
            attempt(self._api.nodes()), attempt(self._api.memory()), attempt(self._api.ml_info())
        )
        if all(isinstance(error, Forbidden) for error in failures):
            self._cluster, self._cluster_read_at = cluster_of(nodes, memory, ml_info), at
        elif at >= self._cluster_read_at + CAPACITY_KEPT_S:
            self._cluster = cluster_of(nodes, memory, ml_info)
