"""Small stand-ins for the ports. `tests/contracts/` holds them to the same promises."""

import asyncio
import math

from msgspec.structs import replace

from autoscaler.core.values import DeploymentStats, Fate, Observation, Outcome, Plan
from autoscaler.ports import CycleTimes, ObservationFailed, Trouble, UpdateFailed


class FakeClock:
    """Time that passes only while somebody sleeps, and ends at `until`."""

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
    """Deployments behind the ports, and what they answer to updates.

    `refusals` maps a deployment id to the fate of its updates, `trouble` makes the statistics
    unreadable. An answer takes `latency_s`.
    """

    def __init__(self, clock: FakeClock, *deployments: DeploymentStats) -> None:
        self.clock = clock
        self.deployments = {d.deployment_id: d for d in deployments}
        self.refusals: dict[str, Fate] = {}
        self.trouble: Trouble | None = None
        self.latency_s = 0.0
        self.asked: list[tuple[str, int]] = []
        self.observed = 0

    async def observe(self) -> Observation:
        self.observed += 1
        self.clock.pass_by(self.latency_s)
        if self.trouble is not None:
            raise ObservationFailed(self.trouble, f"the cluster is in trouble: {self.trouble}")
        return Observation(at=self.clock.now(), deployments=dict(self.deployments))

    async def set_allocations(self, deployment_id: str, allocations: int) -> None:
        self.asked.append((deployment_id, allocations))
        self.clock.pass_by(self.latency_s)
        if (fate := self.refusals.get(deployment_id)) is not None:
            raise UpdateFailed(fate, f"no: {fate}")
        if deployment_id not in self.deployments:
            raise UpdateFailed(Fate.GONE, f"{deployment_id} does not exist")
        self.deployments[deployment_id] = replace(
            self.deployments[deployment_id], allocations=allocations, target_allocations=allocations
        )


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
