"""The ports of the control loop for one cluster: an Observer and an Actuator."""

import asyncio
from collections.abc import Awaitable, Collection
from contextlib import suppress
from typing import TypeVar

from autoscaler.adapters.elasticsearch.api import ElasticsearchApi
from autoscaler.adapters.elasticsearch.api_errors import Forbidden
from autoscaler.adapters.elasticsearch.changes import ChangeExecutor
from autoscaler.adapters.elasticsearch.error_mapping import failure_kind_of
from autoscaler.adapters.elasticsearch.errors import ElasticsearchError
from autoscaler.adapters.elasticsearch.nodes import cluster_of
from autoscaler.adapters.elasticsearch.ownership import Ownership
from autoscaler.adapters.elasticsearch.server_version import ServerVersion, server_version
from autoscaler.core.decision import Change
from autoscaler.core.values import Cluster, Observation
from autoscaler.ports import Clock, ObservationFailed
from autoscaler.wire.cluster import InfoResponse

CAPACITY_INTERVAL_S = 60.0
"""Seconds between reads of the version, the nodes and the owners. 60 s: nodes are added and removed
within minutes, and five more requests per cycle would be most of all requests."""

CAPACITY_KEPT_S = 300.0
"""Seconds for which the last known capacity is used when the nodes cannot be read."""

CAPACITY_TIMEOUT_S = 3.0
"""Seconds for which the observation waits for these requests. They run concurrently. The list of
owners may be slow (elastic/elasticsearch#136192); the next observation has it, if it arrives."""

Response = TypeVar("Response")


class ElasticsearchCluster:
    """Reads and changes deployments; caches the nodes and the owners of deployments.

    A cluster before 8.6 has no `_update`: it can be observed, and every change is refused.
    """

    def __init__(self, api: ElasticsearchApi, clock: Clock) -> None:
        self._api = api
        self._clock = clock
        self.ownership = Ownership(api)
        self.info: InfoResponse | None = None  # as last read
        self._changes = ChangeExecutor(api, self.ownership)
        self._reading_owners: asyncio.Task[None] | None = None
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
            self._capacity_due_at = float("-inf")  # it may come back as another cluster
            raise ObservationFailed(failure_kind_of(error), str(error)) from error
        at = statistics.arrived_at
        if at >= self._capacity_due_at:
            self._capacity_due_at = at + CAPACITY_INTERVAL_S
            deployed = [stats.deployment_id for stats in statistics.deployments]
            await asyncio.gather(
                self._read_capacity(at), self._read_version_and_ownership(deployed)
            )
            nodes = self._cluster.nodes if self._cluster is not None else ()
            versions = (node.version for node in nodes)
            self.ownership.version = server_version(self.info, *versions)
        deployments = {stats.deployment_id: stats for stats in statistics.deployments}
        self._changes.observed(deployments)
        return Observation(
            at=at,
            requested_at=statistics.requested_at,
            deployments=deployments,
            unreadable=dict(statistics.unreadable),
            unreadable_figures=dict(statistics.unreadable_figures),
            owned={
                stats.deployment_id: owner.inference_id
                for stats in statistics.deployments
                if (owner := self.ownership.owner_of(stats.deployment_id)) is not None
            },
            in_use={
                **{
                    name: pipelines_text(count)
                    for name, count in statistics.pipelines.items()
                    if count != 0
                },
                **self.ownership.in_use(deployments),
            },
            cluster=self._cluster,
        )

    async def carry_out(self, deployment_id: str, change: Change) -> None:
        await self._changes.carry_out(deployment_id, change)

    async def close(self) -> None:
        """Give up a request for the owners that is still under way."""
        if self._reading_owners is not None:
            self._reading_owners.cancel()
            await asyncio.gather(self._reading_owners, return_exceptions=True)

    async def _read_version_and_ownership(self, deployed: Collection[str]) -> None:
        """The version first, because it says what a refused list of endpoints means."""
        await self._read_info()
        if self.ownership.version == ServerVersion():
            self.ownership.version = server_version(self.info)
        await self._read_ownership(deployed)

    async def _read_ownership(self, deployed: Collection[str]) -> None:
        """Refresh the owners. After a failure, the observation uses the previous ones."""
        if self._reading_owners is None or self._reading_owners.done():
            self._reading_owners = asyncio.create_task(self._refresh_ownership(deployed))
        await asyncio.wait([self._reading_owners], timeout=CAPACITY_TIMEOUT_S)

    async def _refresh_ownership(self, deployed: Collection[str]) -> None:
        with suppress(ElasticsearchError):
            await self.ownership.read(deployed)

    async def _read_info(self) -> None:
        """Refresh the version. After a failure, the previous one is used."""
        with suppress(ElasticsearchError, TimeoutError):
            async with asyncio.timeout(CAPACITY_TIMEOUT_S):
                info = await self._api.info()
                if self.info is not None and self.info.cluster_uuid != info.cluster_uuid:
                    self.ownership.forget()
                self.info = info

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


def pipelines_text(count: int | None) -> str:
    """Why a deployment that this number of ingest pipelines uses must not be stopped."""
    if count is None:
        return "whether ingest pipelines use it is not reported"
    return "an ingest pipeline uses it" if count == 1 else f"{count} ingest pipelines use it"
