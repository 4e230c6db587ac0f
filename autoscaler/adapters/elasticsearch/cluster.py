"""The ports of the control loop for one cluster: an Observer and an Actuator."""

import asyncio
from collections.abc import Awaitable
from contextlib import suppress
from typing import TypeVar

from autoscaler.adapters.elasticsearch.api import ElasticsearchApi
from autoscaler.adapters.elasticsearch.api_errors import Forbidden
from autoscaler.adapters.elasticsearch.changes import ChangeExecutor
from autoscaler.adapters.elasticsearch.error_mapping import failure_kind_of
from autoscaler.adapters.elasticsearch.errors import ElasticsearchError
from autoscaler.adapters.elasticsearch.nodes import cluster_of
from autoscaler.adapters.elasticsearch.ownership import Ownership
from autoscaler.core.decision import Change
from autoscaler.core.values import Cluster, Observation
from autoscaler.ports import Clock, ObservationFailed

CAPACITY_INTERVAL_S = 60.0
"""Seconds between reads of the nodes and the owners. 60 s: nodes are added and removed within
minutes, and four more requests per cycle would be most of all requests."""

CAPACITY_KEPT_S = 300.0
"""Seconds for which the last known capacity is used when the nodes cannot be read."""

CAPACITY_TIMEOUT_S = 3.0
"""Time limit of each of these requests, in seconds. They run concurrently, and the observation
waits for them."""

Response = TypeVar("Response")


class ElasticsearchCluster:
    """Reads and changes deployments; caches the nodes and the owners of deployments.

    A cluster before 8.6 has no `_update`: it can be observed, and every change is refused.
    """

    def __init__(self, api: ElasticsearchApi, clock: Clock) -> None:
        self._api = api
        self._clock = clock
        self._ownership = Ownership(api)
        self._changes = ChangeExecutor(api, self._ownership)
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
            raise ObservationFailed(failure_kind_of(error), str(error)) from error
        at = statistics.arrived_at
        if at >= self._capacity_due_at:
            self._capacity_due_at = at + CAPACITY_INTERVAL_S
            await asyncio.gather(self._read_capacity(at), self._read_ownership())
        return Observation(
            at=at,
            requested_at=statistics.requested_at,
            deployments={stats.deployment_id: stats for stats in statistics.deployments},
            unreadable=dict(statistics.unreadable),
            owned={
                stats.deployment_id: owner.inference_id
                for stats in statistics.deployments
                if (owner := self._ownership.owner_of(stats.deployment_id)) is not None
            },
            cluster=self._cluster,
        )

    async def carry_out(self, deployment_id: str, change: Change) -> None:
        await self._changes.carry_out(deployment_id, change)

    async def _read_ownership(self) -> None:
        """Refresh the owners. After a failure, the observation uses the previous ones."""
        with suppress(ElasticsearchError, TimeoutError):
            async with asyncio.timeout(CAPACITY_TIMEOUT_S):
                await self._ownership.read()

    async def _read_capacity(self, at: float) -> None:
        """Refresh the nodes. A failure does not fail the observation."""
        failures: list[ElasticsearchError | TimeoutError] = []

        async def attempt(request: Awaitable[Response]) -> Response | None:
            try:
                async with asyncio.timeout(CAPACITY_TIMEOUT_S):
                    return await request
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
