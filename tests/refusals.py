"""A daemon whose changes always end in the same way, for two hours of cycles."""

import asyncio

from msgspec.structs import replace

from autoscaler.control_loop import ControlLoop
from autoscaler.core.decision import Mode, OutcomeKind
from autoscaler.core.selection import ScaleToZero, ZeroMethod
from autoscaler.core.state import State, StoppedDeployment
from autoscaler.core.values import (
    AdaptiveAllocations,
    Cluster,
    NodeCapacity,
)
from autoscaler.ports import UpdateFailed
from tests.fakes import FakeClock, FakeCluster, FakeStateStore, ListRecorder
from tests.observations import deployment, node, policy, rule

POLL_S = 10.0
HOURS_S = 7200.0
NAME = "elser"
AFTER_S = 60.0
ZERO = ScaleToZero(AFTER_S, ZeroMethod.STOP)
REFUSED = (
    OutcomeKind.NO_CAPACITY,
    OutcomeKind.NOT_STARTED,
    OutcomeKind.ADAPTIVE_ENABLED,
    OutcomeKind.UNSUPPORTED,
    OutcomeKind.ENDPOINT_OWNED,
    OutcomeKind.IN_USE,
    OutcomeKind.GONE,
    OutcomeKind.FORBIDDEN,
    OutcomeKind.UNKNOWN,
    OutcomeKind.UNRECOGNISED,
    OutcomeKind.INVALID,
    *[kind for kind in OutcomeKind if kind == "blocked"],
)


class StubbornCluster(FakeCluster):
    """A cluster that runs the requested allocations and refuses every change with the same kind.

    Args:
        kind: of the outcome of every change; None: accepted.
        effective: whether accepted changes take effect.
    """

    def __init__(self, clock, *deployments, kind=None, effective=True):
        super().__init__(clock, *deployments)
        self.always, self.effective = kind, effective
        self.calls = 0
        self.rate = 20.0
        self.after_call = lambda: None
        self.before_poll = lambda: None
        self.nodes = Cluster(
            nodes=(NodeCapacity(node_id="n1", name="n1", version="9.3.0", processors=64.0),)
        )

    async def observe(self):
        self.before_poll()
        for name, stats in self.deployments.items():
            self.deployments[name] = self._served(stats)
        return replace(await super().observe(), cluster=self.nodes)

    async def carry_out(self, deployment_id, change, **_):
        if deployment_id == NAME:
            self.calls += 1
            if self.always is not None:
                self.changes.append((deployment_id, change))
                raise UpdateFailed(self.always, f"no: {self.always}")
            if not self.effective:
                self.changes.append((deployment_id, change))
                return
        await super().carry_out(deployment_id, change)
        self.after_call()

    def _served(self, stats):
        allocations = stats.allocations or 0
        before = stats.nodes[0].completed if stats.nodes else 0
        rate = self.rate if allocations else 0.0
        served = node(allocations=allocations, completed=before + round(rate * POLL_S))
        return replace(
            stats,
            running_allocations=allocations,
            target_allocations=allocations,
            nodes=(served,) if allocations else (),
        )


def daemon(cluster, *rules, stopped=None):
    return ControlLoop(
        clock=cluster.clock,
        observer=cluster,
        actuator=cluster,
        recorder=ListRecorder(),
        ruleset=policy(*rules),
        state_store=FakeStateStore(),
        state=State(stopped=stopped or {}),
    )


def run(cluster, *loops, seconds=HOURS_S):
    """Cycles of all daemons, one after the other in each poll interval."""

    async def cycles():
        until = cluster.clock.now() + seconds
        while cluster.clock.now() < until:
            for loop in loops:
                cluster.clock.pass_by(POLL_S / len(loops))
                await loop.run_cycle()

    asyncio.run(cycles())
    return cluster.calls


def deployed(allocations, name=NAME, **given):
    serving = (node(allocations=allocations),) if allocations else ()
    return deployment(*serving, **{"deployment_id": name, "allocations": allocations} | given)


def cluster_of(allocations, *others, **given):
    settings = {key: given.pop(key) for key in ("kind", "effective") if key in given}
    clock = FakeClock(start=1_000_000.0)
    return StubbornCluster(clock, deployed(allocations, **given), *others, **settings)


def refused_increase(kind):
    cluster = cluster_of(1, kind=kind)
    return run(cluster, daemon(cluster, rule(min_allocations=3, stabilisation_window_s=0.0)))


def refused_decrease(kind):
    cluster = cluster_of(9, kind=kind)
    return run(cluster, daemon(cluster, rule(max_allocations=4, stabilisation_window_s=0.0)))


def refused_bounds(kind):
    cluster = cluster_of(
        2, kind=kind, adaptive=AdaptiveAllocations(enabled=True, minimum=2, maximum=9)
    )
    return run(cluster, daemon(cluster, rule(mode=Mode.BOUNDS, max_allocations=4)))


def refused_start(kind):
    cluster = cluster_of(2, kind=kind)
    stats = cluster.deployments.pop(NAME)
    cluster.models.add(stats.model_id)
    stopped = {NAME: StoppedDeployment(stats=stats, since=cluster.clock.now())}
    loop = daemon(cluster, rule(zero=ZERO), stopped=stopped)
    loop.resume(NAME)
    return run(cluster, loop)


def refused_stop(kind):
    cluster = cluster_of(2, kind=kind)
    cluster.rate = 0.0
    return run(cluster, daemon(cluster, rule(zero=ZERO)))


def beside_a_flapping_neighbour():
    """A neighbour that is not managed has another number of allocations at each poll."""
    neighbour = deployed(4, name="neighbour")
    cluster = cluster_of(1, neighbour, kind=OutcomeKind.NO_CAPACITY)

    def flap():
        stats = cluster.deployments["neighbour"]
        other = 5 if stats.allocations == 4 else 4
        cluster.deployments["neighbour"] = replace(stats, allocations=other)

    cluster.before_poll = flap
    rules = (rule(name="x", deployments=("neighbour",), exclude=True), rule(min_allocations=3))
    return run(cluster, daemon(cluster, *rules))


def take_over_at_zero():
    adaptive = AdaptiveAllocations(enabled=True, minimum=0, maximum=4)
    cluster = cluster_of(0, kind=OutcomeKind.NO_CAPACITY, adaptive=adaptive)
    return run(cluster, daemon(cluster, rule(take_over=True)))


def without_effect(change):
    if change == "bounds":
        adaptive = AdaptiveAllocations(enabled=True, minimum=2, maximum=9)
        cluster = cluster_of(2, effective=False, adaptive=adaptive)
        return run(cluster, daemon(cluster, rule(mode=Mode.BOUNDS, max_allocations=4)))
    if change == "stop":
        cluster = cluster_of(2, effective=False)
        cluster.rate = 0.0
        return run(cluster, daemon(cluster, rule(zero=ZERO)))
    if change == "start":
        cluster = cluster_of(2, effective=False)
        stats = cluster.deployments.pop(NAME)
        stopped = {NAME: StoppedDeployment(stats=stats, since=cluster.clock.now())}
        loop = daemon(cluster, rule(zero=ZERO), stopped=stopped)
        loop.resume(NAME)
        return run(cluster, loop)
    cluster = cluster_of(1, effective=False)
    return run(cluster, daemon(cluster, rule(min_allocations=3)))


def put_back(before_the_next_poll):
    """Another client puts the number back, before the next poll or after it."""
    cluster = cluster_of(1)
    waits = []

    def restore():
        stats = cluster.deployments[NAME]
        if stats.allocations != 1:
            waits.append(1)
            if before_the_next_poll or len(waits) % 2 == 0:
                cluster.deployments[NAME] = replace(stats, allocations=1)

    cluster.before_poll = restore
    return run(cluster, daemon(cluster, rule(min_allocations=3)))


def two_daemons():
    cluster = cluster_of(1)
    cluster.rate = 2.0
    four, eight = (rule(min_allocations=most, max_allocations=most) for most in (4, 8))
    return run(cluster, daemon(cluster, four), daemon(cluster, eight))


SCENARIOS = {
    "an increase": refused_increase,
    "a decrease": refused_decrease,
    "bounds": refused_bounds,
    "a start": refused_start,
    "a stop": refused_stop,
}
"""Each returns the number of calls in two hours."""

OTHERS = {
    "refused beside a flapping neighbour": beside_a_flapping_neighbour,
    "a take-over at zero": take_over_at_zero,
    "allocations without effect": lambda: without_effect("allocations"),
    "bounds without effect": lambda: without_effect("bounds"),
    "a stop without effect": lambda: without_effect("stop"),
    "a start without effect": lambda: without_effect("start"),
    "put back before the next poll": lambda: put_back(True),
    "put back after the next poll": lambda: put_back(False),
    "two daemons": two_daemons,
}


if __name__ == "__main__":  # the table: python -m tests.refusals
    for refused in REFUSED:
        calls = ", ".join(f"{each(refused)} ({name})" for name, each in SCENARIOS.items())
        print(f"{refused:17} {calls}")
    for name, each in OTHERS.items():
        print(f"{each():4} {name}")
