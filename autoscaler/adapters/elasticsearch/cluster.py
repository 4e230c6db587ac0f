"""The ports of the control loop for one cluster: an Observer and an Actuator."""

import asyncio
import math
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from typing import TypeVar

from msgspec.structs import replace

from autoscaler.adapters.elasticsearch.api import ElasticsearchApi, Statistics
from autoscaler.adapters.elasticsearch.api_errors import ApiError, Forbidden
from autoscaler.adapters.elasticsearch.changes import ChangeExecutor
from autoscaler.adapters.elasticsearch.error_mapping import failure_kind_of
from autoscaler.adapters.elasticsearch.errors import ElasticsearchError
from autoscaler.adapters.elasticsearch.nodes import cluster_of, with_upgrade_mode
from autoscaler.adapters.elasticsearch.observed_ids import ObservedIds
from autoscaler.adapters.elasticsearch.ownership import Ownership
from autoscaler.adapters.elasticsearch.server_version import ServerVersion, server_version
from autoscaler.core.decision import Change, OutcomeKind
from autoscaler.core.units import duration_text
from autoscaler.core.values import Cluster, Observation
from autoscaler.ports import Clock, FailureKind, ObservationFailed, UpdateFailed
from autoscaler.wire.cluster import InfoResponse

CAPACITY_INTERVAL_S = 60.0
"""Seconds between reads of the version, the nodes and the owners. 60 s: nodes are added and removed
within minutes, and five more requests per cycle would be most of all requests."""

CAPACITY_KEPT_S = 300.0
"""Seconds for which the last known capacity is used when the nodes cannot be read."""

CAPACITY_TIMEOUT_S = 3.0
"""Seconds for which the observation waits for these requests. They run concurrently. The list of
owners may be slow (elastic/elasticsearch#136192); the next observation has it, if it arrives."""

MAX_FAILING_INTERVAL_S = 300.0
"""Seconds to which the interval between attempts of one of these reads is doubled while it fails.
300 s: as long as the capacity is kept, and an operator who repairs the cause can wait for that."""

Response = TypeVar("Response")


class SideRead:
    """When one of these reads is due. While it fails, it is attempted less often."""

    def __init__(self, content: str) -> None:
        self.content = content
        self.failure = ""  # of the last attempt
        self._due_at = float("-inf")
        self._failures = 0

    @property
    def interval_s(self) -> float:
        """Seconds between two attempts."""
        doublings = min(max(0, self._failures - 1), 8)  # one failure is normal
        return float(min(CAPACITY_INTERVAL_S * 2.0**doublings, MAX_FAILING_INTERVAL_S))

    def is_due(self, at: float) -> bool:
        return at >= self._due_at

    def succeeded(self) -> None:
        """It is due whenever the others are."""
        self.failure, self._failures, self._due_at = "", 0, float("-inf")

    def failed(self, error: ElasticsearchError | TimeoutError, at: float) -> None:
        """A refusal is no failure: it costs little, and an operator who grants a privilege waits
        for the effect."""
        if isinstance(error, Forbidden):
            self.succeeded()
            return
        self.failure = str(error) or f"no response within {duration_text(CAPACITY_TIMEOUT_S)}"
        self._failures += 1
        self._due_at = at + self.interval_s


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
        self._observed = ObservedIds()
        self._reading_owners: asyncio.Task[None] | None = None
        self._cycle = 0
        self._cluster: Cluster | None = None
        self._cluster_read_at = float("-inf")
        self._capacity_due_at = float("-inf")
        self._routed: frozenset[str] = frozenset()  # nodes with a route, in the last statistics
        self._unlisted: frozenset[str] = frozenset()  # after the nodes were last read
        self._nodes = SideRead("the nodes")
        self._memory = SideRead("the memory of the nodes")
        self._limits = SideRead("the limits of machine learning")
        self._version = SideRead("the version")
        self._owners = SideRead("the inference endpoints")

    @property
    def failing(self) -> tuple[SideRead, ...]:
        """The reads that failed at the last attempt, except that of the owners, whose failure
        `ownership` has."""
        reads = (self._nodes, self._memory, self._limits, self._version)
        return tuple(read for read in reads if read.failure)

    async def observe(self) -> Observation:
        self._cycle += 1
        self._api.begin(f"autoscaler-{self._cycle}")
        if self._api.identity.contested:
            with suppress(ElasticsearchError):
                self._note_info(await self._api.info())
            self._ensure_one_cluster()
        try:
            statistics = await self._api.stats(self._clock.now())
        except ElasticsearchError as error:
            self._capacity_due_at = float("-inf")  # it may come back as another cluster
            raise ObservationFailed(
                failure_kind_of(error),
                str(error),
                requests=error.requests,
                retry_after_s=error.retry_after_s or 0.0,
            ) from error
        await asyncio.sleep(0)  # what follows takes milliseconds for a thousand deployments
        at = statistics.arrived_at
        statistics, left_out = self._admitted(statistics, at)
        unlisted = self._unlisted_nodes(statistics)
        if at >= self._capacity_due_at or not unlisted <= self._unlisted:
            self._capacity_due_at = at + CAPACITY_INTERVAL_S
            deployed = [stats.deployment_id for stats in statistics.deployments]
            await asyncio.gather(
                self._read_capacity(at), self._read_version_and_ownership(at, deployed)
            )
            nodes = self._cluster.nodes if self._cluster is not None else ()
            versions = (node.version for node in nodes)
            self.ownership.version = server_version(self.info, *versions)
            self._unlisted = self._unlisted_nodes(statistics)
            self._ensure_one_cluster()
        await self._ensure_its_nodes(statistics)
        deployments = {stats.deployment_id: stats for stats in statistics.deployments}
        self._changes.observed(deployments, statistics.pipelines)
        return Observation(
            at=at,
            requested_at=statistics.requested_at,
            deployments=deployments,
            unreadable=dict(statistics.unreadable),
            left_out=left_out,
            unreadable_figures=dict(statistics.unreadable_figures),
            unknown_figures=statistics.unknown_figures,
            owned={
                stats.deployment_id: stats.deployment_id  # that of its endpoint
                for stats in statistics.deployments
                if self.ownership.is_owned(stats.deployment_id)
            },
            in_use={
                **{
                    name: pipelines_text(count)
                    for name, count in statistics.pipelines.items()
                    if count != 0
                },
                **self.ownership.in_use(deployments),
            },
            callers={
                name: self.ownership.callers_of(name, statistics.pipelines.get(name))
                for name in deployments
            },
            cluster=self._cluster,
        )

    def _ensure_one_cluster(self) -> None:
        """
        Raises:
            ObservationFailed: several clusters respond, so that their counts are not compared.
        """
        if self._api.identity.contested:
            raise ObservationFailed(FailureKind.MALFORMED, self._api.identity.contested)

    async def _ensure_its_nodes(self, statistics: Statistics) -> None:
        """Find out which cluster responds if all nodes are others than before. Where that was never
        known, because a proxy does not serve its address, there is nothing to compare.

        Raises:
            ObservationFailed: several do.
        """
        routed = _routed(statistics)
        are_others = routed and self._routed and self._routed.isdisjoint(routed)
        if are_others and self.info is not None:
            try:
                self._note_info(await self._api.info(doubtful=True))
            except ElasticsearchError as error:
                if not isinstance(error, ApiError) or error.status >= 500 or error.status == 429:
                    raise ObservationFailed(failure_kind_of(error), str(error)) from error
        self._routed = routed

    def _unlisted_nodes(self, statistics: Statistics) -> frozenset[str]:
        """The nodes with a route that are not in the list of nodes. While it is not complete, it
        limits nothing, so a node that has joined is a reason to read it again."""
        listed = {node.node_id for node in self._cluster.nodes} if self._cluster else set()
        return _routed(statistics) - listed

    def _admitted(self, statistics: Statistics, at: float) -> tuple[Statistics, int]:
        """The statistics of the deployments that are observed, and how many others there are."""
        readable = [stats.deployment_id for stats in statistics.deployments]
        names = [*readable, *[name for name, _ in statistics.unreadable]]
        admitted = self._observed.admit(names, at)
        if len(admitted) == len(names):
            return statistics, 0
        kept = replace(
            statistics,
            deployments=tuple(
                [stats for stats in statistics.deployments if stats.deployment_id in admitted]
            ),
            unreadable=tuple([each for each in statistics.unreadable if each[0] in admitted]),
            unreadable_figures=tuple(
                [each for each in statistics.unreadable_figures if each[0] in admitted]
            ),
            unknown_figures={
                name: figures
                for name, figures in statistics.unknown_figures.items()
                if name in admitted
            },
        )
        return kept, len(names) - len(admitted)

    async def carry_out(
        self, deployment_id: str, change: Change, *, until: float = math.inf
    ) -> None:
        if self._api.identity.contested:
            raise UpdateFailed(OutcomeKind.WITHHELD, self._api.identity.contested)
        self._api.change_until(until)
        await self._changes.carry_out(deployment_id, change)

    async def uuid(self) -> str:
        """The UUID of the cluster; empty: it may not be read.

        Raises:
            ObservationFailed: it cannot be read now.
        """
        if self.info is None:
            try:
                self.info = await self._api.info()
            except ApiError as error:
                if error.status < 500 and error.status != 429:
                    return ""
                raise ObservationFailed(failure_kind_of(error), str(error)) from error
            except ElasticsearchError as error:
                raise ObservationFailed(failure_kind_of(error), str(error)) from error
        return self.info.cluster_uuid

    def known_uuid(self) -> str:
        """The UUID of the cluster as it was read last; empty: it has not been read."""
        return "" if self.info is None else self.info.cluster_uuid

    async def close(self) -> None:
        """Give up a request for the owners that is still under way."""
        if self._reading_owners is not None:
            self._reading_owners.cancel()
            await asyncio.gather(self._reading_owners, return_exceptions=True)

    async def _read_version_and_ownership(self, at: float, deployed: Collection[str]) -> None:
        """The version first, because the meaning of a refused list of endpoints depends on it."""
        await self._read_info(at)
        if self.ownership.version == ServerVersion():
            self.ownership.version = server_version(self.info)
        await self._read_ownership(at, deployed)

    async def _read_ownership(self, at: float, deployed: Collection[str]) -> None:
        """Refresh the owners. After a failure, the observation uses the previous ones."""
        if self._reading_owners is None or self._reading_owners.done():
            if not self._owners.is_due(at):
                return
            self._reading_owners = asyncio.create_task(self._refresh_ownership(deployed))
        await asyncio.wait([self._reading_owners], timeout=CAPACITY_TIMEOUT_S)

    async def _refresh_ownership(self, deployed: Collection[str]) -> None:
        try:
            await self.ownership.read(deployed)
        except ElasticsearchError as error:
            self._owners.failed(error, self._clock.now())
        else:
            self._owners.succeeded()

    async def _read_info(self, at: float) -> None:
        """Refresh the version. After a failure, the previous one is used."""
        info = await self._attempt(self._version, at, self._api.info)
        if info is not None:
            self._note_info(info)

    def _note_info(self, info: InfoResponse) -> None:
        if self.info is not None and self.info.cluster_uuid != info.cluster_uuid:
            self.ownership.forget()
        self.info = info

    async def _read_capacity(self, at: float) -> None:
        """Refresh the nodes. A failure does not fail the observation."""
        nodes, memory, ml_info = await asyncio.gather(
            self._attempt(self._nodes, at, self._api.nodes),
            self._attempt(self._memory, at, self._api.memory),
            self._attempt(self._limits, at, self._api.ml_info),
        )
        before = now = self._cluster
        if not any(read.failure for read in (self._nodes, self._memory, self._limits)):
            now, self._cluster_read_at = cluster_of(nodes, memory, ml_info), at
        elif at >= self._cluster_read_at + CAPACITY_KEPT_S:
            now = cluster_of(nodes, memory, ml_info)
        self._cluster = with_upgrade_mode(now, ml_info, before)

    async def _attempt(
        self, read: SideRead, at: float, request: Callable[[], Awaitable[Response]]
    ) -> Response | None:
        """The response; None if there is none, or if the read has failed and is not due again."""
        if not read.is_due(at):
            return None
        try:
            async with asyncio.timeout(CAPACITY_TIMEOUT_S):
                response = await request()
        except (ElasticsearchError, TimeoutError) as error:
            read.failed(error, at)
            return None
        read.succeeded()
        return response


def _routed(statistics: Statistics) -> frozenset[str]:
    """The nodes with a route."""
    return frozenset([node.node_id for each in statistics.deployments for node in each.nodes])


def pipelines_text(count: int | None) -> str:
    """Why a deployment that this number of ingest pipelines uses must not be stopped."""
    if count is None:
        return "whether ingest pipelines use it is not reported"
    return "an ingest pipeline uses it" if count == 1 else f"{count} ingest pipelines use it"
