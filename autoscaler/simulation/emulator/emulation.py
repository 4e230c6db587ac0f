"""The state of an emulated cluster in addition to its deployments, and its clock."""

import asyncio
import math
from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Struct, field

from autoscaler.ports import Clock
from autoscaler.simulation.cluster import (
    AdaptiveSettings,
    SimulatedCluster,
    SimulatedDeployment,
)
from autoscaler.simulation.emulator.cluster_settings import ClusterSettings
from autoscaler.simulation.emulator.documents import DocumentIndex
from autoscaler.simulation.emulator.faults import Faults
from autoscaler.simulation.emulator.security import Security
from autoscaler.simulation.errors import SimulatedApiError
from autoscaler.simulation.loads import Load, Stoppable, arrivals_of

_SLICE_S = 5.0
"""Virtual seconds simulated before the event loop gets a turn, so that a request waits for at most
one such slice."""

_MAX_WAIT_S = 60.0
"""Maximum seconds between two checks of the condition that a request waits for."""


class EndpointSettings(Struct, frozen=True, kw_only=True):
    """What an endpoint has stored for its deployment: one or the other."""

    num_allocations: int | None = None
    adaptive: AdaptiveSettings | None = None


class InferenceEndpoint(Struct, frozen=True, kw_only=True):
    """An inference endpoint. Without `deployment_id` it owns the deployment with its id."""

    inference_id: str
    model_id: str
    task_type: str = "text_embedding"
    service: str = "elasticsearch"
    deployment_id: str | None = None
    settings: EndpointSettings = EndpointSettings()
    broken: bool = False  # cannot be read, so that no list with it can

    @property
    def serves(self) -> str:
        return self.deployment_id or self.inference_id


class StoredModel(Struct, frozen=True, kw_only=True):
    """What the configuration of a model has beside its size."""

    created_at: float  # Unix seconds
    field_names: tuple[str, ...] = ("text_field",)  # of the input
    tags: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(
        default_factory=lambda: {"inference_config": {"text_embedding": {}}}
    )


def settings_of(deployment: SimulatedDeployment) -> EndpointSettings:
    """The settings that an endpoint stores if it creates this deployment."""
    if deployment.adaptive is not None:
        return EndpointSettings(adaptive=deployment.adaptive)
    return EndpointSettings(num_allocations=deployment.requested)


class Emulation:
    """A cluster, its clock, and its faults and conditions."""

    def __init__(
        self,
        cluster: SimulatedCluster,
        clock: Clock,
        *,
        name: str = "emulated",
        security: Security | None = None,
    ) -> None:
        self.cluster = cluster
        self.clock = clock
        self.name = name
        self.uuid = "emulated-cluster-uuid"  # a different one: another cluster responds
        self.security = security
        self.faults = Faults()
        self.endpoints: dict[str, InferenceEndpoint] = {}
        self.indices: dict[str, DocumentIndex] = {}
        self.models: dict[str, StoredModel] = {}  # created through the API
        self._began = clock.now()
        self.settings = ClusterSettings(cluster.settings)
        self.node_versions: dict[str, str] = {}  # of nodes that differ from the others
        self.has_master = True
        self.writes_blocked = False  # of the cluster's metadata, by an operator
        self.licence_expired = False
        self.loads: dict[str, Load] = {}
        self._arrivals: dict[str, Stoppable] = {}

    def start_load(self, deployment_id: str, load: Load) -> None:
        """Offer `load` to a deployment from now on; replaces any previous load.

        Raises:
            ValueError: the load is inconsistent, or its trace cannot be read.
        """
        arrivals = Stoppable(arrivals_of(load, self.cluster.now))
        self.stop_load(deployment_id)
        self.loads[deployment_id], self._arrivals[deployment_id] = load, arrivals
        self.cluster.drive(deployment_id, arrivals, timeout_s=load.timeout_s)

    def stop_load(self, deployment_id: str) -> None:
        self.loads.pop(deployment_id, None)
        if (arrivals := self._arrivals.pop(deployment_id, None)) is not None:
            arrivals.stop()

    def model(self, model_id: str) -> StoredModel:
        """The configuration of a model; those of the scenario have a default one."""
        return self.models.get(model_id) or StoredModel(created_at=self._began)

    def version_of(self, node_id: str) -> str:
        return self.node_versions.get(node_id, self.cluster.behaviour.number)

    def set_version(self, node_id: str, version: str | None) -> None:
        """Set the version of one node, as during a rolling upgrade; None resets it."""
        if version is None:
            self.node_versions.pop(node_id, None)
        else:
            self.node_versions[node_id] = version
        self.cluster.mixed_versions = bool(self.node_versions)

    def add_endpoint(self, endpoint: InferenceEndpoint) -> None:
        self.remove_endpoint(endpoint.inference_id)
        self.endpoints[endpoint.inference_id] = endpoint
        if endpoint.deployment_id is None:
            self.cluster.inference_endpoints.add(endpoint.inference_id)
        else:
            self.cluster.attached_endpoints[endpoint.inference_id] = endpoint.deployment_id

    def remove_endpoint(self, inference_id: str) -> None:
        self.endpoints.pop(inference_id, None)
        self.cluster.inference_endpoints.discard(inference_id)
        self.cluster.attached_endpoints.pop(inference_id, None)

    def require_licence(self) -> None:
        """Refuse a request that needs a licence.

        Raises:
            SimulatedApiError: 403: the licence has expired.
        """
        if self.licence_expired:
            raise SimulatedApiError(
                403,
                "security_exception",
                "current license is non-compliant for [ml]",
                metadata={"license.expired.feature": "ml"},
            )

    async def catch_up(self) -> None:
        """Advance the cluster to the current time."""
        now = self.clock.now()
        while self.cluster.now + _SLICE_S < now:
            self.cluster.advance(self.cluster.now + _SLICE_S)
            await asyncio.sleep(0)
        if self.cluster.now < now:
            self.cluster.advance(now)

    async def until(self, condition: Callable[[], bool], *, timeout_s: float) -> bool:
        """Wait until `condition` is true; False after `timeout_s`."""
        deadline = self.clock.now() + timeout_s
        while True:
            await self.catch_up()
            if condition():
                return True
            now = self.clock.now()
            if now >= deadline:
                return False
            next_event = self.cluster.next_event_at()
            next_due_at = min(deadline, math.inf if next_event is None else next_event)
            await self.clock.sleep(min(_MAX_WAIT_S, max(next_due_at - now, 1e-3)))

    async def keep_up(self, every_s: float) -> None:
        """Advance the cluster repeatedly, so that no request has to simulate a long time."""
        while True:
            await self.catch_up()
            await self.clock.sleep(every_s)
