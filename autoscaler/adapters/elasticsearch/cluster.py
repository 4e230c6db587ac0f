"""The cluster as the control loop sees it: an Observer and an Actuator."""

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
from autoscaler.core.values import Change, Cluster, Observation
from autoscaler.ports import Clock, ObservationFailed

# Nodes come and go in minutes, and four more requests a cycle would be the larger part of them.
CAPACITY_INTERVAL_S = 60.0
# How long the last known capacity may stand in for one that cannot be read.
CAPACITY_KEPT_S = 300.0
# All these requests together: an observation must not wait for what is only an addition to it.
CAPACITY_TIMEOUT_S = 3.0

Response = TypeVar("Response")


class ElasticsearchCluster:
    """Reads all deployments and changes them; remembers the nodes, and who owns what.

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
        at = self._clock.now()
        if at >= self._capacity_due_at:
            self._capacity_due_at = at + CAPACITY_INTERVAL_S
            await asyncio.gather(self._read_capacity(at), self._read_ownership())
        return Observation(
            at=at,
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
        """Whatever fails, the observation goes on with what was known before."""
        with suppress(ElasticsearchError, TimeoutError):
            async with asyncio.timeout(CAPACITY_TIMEOUT_S):
                await self._ownership.read()

    async def _read_capacity(self, at: float) -> None:
        """Refresh what is known of the nodes. Whatever fails, the observation goes on."""
        failures: list[ElasticsearchError | TimeoutError] = []

        async def attempt(asked: Awaitable[Response]) -> Response | None:
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
