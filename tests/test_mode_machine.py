"""Random events in random order, with both built-in policies: allocations stay within their bounds,
adaptive allocations are never half configured, and every stopped deployment can be resumed."""

import asyncio

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant
from hypothesis.stateful import rule as step
from msgspec.structs import replace

from autoscaler.control_loop import ControlLoop
from autoscaler.core.decision import Mode, OutcomeKind, SetAllocations, SetBounds, Start, Stop
from autoscaler.core.policies import UtilisationPolicy
from autoscaler.core.selection import OnExit, ScaleToZero, ZeroMethod
from autoscaler.core.slo.policy import SloPolicy
from autoscaler.core.state import State
from autoscaler.core.values import AdaptiveAllocations, Cluster, NodeCapacity
from autoscaler.ports import FailureKind, UpdateFailed
from tests.fakes import FakeClock, FakeCluster, FakeStateStore, ListRecorder
from tests.observations import deployment, node, policy, rule

pytestmark = pytest.mark.untraced

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
policies = st.sampled_from([UtilisationPolicy(target=0.7, load_window_s=60.0), SloPolicy()])
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
        OutcomeKind.UNRECOGNISED,
        OutcomeKind.INVALID,
    ]
)


class ServingCluster(FakeCluster):
    """A fake cluster whose nodes run the requested allocations, and serve all requests."""

    def __init__(self, clock, state_store, *deployments):
        super().__init__(clock, *deployments)
        self.state_store = state_store
        self.rates = dict.fromkeys(NAMES, 0.0)
        self.silent = set()  # deployments whose changes take effect without a response
        self.cluster = Cluster(nodes=(NodeCapacity(node_id="n1", name="n1", version="9.4.0"),))

    async def carry_out(self, deployment_id, change, **_):
        if isinstance(change, Stop):
            assert deployment_id in self.state_store.saved[-1], "before it is stopped"
        await super().carry_out(deployment_id, change)
        if deployment_id in self.silent:
            raise UpdateFailed(OutcomeKind.UNKNOWN, "the response was lost")

    async def observe(self):
        for name, stats in self.deployments.items():
            self.deployments[name] = self._served(stats)
        return replace(await super().observe(), cluster=self.cluster)

    def _served(self, stats):
        allocations, rate = stats.allocations, self.rates[stats.deployment_id]
        adaptive = stats.adaptive
        if allocations == 0 and rate > 0.0:
            allocations = 1  # the first request scales it up
        if adaptive is not None and adaptive.enabled:
            low, high = adaptive.minimum or 0, adaptive.maximum or 32
            allocations = min(max(allocations, low), high)
        before = stats.nodes[0].completed if stats.nodes else 0
        completed = before + round(rate * POLL_S)
        serving = (node(allocations=allocations, completed=completed),) if allocations else ()
        return replace(
            stats,
            allocations=allocations,
            target_allocations=allocations,
            running_allocations=allocations,
            completed=0,
            nodes=serving,
        )


def fresh(name):
    return deployment(node(allocations=2), deployment_id=name, model_id="elser")


class ModeMachine(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.runner = asyncio.Runner()
        self.clock = FakeClock(start=1_000_000.0)
        self.state_store, self.settings = FakeStateStore(), {name: {} for name in NAMES}
        self.world = ServingCluster(self.clock, self.state_store, *map(fresh, NAMES))
        self.stopped_by_another_client = set()
        self.checked_changes = 0

    @initialize(one=modes, two=modes)
    def it_begins(self, one, two):
        self.settings = {NAMES[0]: one, NAMES[1]: two | {"policy": SloPolicy()}}
        self.restart({})

    def restart(self, stopped):
        self.recorder = ListRecorder()
        self.loop = ControlLoop(
            clock=self.clock,
            observer=self.world,
            actuator=self.world,
            recorder=self.recorder,
            ruleset=self.policy(),
            state_store=self.state_store,
            state=State(stopped=stopped),
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

    def recorded(self):
        return self.state_store.saved[-1] if self.state_store.saved else {}

    def for_cycles(self, count, every_s=POLL_S):
        for _ in range(count):
            self.clock.pass_by(every_s)
            self.runner.run(self.loop.run_cycle())

    # The daemon

    @step(count=st.integers(1, 40))
    def time_passes(self, count):
        self.for_cycles(count)

    @step(name=names, mode=modes, on_exit=exits, built_in=policies)
    def it_is_configured(self, name, mode, on_exit, built_in):
        self.settings[name] = mode | {"on_exit": on_exit, "policy": built_in}
        self.loop.ruleset = self.policy()

    @step()
    def it_is_killed(self):
        self.restart(self.recorded())

    @step()
    def it_ends_and_is_started_again(self):
        self.runner.run(self.loop.release_all())
        self.restart(self.recorded())

    @step(name=names)
    def it_is_resumed(self, name):
        assert self.loop.resume(name) == (name in self.loop.state.stopped)

    # The cluster and its other clients

    @step(name=names, rate=st.sampled_from([0.0, 0.0, 20.0, 400.0]))
    def the_load_changes(self, name, rate):
        self.world.rates[name] = rate

    @step(
        name=names, enabled=st.booleans(), bounds=st.sampled_from([(None, None), (0, 2), (9, 12)])
    )
    def another_client_sets_adaptive_allocations(self, name, enabled, bounds):
        if name in self.world.deployments:
            adaptive = AdaptiveAllocations(enabled=enabled, minimum=bounds[0], maximum=bounds[1])
            stats = self.world.deployments[name]
            self.world.deployments[name] = replace(stats, adaptive=adaptive)

    @step(name=names, allocations=st.integers(1, 12))
    def another_client_sets_allocations(self, name, allocations):
        stats = self.world.deployments.get(name)
        if stats is not None and not (stats.adaptive and stats.adaptive.enabled):
            self.world.deployments[name] = replace(stats, allocations=allocations)

    @step(name=names)
    def another_client_stops_it(self, name):
        gone = self.world.deployments.pop(name, None)
        # A deployment that runs only between two polls counts as stopped all the time.
        if gone is not None and name not in self.loop.state.stopped:
            self.stopped_by_another_client.add(name)

    @step(name=names)
    def another_client_starts_it(self, name):
        if name not in self.world.deployments:
            created = replace(fresh(name), server_created_at=self.clock.now())
            self.world.deployments[name] = created
            self.stopped_by_another_client.discard(name)

    @step(name=names, kind=refusals)
    def the_cluster_refuses(self, name, kind):
        self.world.refusals[name] = kind

    @step(name=names)
    def responses_are_lost(self, name):
        self.world.silent.add(name)

    @step(kind=st.sampled_from(FailureKind))
    def the_statistics_fail(self, kind):
        self.world.kind = kind

    @step()
    def all_faults_end(self):
        self.world.kind, self.world.refusals, self.state_store.full = None, {}, False
        self.world.silent.clear()

    @step()
    def the_disk_is_full(self):
        self.state_store.full = True

    # Invariants

    @invariant()
    def changes_are_within_the_bounds(self):
        for name, change in self.world.changes[self.checked_changes :]:
            match change:
                case SetAllocations(allocations=allocations):
                    most = max(MAXIMUM, 12)  # a release to the floor never decreases
                    assert MINIMUM <= allocations <= most
                case SetBounds(minimum=low, maximum=high):
                    assert (MINIMUM if not self.settings[name].get("zero") else 0) <= low
                    assert max(low, 1) <= high <= MAXIMUM
                case Start():
                    assert name not in self.stopped_by_another_client
                    assert MINIMUM <= change.allocations <= 12
        self.checked_changes = len(self.world.changes)

    @invariant()
    def stopped_deployments_are_recorded(self):
        for name in self.world.stopped:
            if name not in self.world.deployments and name not in self.stopped_by_another_client:
                assert name in self.recorded()

    def teardown(self):
        """After the last fault, every deployment reaches its configured state."""
        try:
            self.all_faults_end()
            self.for_cycles(80, every_s=50.0)  # back-offs last up to an hour
            for name in list(self.loop.state.stopped):
                assert self.loop.resume(name)
            self.world.rates = dict.fromkeys(NAMES, 20.0)
            self.for_cycles(20)
            decisions = {d.deployment_id: d for d in self.recorder.plans[-1].decisions}
            for name in NAMES:
                if name in self.stopped_by_another_client:
                    assert name not in self.world.deployments
                elif name in self.loop.state.stopped:
                    assert decisions[name].dry_run  # a dry run does not start it
                else:
                    self.is_in_order(name, decisions[name])
        finally:
            self.runner.close()

    def is_in_order(self, name, decision):
        stats = self.world.deployments[name]
        adaptive = stats.adaptive if stats.adaptive and stats.adaptive.enabled else None
        if decision.externally_controlled or decision.dry_run:
            return
        assert decision.change is None
        if self.settings[name].get("mode") is Mode.BOUNDS:
            assert adaptive is not None
            assert MINIMUM <= adaptive.minimum <= adaptive.maximum <= MAXIMUM
        else:
            assert adaptive is None
        assert MINIMUM <= stats.allocations <= MAXIMUM


TestModeMachine = ModeMachine.TestCase
TestModeMachine.settings = settings(
    max_examples=8,
    stateful_step_count=15,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
