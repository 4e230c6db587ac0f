"""The state of an emulated cluster beyond its deployments, and how time reaches it."""

import asyncio
import math
from collections.abc import Callable

from msgspec import Struct

from autoscaler.ports import Clock
from autoscaler.simulation.cluster import SimulatedCluster
from autoscaler.simulation.emulator.faults import Faults
from autoscaler.simulation.emulator.security import Security
from autoscaler.simulation.errors import SimulatedApiError
from autoscaler.simulation.loads import Load, Stoppable, arrivals_of

# Computing the cluster's past is cut into pieces of this many virtual seconds, and the event loop
# gets a turn after each: a request never waits for more than one.
_SLICE_S = 5.0

# How often a waiting request looks whether it is done, at least, where nothing announces it.
_MAX_WAIT_S = 60.0


class InferenceEndpoint(Struct, frozen=True, kw_only=True):
    """An endpoint of the inference API. Without `deployment_id` it owns one of its own name."""

    inference_id: str
    model_id: str
    task_type: str = "text_embedding"
    service: str = "elasticsearch"
    deployment_id: str | None = None

    @property
    def serves(self) -> str:
        return self.deployment_id or self.inference_id


class Emulation:
    """A cluster, the clock it lives by, and what can be wrong with it."""

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
        self.security = security
        self.faults = Faults()
        self.endpoints: dict[str, InferenceEndpoint] = {}
        self.settings: dict[str, dict[str, object]] = {"persistent": {}, "transient": {}}
        self.node_versions: dict[str, str] = {}  # of nodes that differ from the others
        self.has_master = True
        self.licence_expired = False
        self.loads: dict[str, Load] = {}
        self._arrivals: dict[str, Stoppable] = {}

    def start_load(self, deployment_id: str, load: Load) -> None:
        """Offer `load` to a deployment from now on, in place of any before.

        Raises:
            ValueError: the load contradicts itself, or its trace cannot be read.
        """
        arrivals = Stoppable(arrivals_of(load, self.cluster.now))
        self.stop_load(deployment_id)
        self.loads[deployment_id], self._arrivals[deployment_id] = load, arrivals
        self.cluster.drive(deployment_id, arrivals, timeout_s=load.timeout_s)

    def stop_load(self, deployment_id: str) -> None:
        self.loads.pop(deployment_id, None)
        if (arrivals := self._arrivals.pop(deployment_id, None)) is not None:
            arrivals.stop()

    def version_of(self, node_id: str) -> str:
        return self.node_versions.get(node_id, self.cluster.behaviour.number)

    def set_version(self, node_id: str, number: str | None) -> None:
        """Upgrade one node alone, or back with None: a rolling upgrade that stands still."""
        if number is None:
            self.node_versions.pop(node_id, None)
        else:
            self.node_versions[node_id] = number
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
        """Refuse what needs a licence.

        Raises:
            ApiError: 403: it has expired.
        """
        if self.licence_expired:
            raise SimulatedApiError(
                403,
                "security_exception",
                "current license is non-compliant for [ml]",
                metadata={"license.expired.feature": "ml"},
            )

    async def catch_up(self) -> None:
        """Let the cluster live through what has happened since it was last looked at."""
        now = self.clock.now()
        while self.cluster.now + _SLICE_S < now:
            self.cluster.advance(self.cluster.now + _SLICE_S)
            await asyncio.sleep(0)
        if self.cluster.now < now:
            self.cluster.advance(now)

    async def until(self, condition: Callable[[], bool], *, timeout_s: float) -> bool:
        """Wait until the cluster fulfils `condition`; False: it did not in `timeout_s`."""
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
        """Catch up again and again, so that no request finds a long past to live through."""
        while True:
            await self.catch_up()
            await self.clock.sleep(every_s)
