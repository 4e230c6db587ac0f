"""Small fakes of the ports. `tests/contracts/` tests them like the adapters."""

import asyncio
import math
from collections.abc import Collection, Iterable, Mapping

from msgspec.structs import replace

from autoscaler.core.decision import (
    Change,
    Outcome,
    OutcomeKind,
    Plan,
    SetAllocations,
    SetBounds,
    Start,
    Stop,
)
from autoscaler.core.instructions import Instructions
from autoscaler.core.policies import AnyPolicy
from autoscaler.core.state import State, StoppedDeployment
from autoscaler.core.values import STARTED, AdaptiveAllocations, DeploymentStats, Observation
from autoscaler.ports import CycleTimes, FailureKind, ObservationFailed, StateNotSaved, UpdateFailed


class FakeClock:
    """Time that passes only in `sleep`, and ends at `until`."""

    def __init__(self, start: float = 0.0, until: float = math.inf) -> None:
        self._now, self._until = start, until

    def now(self) -> float:
        return self._now

    def pass_by(self, seconds: float) -> None:
        self._now += seconds

    async def sleep(self, seconds: float) -> None:
        self._now += max(0.0, seconds)
        if self._now > self._until:
            await asyncio.Event().wait()
        await asyncio.sleep(0)


class FakeCluster:
    """Deployments behind the ports Observer and Actuator.

    `refusals` maps a deployment id to the outcome of its changes; `kind` makes the statistics
    unreadable. A response takes `latency_s`. Adaptive allocations only move the allocations into
    their bounds, immediately. `changes` has all requested changes, `requested` the allocations
    among them.
    """

    def __init__(self, clock: FakeClock, *deployments: DeploymentStats) -> None:
        self.clock = clock
        self.deployments = {d.deployment_id: d for d in deployments}
        self.stopped: dict[str, DeploymentStats] = {}
        self.models = {d.model_id for d in deployments}
        self.owned: dict[str, str] = {}
        self.refusals: dict[str, OutcomeKind] = {}
        self.kind: FailureKind | None = None
        self.requests = 1  # that it received before an observation failed
        self.retry_after_s = 0.0
        self.latency_s = 0.0
        self.changes: list[tuple[str, Change]] = []
        self.until = math.inf  # of the last change
        self.requested: list[tuple[str, int]] = []
        self.observed = 0

    async def observe(self) -> Observation:
        self.observed += 1
        self.clock.pass_by(self.latency_s)
        if self.kind is not None:
            raise ObservationFailed(
                self.kind,
                f"the cluster fails: {self.kind}",
                requests=self.requests,
                retry_after_s=self.retry_after_s,
            )
        return Observation(
            at=self.clock.now(), deployments=dict(self.deployments), owned=dict(self.owned)
        )

    async def carry_out(
        self, deployment_id: str, change: Change, *, until: float = math.inf
    ) -> None:
        self.until = until
        self.changes.append((deployment_id, change))
        if isinstance(change, SetAllocations):
            self.requested.append((deployment_id, change.allocations))
        self.clock.pass_by(self.latency_s)
        if (kind := self.refusals.get(deployment_id)) is not None:
            raise UpdateFailed(kind, f"no: {kind}")
        match change:
            case Start():
                if change.model_id not in self.models:
                    raise UpdateFailed(OutcomeKind.GONE, f"{change.model_id} does not exist")
                if deployment_id not in self.deployments:
                    before = self.stopped.pop(deployment_id, None)
                    self.deployments[deployment_id] = _started(deployment_id, change, before)
            case Stop():
                if deployment_id in self.owned:
                    raise UpdateFailed(
                        OutcomeKind.ENDPOINT_OWNED, f"{deployment_id} is an endpoint's"
                    )
                if deployment_id in self.deployments:
                    self.stopped[deployment_id] = self.deployments.pop(deployment_id)
            case SetAllocations() | SetBounds():
                if deployment_id not in self.deployments:
                    raise UpdateFailed(OutcomeKind.GONE, f"{deployment_id} does not exist")
                updated = _updated(self.deployments[deployment_id], change)
                self.deployments[deployment_id] = updated


def _updated(stats: DeploymentStats, change: SetAllocations | SetBounds) -> DeploymentStats:
    if isinstance(change, SetBounds):
        adaptive = AdaptiveAllocations(enabled=True, minimum=change.minimum, maximum=change.maximum)
        allocations = min(max(stats.allocations or 0, change.minimum), change.maximum)
        return replace(
            stats, adaptive=adaptive, allocations=allocations, target_allocations=allocations
        )
    adaptive = stats.adaptive
    if adaptive is not None and adaptive.enabled:
        if not change.take_over:
            raise UpdateFailed(OutcomeKind.ADAPTIVE_ENABLED, "adaptive allocations are enabled")
        adaptive = replace(adaptive, enabled=False)
    allocations = change.allocations
    return replace(
        stats, adaptive=adaptive, allocations=allocations, target_allocations=allocations
    )


def _started(deployment_id: str, start: Start, before: DeploymentStats | None) -> DeploymentStats:
    """Started immediately, on the same nodes if it was stopped before."""
    adaptive = start.adaptive
    automatic = adaptive is not None and adaptive.enabled
    allocations = (adaptive.minimum or 0) if adaptive and automatic else start.allocations
    return replace(
        before or DeploymentStats(deployment_id, start.model_id),
        model_id=start.model_id,
        state=STARTED,
        allocations=allocations,
        running_allocations=allocations,
        target_allocations=allocations,
        threads_per_allocation=start.threads_per_allocation,
        queue_capacity=start.queue_capacity,
        cache_bytes=start.cache_bytes,
        priority=start.priority,
        adaptive=adaptive,
    )


class FakeStateStore:
    """All saved records of stopped deployments, the latest last, and the last saved state; while
    `full`, nothing can be saved."""

    def __init__(self) -> None:
        self.saved: list[dict[str, StoppedDeployment]] = []
        self.state = State(is_first_start=True)
        self.instructions = Instructions()
        self.cluster_uuid = ""
        self.full = self.is_open = False

    @property
    def problem(self) -> str:
        return "no space left" if self.full else ""

    async def bind(self, cluster_uuid: str) -> str:
        before, self.cluster_uuid = self.cluster_uuid, cluster_uuid
        if before in ("", cluster_uuid):
            return ""
        self.state = State()
        return f"the state is of another cluster, {before}"

    async def open(self, policies: Iterable[AnyPolicy]) -> State:
        self.is_open = True
        stopped = self.saved[-1] if self.saved else {}
        return replace(self.state, stopped=stopped, instructions=self.instructions)

    async def save_stopped(self, stopped: Mapping[str, StoppedDeployment]) -> None:
        if self.full:
            raise StateNotSaved("no space left")
        self.saved.append(dict(stopped))

    async def save_instructions(self, instructions: Instructions) -> None:
        if self.full:
            raise StateNotSaved("no space left")
        self.instructions = instructions

    async def save_before_updates(self, state: State, deployment_ids: Collection[str]) -> None:
        if not self.full:
            some = {n: known for n, known in state.deployments.items() if n in deployment_ids}
            deployments = {**self.state.deployments, **some}
            self.state = replace(state, deployments=deployments)

    def checkpoint(self, state: State) -> None:
        if not self.full:
            self.state = state

    async def close(self) -> None:
        self.is_open = False


class ListRecorder:
    def __init__(self) -> None:
        self.plans: list[Plan] = []
        self.outcomes: list[tuple[Outcome, ...]] = []
        self.times: list[CycleTimes] = []
        self.failures: list[ObservationFailed] = []

    def planned(
        self,
        observation: Observation,
        plan: Plan,
        outcomes: tuple[Outcome, ...],
        took: CycleTimes,
    ) -> None:
        self.plans.append(plan)
        self.outcomes.append(outcomes)
        self.times.append(took)

    def skipped(self, failure: ObservationFailed, at: float) -> None:
        self.failures.append(failure)


class FakeLeadership:
    """Leads while a test says so."""

    def __init__(self, clock: FakeClock, leader: str = "") -> None:
        self._clock = clock
        self.name = "this"
        self.leading_since: float | None = None
        self.leader = leader
        self.failure = ""

    def lead(self) -> None:
        self.leading_since, self.leader = self._clock.now(), "this"

    def follow(self, leader: str = "other") -> None:
        self.leading_since, self.leader = None, leader

    def leads(self, *, for_s: float = 0.0) -> bool:
        return self.leading_since is not None
