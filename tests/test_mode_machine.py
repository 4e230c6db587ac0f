"""Whatever happens, in whatever order: numbers stay in their bounds, the cluster's own scaler is
never left half-configured, and nothing sleeps that nobody will wake."""

import asyncio

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant
from hypothesis.stateful import rule as step
from msgspec.structs import replace

from autoscaler.control_loop import ControlLoop
from autoscaler.core.selection import OnExit, ScaleToZero, ZeroMethod
from autoscaler.core.state import State
from autoscaler.core.values import (
    AdaptiveAllocations,
    Cluster,
    Mode,
    NodeCapacity,
    OutcomeKind,
    SetAllocations,
    SetBounds,
    Start,
    Stop,
)
from autoscaler.ports import FailureKind, UpdateFailed
from tests.fakes import FakeBedside, FakeClock, FakeCluster, ListRecorder
from tests.observations import deployment, node, policy, rule

POLL_S = 10.0
NAMES = ("elser", "elser-search")
MINIMUM, MAXIMUM, SAFE = 1, 6, 3
AFTER_S = 120.0

names = st.sampled_from(NAMES)
modes = st.sampled_from(
    [
        {"mode": Mode.DIRECT},
        {"mode": Mode.DIRECT, "take_over": True},
        {"mode": Mode.DIRECT, "zero": ScaleToZero(AFTER_S, ZeroMethod.STOP)},
        {"mode": Mode.DIRECT, "take_over": True, "zero": ScaleToZero(AFTER_S, ZeroMethod.STOP)},
        {"mode": Mode.BOUNDS},
        {"mode": Mode.BOUNDS, "zero": ScaleToZero(AFTER_S, ZeroMethod.ADAPTIVE)},
        {"mode": Mode.BOUNDS, "zero": ScaleToZero(AFTER_S, ZeroMethod.STOP)},
        {"mode": Mode.DIRECT, "dry_run": True},
    ]
)
exits = st.sampled_from(OnExit)
refusals = st.sampled_from(
    [
        OutcomeKind.NO_CAPACITY,
        OutcomeKind.NOT_STARTED,
        OutcomeKind.ADAPTIVE_ENABLED,
        OutcomeKind.UNSUPPORTED,
        OutcomeKind.ENDPOINT_OWNED,
        OutcomeKind.IN_USE,
        OutcomeKind.FORBIDDEN,
        OutcomeKind.UNKNOWN,
        OutcomeKind.INVALID,
    ]
)


class Living(FakeCluster):
    """Whose nodes follow the requested number, and serve what is asked of them."""

    def __init__(self, clock, bedside, *deployments):
        super().__init__(clock, *deployments)
        self.bedside = bedside
        self.rates = dict.fromkeys(NAMES, 0.0)
        self.silent = set()  # whose changes are carried out, and the answer is lost
        self.cluster = Cluster(nodes=(NodeCapacity(node_id="n1", name="n1", version="9.3.0"),))

    async def carry_out(self, deployment_id, change):
        if isinstance(change, Stop):
            assert deployment_id in self.bedside.kept[-1], "before it is stopped"
        await super().carry_out(deployment_id, change)
        if deployment_id in self.silent:
            raise UpdateFailed(OutcomeKind.UNKNOWN, "the answer was lost")

    async def observe(self):
        for name, stats in self.deployments.items():
            self.deployments[name] = self._served(stats)
        return replace(await super().observe(), cluster=self.cluster)

    def _served(self, stats):
        number, rate = stats.allocations, self.rates[stats.deployment_id]
        native = stats.adaptive
        if number == 0 and rate > 0.0:
            number = 1  # the first request wakes it
        if native is not None and native.enabled:
            low, high = native.minimum or 0, native.maximum or 32
            number = min(max(number, low), high)
        before = stats.nodes[0].completed if stats.nodes else 0
        completed = before + round(rate * POLL_S)
        serving = (node(allocations=number, completed=completed),) if number else ()
        return replace(
            stats,
            allocations=number,
            target_allocations=number,
            running_allocations=number,
            completed=0,
            nodes=serving,
        )


def fresh(name):
    return deployment(node(allocations=2), deployment_id=name, model_id="elser")


class Levers(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.runner = asyncio.Runner()
        self.clock = FakeClock(start=1_000_000.0)
        self.bedside, self.settings = FakeBedside(), {name: {} for name in NAMES}
        self.world = Living(self.clock, self.bedside, *map(fresh, NAMES))
        self.stopped_by_hand = set()
        self.asked_before = 0

    @initialize(one=modes, two=modes)
    def it_begins(self, one, two):
        self.settings = dict(zip(NAMES, (one, two), strict=True))
        self.restart({})

    def restart(self, asleep):
        self.recorder = ListRecorder()
        self.loop = ControlLoop(
            clock=self.clock,
            observer=self.world,
            actuator=self.world,
            recorder=self.recorder,
            ruleset=self.policy(),
            poll_interval_s=POLL_S,
            state_store=self.bedside,
            state=State(stopped=asleep),
        )

    def policy(self):
        rules = [
            rule(
                name=name,
                deployments=(name,),
                min_allocations=MINIMUM,
                max_allocations=MAXIMUM,
                safe_allocations=SAFE,
                stabilisation_window_s=30.0,
                **self.settings[name],
            )
            for name in NAMES
        ]
        return policy(*rules)

    def written_down(self):
        return self.bedside.kept[-1] if self.bedside.kept else {}

    def for_cycles(self, count, every_s=POLL_S):
        for _ in range(count):
            self.clock.pass_by(every_s)
            self.runner.run(self.loop.run_cycle())

    # What the autoscaler does, and what is done to it.

    @step(count=st.integers(1, 40))
    def time_passes(self, count):
        self.for_cycles(count)

    @step(name=names, mode=modes, on_exit=exits)
    def it_is_configured(self, name, mode, on_exit):
        self.settings[name] = mode | {"on_exit": on_exit}
        self.loop.ruleset = self.policy()

    @step()
    def it_is_killed(self):
        self.restart(self.written_down())

    @step()
    def it_ends_and_is_started_again(self):
        self.runner.run(self.loop.release_all())
        self.restart(self.written_down())

    @step(name=names)
    def it_is_asked_to_wake(self, name):
        assert self.loop.resume(name) == (name in self.loop.state.stopped)

    # What others do.

    @step(name=names, rate=st.sampled_from([0.0, 0.0, 20.0, 400.0]))
    def the_load_changes(self, name, rate):
        self.world.rates[name] = rate

    @step(
        name=names, enabled=st.booleans(), bounds=st.sampled_from([(None, None), (0, 2), (9, 12)])
    )
    def somebody_moves_the_other_lever(self, name, enabled, bounds):
        if name in self.world.deployments:
            native = AdaptiveAllocations(enabled=enabled, minimum=bounds[0], maximum=bounds[1])
            stats = self.world.deployments[name]
            self.world.deployments[name] = replace(stats, adaptive=native)

    @step(name=names, number=st.integers(1, 12))
    def somebody_sets_a_number(self, name, number):
        stats = self.world.deployments.get(name)
        if stats is not None and not (stats.adaptive and stats.adaptive.enabled):
            self.world.deployments[name] = replace(stats, allocations=number)

    @step(name=names)
    def somebody_stops_it(self, name):
        gone = self.world.deployments.pop(name, None)
        # One that was started and stopped between two looks has slept all along, for all we know.
        if gone is not None and name not in self.loop.state.stopped:
            self.stopped_by_hand.add(name)

    @step(name=names)
    def somebody_starts_it(self, name):
        if name not in self.world.deployments:
            created = replace(fresh(name), server_created_at=self.clock.now())
            self.world.deployments[name] = created
            self.stopped_by_hand.discard(name)

    @step(name=names, fate=refusals)
    def the_cluster_refuses(self, name, fate):
        self.world.refusals[name] = fate

    @step(name=names)
    def answers_are_lost(self, name):
        self.world.silent.add(name)

    @step(trouble=st.sampled_from(FailureKind))
    def the_cluster_is_in_trouble(self, trouble):
        self.world.kind = trouble

    @step()
    def all_is_well_again(self):
        self.world.kind, self.world.refusals, self.bedside.full = None, {}, False
        self.world.silent.clear()

    @step()
    def the_disk_is_full(self):
        self.bedside.full = True

    # What must hold at any time.

    @invariant()
    def nothing_is_asked_for_beyond_the_bounds(self):
        for name, change in self.world.changes[self.asked_before :]:
            match change:
                case SetAllocations(allocations=number):
                    most = max(MAXIMUM, 12)  # a safe number is never a decrease
                    assert MINIMUM <= number <= most
                case SetBounds(minimum=low, maximum=high):
                    assert (MINIMUM if not self.settings[name].get("zero") else 0) <= low
                    assert max(low, 1) <= high <= MAXIMUM
                case Start():
                    assert name not in self.stopped_by_hand
                    assert MINIMUM <= change.allocations <= 12
        self.asked_before = len(self.world.changes)

    @invariant()
    def whatever_was_stopped_is_written_down(self):
        for name in self.world.stopped:
            if name not in self.world.deployments and name not in self.stopped_by_hand:
                assert name in self.written_down()

    def teardown(self):
        """When all is well again, everything is as it should be within minutes."""
        try:
            self.all_is_well_again()
            self.for_cycles(80, every_s=50.0)  # refusals are waited for up to an hour
            for name in list(self.loop.state.stopped):
                assert self.loop.resume(name)
            self.world.rates = dict.fromkeys(NAMES, 20.0)
            self.for_cycles(20)
            decisions = {d.deployment_id: d for d in self.recorder.plans[-1].decisions}
            for name in NAMES:
                if name in self.stopped_by_hand:
                    assert name not in self.world.deployments
                elif name in self.loop.state.stopped:
                    assert decisions[name].dry_run  # it would be started
                else:
                    self.is_in_order(name, decisions[name])
        finally:
            self.runner.close()

    def is_in_order(self, name, decision):
        stats = self.world.deployments[name]
        native = stats.adaptive if stats.adaptive and stats.adaptive.enabled else None
        if decision.externally_controlled or decision.dry_run:
            return
        assert decision.change is None
        if self.settings[name].get("mode") is Mode.BOUNDS:
            assert native is not None
            assert MINIMUM <= native.minimum <= native.maximum <= MAXIMUM
        else:
            assert native is None
        assert MINIMUM <= stats.allocations <= MAXIMUM


TestLevers = Levers.TestCase
TestLevers.settings = settings(
    max_examples=8,
    stateful_step_count=15,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
