"""Pitfalls of an external autoscaler, which the daemon avoids.

Tested elsewhere, or impossible for this daemon:

endpoint-owned deployments, 409 not started, lost responses,
    upgrade mode, mixed versions, licence, lasting lack of capacity ..... test_errors.py
statistics without a `node` (serverless) ......................... not emulated: tests/wire
totals that wrap around .......................................... tests/core/test_sampling.py
changing threads, queue, cache or priority; stopping, starting ... the daemon never does it
limiting increases over the whole cluster ........................ updates are sent in sequence
"""

import itertools

import pytest

from autoscaler.adapters.elasticsearch.cluster import ElasticsearchCluster
from autoscaler.connection import ApiKey
from autoscaler.control_loop import ControlLoop
from autoscaler.core.decision import OutcomeKind, Unmanaged
from autoscaler.core.flow.measurement import STALL_LIMIT_S
from autoscaler.core.values import DataIssue, Reason
from autoscaler.simulation.emulator.security import Security, User
from autoscaler.simulation.loads import OnOff, Spike, Steady
from autoscaler.simulation.scenario import (
    Account,
    ScenarioDeployment,
    ScenarioModel,
    ScenarioNode,
    SecuritySettings,
)
from autoscaler.simulation.specs import NodeSpec
from autoscaler.simulation.workload import Arrival
from tests.end_to_end.world import (
    STATS,
    CheckedRecorder,
    both_policies,
    scenario,
    with_policy,
    world_of,
)
from tests.observations import policy, rule

pytestmark = pytest.mark.untraced

IMPATIENT = policy(rule(stabilisation_window_s=0.0))
"""Scales down as soon as possible, so that only other constraints can hold the allocations."""


def busy(model_id="a", *, allocations=4, rate_per_s=50.0, **settings):
    """Fifty requests per second of 50 ms each need four allocations, with a small reserve."""
    return ScenarioDeployment(
        model_id=model_id,
        number_of_allocations=allocations,
        load=Steady(rate_per_s=rate_per_s) if rate_per_s else None,
        **settings,
    )


def small_nodes(count, processors=2):
    return [ScenarioNode(name=f"ml-{i}", processors=processors) for i in range(1, count + 1)]


# Ownership


async def test_adaptive_allocations_hold_the_deployment_until_they_are_disabled():
    async with world_of(scenario(busy(allocations=1))) as world:
        await world.cycles(4)
        assert world.updates_of("a") == [4]
        world.set_adaptive(
            "a", enabled=True, min_number_of_allocations=2, max_number_of_allocations=2
        )
        during = await world.cycles(20)
        assert world.requested("a") == 2
        assert {cycle.decision("a").reason for cycle in during} == {Reason.ADAPTIVE_ENABLED}
        assert world.updates_of("a") == [4]
        world.set_adaptive("a", enabled=False)
        await world.run_until(lambda _: world.requested("a") >= 4, within_s=60.0)
        await world.cycles(60)
        assert world.requested("a") == 4


@both_policies
async def test_two_daemons_by_mistake_do_no_more_than_one(built_in):
    async with world_of(scenario(busy(allocations=1)), with_policy(policy(), built_in)) as world:
        cluster = ElasticsearchCluster(world.loop.observer._api, world.clock)
        second = ControlLoop(
            clock=world.clock,
            observer=cluster,
            actuator=cluster,
            recorder=CheckedRecorder(),
            ruleset=world.loop.ruleset,
        )
        for _ in range(60):
            await world.clock.run(second.run_cycle())
            await world.cycle()
        assert world.requested("a") == 4
        assert world.deployment("a").ledger.changes <= 2


async def test_hidden_deployments_are_not_managed():
    hidden = ScenarioDeployment(model_id=".elser", load=Steady(rate_per_s=80.0))
    async with world_of(scenario(hidden), policy(rule(min_allocations=2))) as world:
        (cycle,) = (await world.cycles(3))[-1:]
        assert cycle.plan.unmanaged == {".elser": Unmanaged.HIDDEN}
        assert world.updates == []


async def test_low_priority_deployments_are_not_managed():
    low = ScenarioDeployment(model_id="a", priority="low", load=Steady(rate_per_s=80.0))
    async with world_of(scenario(low), policy(rule(min_allocations=2))) as world:
        (cycle,) = (await world.cycles(3))[-1:]
        assert cycle.plan.unmanaged == {"a": Unmanaged.LOW_PRIORITY}
        assert world.updates == []


async def test_a_restarted_deployment_has_no_history():
    governed = policy(rule(stabilisation_window_s=120.0))
    async with world_of(scenario(busy(allocations=8)), governed) as world:
        await world.cycles(10)
        world.delete("a")
        world.cluster.start_deployment("a", number_of_allocations=6)
        first, *others = await world.cycles(10)
        assert DataIssue.FIRST_OBSERVATION in first.decision("a").sample.issues
        assert first.decision("a").load is None
        assert not any(cycle.decision("a").changes for cycle in others)
        await world.cycles(10)
        assert world.requested("a") < 6


# Reading


async def test_no_requests_is_not_busy():
    async with world_of(scenario(busy(allocations=4, rate_per_s=0.0)), IMPATIENT) as world:
        await world.cycles(2)
        second = await world.cycle()
        assert second.decision("a").load.offered_load == 0.0
        assert second.decision("a").load.service_time_s is None
        await world.cycles(4)
        assert world.requested("a") == 1


@both_policies
async def test_no_completed_request_is_not_idle(built_in):
    slow = [ScenarioModel(model_id="a", service_time_s=100.0, service_cv=0.0)]
    deployed = ScenarioDeployment(
        model_id="a", number_of_allocations=4, load=Steady(rate_per_s=2.0, timeout_s=300.0)
    )
    async with world_of(scenario(deployed, models=slow), with_policy(IMPATIENT, built_in)) as world:
        cycles = await world.cycles(6)
        assert {cycle.decision("a").reason for cycle in cycles[1:]} == {Reason.NOT_MEASURED}
        assert world.updates == []


async def test_a_deleted_deployment_does_not_hide_the_others():
    async with world_of(scenario(busy("a"), busy("b"))) as world:
        await world.cycles(3)
        world.delete("a")
        cycle = await world.cycle()
        assert list(cycle.observation.deployments) == ["b"]
        assert cycle.decision("b").sample.issues == ()


@pytest.mark.parametrize("models", [130, 1010])
async def test_models_beyond_the_first_page_are_read(models):
    many = [ScenarioModel(model_id=f"m-{i:04}") for i in range(models)]
    last = many[-1].model_id
    deployed = ScenarioDeployment(model_id=last)
    async with world_of(scenario(deployed, models=many), policy(rule(min_allocations=2))) as world:
        cycle = await world.cycle()
        assert cycle.kind(last) is OutcomeKind.ACCEPTED


@both_policies
async def test_a_node_that_leaves_takes_its_totals_and_not_the_load(built_in):
    nodes = small_nodes(3, processors=3)
    async with world_of(
        scenario(busy(allocations=4), nodes=nodes), with_policy(IMPATIENT, built_in)
    ) as world:
        await world.cycles(10)
        held = world.requested("a")
        assert len(world.deployment("a").routes) == 2
        world.cluster.remove_node(next(iter(world.deployment("a").routes)))
        after = await world.cycles(12)
        assert DataIssue.COUNTER_RESET in after[0].decision("a").sample.issues
        assert all(cycle.decision("a").desired >= held for cycle in after)
        rate = after[-1].decision("a").load.arrival_rate_per_s
        assert rate == pytest.approx(50.0, rel=0.15)


@pytest.mark.parametrize("responses", [1, 2, 5])
@both_policies
async def test_a_node_missing_from_some_responses_is_not_idle(responses, built_in):
    nodes = small_nodes(3, processors=4)
    async with world_of(
        scenario(busy(allocations=4), nodes=nodes), with_policy(IMPATIENT, built_in)
    ) as world:
        await world.cycles(10)
        held = world.requested("a")
        silent = next(iter(world.deployment("a").routes))
        world.faults.swallow(silent, responses)
        during = await world.cycles(responses)
        assert all(DataIssue.INCOMPLETE in cycle.decision("a").sample.issues for cycle in during)
        assert all(cycle.decision("a").desired >= held for cycle in during)
        after = (await world.cycle()).decision("a")
        assert after.sample.issues == ()
        # The requests meanwhile are counted when the node is back.
        assert after.sample.interval_s == pytest.approx(10.0 * (responses + 1))
        assert after.sample.arrivals == pytest.approx(500 * (responses + 1), rel=0.15)
        assert after.desired >= held


async def test_a_node_missing_for_long_holds_the_allocations():
    nodes = small_nodes(3, processors=4)
    idle = busy(allocations=8, rate_per_s=0.0)
    async with world_of(scenario(idle, nodes=nodes), IMPATIENT) as world:
        world.faults.swallow(next(iter(world.deployment("a").routes)), None)
        await world.cycles(60)
        assert world.updates == []
        world.faults.clear()
        await world.cycles(6)
        assert world.requested("a") == 1


@both_policies
async def test_a_process_that_crashes_was_not_idle(built_in):
    nodes = small_nodes(2, processors=3)
    async with world_of(
        scenario(busy(allocations=4), nodes=nodes), with_policy(IMPATIENT, built_in)
    ) as world:
        await world.cycles(10)
        held = world.requested("a")
        assert len(world.deployment("a").routes) == 2
        world.cluster.crash_process("a", next(iter(world.deployment("a").routes)))
        after = await world.cycles(12)
        assert any(
            DataIssue.COUNTER_RESET in cycle.decision("a").sample.issues for cycle in after[:2]
        )
        assert all(cycle.decision("a").desired >= held for cycle in after)
        assert after[-1].decision("a").load.arrival_rate_per_s == pytest.approx(50.0, rel=0.15)


async def test_a_load_jump_is_followed_before_the_last_minute_shows_it():
    jump = Spike(base_per_s=10.0, peak_per_s=80.0, after_s=600.0, for_s=600.0)
    deployed = ScenarioDeployment(model_id="a", load=jump)
    async with world_of(scenario(deployed)) as world:
        await world.run_for(600.0)
        assert world.updates == []
        cycle = await world.run_until(lambda cycle: cycle.decision("a").changes, within_s=30.0)
        assert cycle.at <= 610.0
        assert cycle.decision("a").desired in (5, 6, 7)
        shown = sum(n.throughput_last_minute for n in cycle.observation.deployments["a"].nodes)
        assert shown < 60.0 * 20.0


async def test_longer_requests_change_the_service_time():
    async with world_of(scenario(busy(allocations=4, rate_per_s=0.0))) as world:
        begin = world.cluster.now
        usual = (Arrival(begin + 0.1 * n, 1.0) for n in range(18_000))
        longer = (Arrival(begin + 1800.0 + 0.1 * n, 4.0) for n in range(1_800))
        world.cluster.drive("a", itertools.chain(usual, longer))
        (before,) = (await world.run_for(1800.0))[-1:]
        (after,) = (await world.run_for(120.0))[-1:]
        assert before.decision("a").load.service_time_s == pytest.approx(0.05, rel=0.05)
        assert after.decision("a").load.service_time_s == pytest.approx(0.2, rel=0.05)


@pytest.mark.parametrize(
    ("service_time_s", "hits", "rate_per_s"),
    [(0.05, 0.5, 60.0), (0.05, 0.9, 100.0), (0.0026, 0.0, 200.0), (0.0006, 0.0, 200.0)],
    ids=["half-cached", "mostly-cached", "milliseconds", "less-than-a-millisecond"],
)
async def test_cache_hits_and_whole_milliseconds_do_not_hide_work(service_time_s, hits, rate_per_s):
    model = ScenarioModel(
        model_id="a", service_time_s=service_time_s, service_cv=0.3, cache_hit_fraction=hits
    )
    deployed = busy(allocations=8, rate_per_s=rate_per_s)
    async with world_of(scenario(deployed, models=[model])) as world:
        (cycle,) = (await world.cycles(20))[-1:]
        work = rate_per_s * (1.0 - hits) * service_time_s
        assert cycle.decision("a").load.offered_load == pytest.approx(work, rel=0.25)


OVERLOADED = ScenarioModel(model_id="a", service_time_s=0.1, service_cv=1.5)
"""Far more work than five allocations can do: most callers time out."""


@both_policies
async def test_the_service_time_of_an_overload_is_not_that_of_the_served_requests(built_in):
    # Only completed requests are timed, and in an overload those are the fast ones.
    simulated = scenario(busy(allocations=5, rate_per_s=70.0), models=[OVERLOADED])
    async with world_of(simulated, with_policy(policy(rule(max_allocations=5)), built_in)) as world:
        (cycle,) = (await world.run_for(300.0))[-1:]
        load = cycle.decision("a").load
        assert cycle.decision("a").sample.failed > 300
        assert load.arrival_rate_per_s == pytest.approx(70.0, rel=0.1)
        assert load.offered_load == pytest.approx(7.0, rel=0.25)


@both_policies
async def test_a_lasting_overload_does_not_scale_down(built_in):
    simulated = scenario(busy(allocations=5, rate_per_s=70.0), models=[OVERLOADED])
    async with world_of(simulated, with_policy(policy(rule(max_allocations=5)), built_in)) as world:
        await world.run_for(1200.0)
        assert world.updates == []


async def test_a_constant_count_of_queued_requests_is_ignored_eventually():
    async with world_of(scenario(busy(allocations=4, rate_per_s=0.0)), IMPATIENT) as world:
        forever = Arrival(world.cluster.now + 1.0, 1e6)
        world.cluster.drive("a", iter([forever]), timeout_s=1e6)
        during = await world.run_for(STALL_LIMIT_S)
        assert DataIssue.STALLED in during[-1].decision("a").sample.issues
        assert world.updates == []
        await world.cycles(10)
        assert world.requested("a") == 1


class Skewed:
    """A clock with an offset."""

    def __init__(self, clock, by_s):
        self._clock, self._by_s = clock, by_s

    def now(self):
        return self._clock.now() + self._by_s

    async def sleep(self, seconds):
        await self._clock.sleep(seconds)


@pytest.mark.parametrize("by_s", [-86_400.0, 3.0, 31_536_000.0])
@both_policies
async def test_the_clocks_of_server_and_daemon_need_not_agree(by_s, built_in):
    async def story(skew_s):
        async with world_of(
            scenario(busy(allocations=1)), with_policy(policy(), built_in)
        ) as world:
            skewed = Skewed(world.clock, skew_s)
            world.loop.clock = world.loop.observer._clock = world.transport._clock = skewed
            return [cycle.text("a") for cycle in await world.cycles(20)]

    assert await story(by_s) == await story(0.0)


# Acting


async def test_an_accepted_update_is_not_complete():
    models = [ScenarioModel(model_id="a", service_time_s=0.05, load_s=45.0)]
    nodes = small_nodes(4)
    crowd = busy(allocations=1, rate_per_s=50.0)
    async with world_of(scenario(crowd, models=models, nodes=nodes)) as world:
        cycles = await world.cycles(12)
        news = [(cycle.at, text) for cycle in cycles for text in cycle.plan.completed_rollouts]
        sent_at, _, allocations = world.updates[0]
        at, text = news[0]
        assert allocations >= 4
        assert at >= sent_at + 45.0
        assert text.lead_time_s == pytest.approx(at - sent_at, abs=1.0)
        assert text.new_node
        # Until then there is no decrease, and no update is repeated.
        assert all(update.allocations >= allocations for update in world.updates)


async def test_no_decrease_while_a_node_is_loading():
    models = [ScenarioModel(model_id="a", service_time_s=0.05, service_cv=0.0, load_s=120.0)]
    jump = Spike(base_per_s=1.0, peak_per_s=80.0, after_s=30.0, for_s=30.0)
    deployed = ScenarioDeployment(model_id="a", load=jump)
    simulated = scenario(deployed, models=models, nodes=small_nodes(4))
    async with world_of(simulated, IMPATIENT) as world:
        cycles = await world.run_for(300.0)
        first = next(cycle for cycle in cycles if cycle.decision("a").changes)
        settling = [
            c for c in cycles if first.at < c.at and c.decision("a").reason is Reason.SETTLING
        ]
        assert settling
        lowered = [c.at for c in cycles if c.decision("a").desired < c.decision("a").current]
        assert min(lowered) > first.at + 120.0
        assert world.requested("a") == 1


@both_policies
async def test_after_a_refusal_fewer_are_requested_until_a_node_joins(built_in):
    # This version does not report whether hardware may grow: only an update shows it.
    deployed, nodes = busy(allocations=1, rate_per_s=110.0), small_nodes(1, processors=6)
    async with world_of(
        scenario(deployed, nodes=nodes, version="8.12"), with_policy(policy(), built_in)
    ) as world:
        cycles = await world.run_for(200.0)
        assert any(cycle.kind("a") is OutcomeKind.NO_CAPACITY for cycle in cycles)
        assert world.requested("a") == 6, "the maximum that fits is found"
        refused = [c for c in cycles if c.kind("a") is OutcomeKind.NO_CAPACITY]
        assert len(refused) <= 4
        quiet = await world.run_for(100.0)
        assert not any(cycle.kind("a") is OutcomeKind.NO_CAPACITY for cycle in quiet)
        world.cluster.add_node(NodeSpec(node_id="ml-2", name="ml-2", processors=8))
        await world.run_until(lambda _: world.requested("a") >= 8, within_s=90.0)


@both_policies
async def test_allocations_that_do_not_fit_are_not_requested_until_a_node_joins(built_in):
    nodes = small_nodes(1, processors=6)
    async with world_of(
        scenario(busy(allocations=1, rate_per_s=110.0), nodes=nodes),
        with_policy(policy(), built_in),
    ) as world:
        cycles = await world.run_for(200.0)
        assert world.requested("a") == 6
        assert cycles[-1].decision("a").reason is Reason.FIT
        assert not any(cycle.kind("a") is OutcomeKind.NO_CAPACITY for cycle in cycles)
        world.cluster.add_node(NodeSpec(node_id="ml-2", name="ml-2", processors=8))
        await world.run_until(lambda _: world.requested("a") >= 8, within_s=90.0)


async def test_a_refused_update_is_repeated_when_capacity_becomes_free():
    # Eight processors: `b` has six of them, and `a` needs four.
    both = (busy("a", allocations=1), busy("b", allocations=6, rate_per_s=0.0))
    governed = policy(
        rule(name="b", deployments=("b",), stabilisation_window_s=120.0, min_allocations=1), rule()
    )
    simulated = scenario(*both, nodes=small_nodes(1, processors=8))
    async with world_of(simulated, governed) as world:
        await world.run_for(100.0)
        assert world.requested("a") == 2
        await world.run_for(120.0)
        assert world.requested("a") >= 4


async def test_free_processors_on_different_nodes_are_not_requested():
    # Two processors are free on each node, and one allocation takes four.
    deployed = busy(allocations=1, rate_per_s=60.0, threads_per_allocation=4)
    others = busy("b", allocations=2, rate_per_s=0.0, threads_per_allocation=2)
    nodes = [ScenarioNode(name="ml-1", processors=6), ScenarioNode(name="ml-2", processors=2)]
    governed = policy(rule(name="b", deployments=("b",), exclude=True), rule(min_allocations=2))
    async with world_of(scenario(deployed, others, nodes=nodes), governed) as world:
        await world.run_for(290.0)
        assert world.requested("a") == 1
        assert world.updates_of("a") == []


@both_policies
async def test_growing_hardware_does_not_exceed_the_bounds(built_in):
    governed = policy(rule(max_allocations=12))
    deluge = busy(allocations=1, rate_per_s=1000.0)
    simulated = scenario(deluge, nodes=small_nodes(1), can_grow=True)
    async with world_of(simulated, with_policy(governed, built_in)) as world:
        await world.run_for(300.0)
        assert world.requested("a") == 12
        assert max(world.updates_of("a")) == 12
        assert world.deployment("a").running == 2


async def test_a_burst_is_scaled_down_in_few_steps():
    burst = Spike(base_per_s=10.0, peak_per_s=150.0, after_s=60.0, for_s=120.0)
    async with world_of(scenario(ScenarioDeployment(model_id="a", load=burst))) as world:
        await world.run_for(1800.0)
        downs = [n for b, n in itertools.pairwise(world.updates_of("a")) if n < b]
        assert world.requested("a") == 1
        assert len(downs) <= 6


@both_policies
async def test_idle_for_an_hour_is_one_allocation_and_never_zero(built_in):
    async with world_of(
        scenario(busy(allocations=8, rate_per_s=0.0)), with_policy(policy(), built_in)
    ) as world:
        await world.run_for(3600.0)
        assert world.updates_of("a") == [4, 2, 1]


async def test_zero_allocations_become_the_minimum():
    deployed = busy(allocations=1, rate_per_s=0.0)
    async with world_of(scenario(deployed, version="8.16")) as world:
        world.set_adaptive("a", enabled=True, min_number_of_allocations=0)
        await world.run_for(1000.0)
        assert world.requested("a") == 0
        assert world.updates == []
        world.set_adaptive("a", enabled=False)
        await world.cycles(8)
        assert world.updates_of("a") == [1]
        assert world.deployment("a").running == 1


async def test_the_allocations_are_in_the_body_only():
    async with world_of(scenario(busy()), policy(rule(min_allocations=6))) as world:
        await world.cycle()
        (update,) = [r for _, r in world.transport.sent if r.path.endswith("/_update")]
        assert update.body == b'{"number_of_allocations":6}'
        assert not update.query


async def test_unusual_ids_are_found():
    name = "a.b_c-1"
    deployed = ScenarioDeployment(model_id="model.x_y-2", deployment_id=name)
    async with world_of(scenario(deployed), policy(rule(min_allocations=2))) as world:
        assert (await world.cycle()).kind(name) is OutcomeKind.ACCEPTED
        assert world.requested(name) == 2


def keys(*pairs):
    user = User(username="scaler", roles=("machine_learning_admin",))
    return Security(api_keys=dict.fromkeys(pairs, user))


async def test_a_key_that_is_replaced_is_read_again(tmp_path):
    file = tmp_path / "api_key"
    file.write_text("old:first")
    account = Account(username="scaler", api_key="old:first", roles=["machine_learning_admin"])
    simulated = scenario(busy(allocations=1), security=SecuritySettings(accounts=[account]))
    async with world_of(simulated, auth=ApiKey(file)) as world:
        await world.cycles(1)
        file.write_text("new:second\n")
        await world.cycles(1)
        world.emulation.security = keys("new:second")
        cycles = await world.cycles(4)
        assert [cycle.failure for cycle in cycles] == [None] * 4
        assert world.requested("a") >= 4


@both_policies
async def test_a_key_that_is_replaced_late_skips_cycles_without_a_decrease(tmp_path, built_in):
    file = tmp_path / "api_key"
    file.write_text("old:first")
    account = Account(username="scaler", api_key="old:first", roles=["machine_learning_admin"])
    simulated = scenario(busy(allocations=4), security=SecuritySettings(accounts=[account]))
    async with world_of(simulated, with_policy(IMPATIENT, built_in), auth=ApiKey(file)) as world:
        await world.cycles(5)
        world.emulation.security = keys("new:second")
        lost = await world.run_for(120.0)
        assert len(lost) == 2, "refused credentials are not tried every period"
        file.write_text("new:second")
        after = await world.cycles(6)
        assert all(cycle.decision("a").desired >= 4 for cycle in after)


@pytest.mark.parametrize("governed", [policy(), IMPATIENT], ids=["usual", "impatient"])
@pytest.mark.parametrize("load_s", [5.0, 33.0, 98.0, 403.0])
@both_policies
async def test_a_restart_of_the_whole_cluster_is_not_idleness(load_s, governed, built_in):
    """Everything is starting and all totals are zero; requests are refused and not counted."""
    models = [ScenarioModel(model_id="a", service_time_s=0.05, service_cv=0.0, load_s=load_s)]
    async with world_of(scenario(busy(), models=models), with_policy(governed, built_in)) as world:
        await world.cycles(20)
        world.restart_cluster()
        after = await world.run_for(load_s + 120.0)
        assert {cycle.decision("a").desired for cycle in after} <= {4, 5}
        assert after[-1].decision("a").load.arrival_rate_per_s == pytest.approx(50.0, rel=0.1)


@pytest.mark.parametrize("governed", [policy(), IMPATIENT], ids=["usual", "impatient"])
@pytest.mark.parametrize("load_s", [5.0, 33.0, 98.0, 403.0])
@both_policies
async def test_the_only_process_crashes_and_is_loaded_again(load_s, governed, built_in):
    models = [ScenarioModel(model_id="a", service_time_s=0.05, service_cv=0.0, load_s=load_s)]
    simulated = scenario(busy(), models=models, nodes=small_nodes(1, 8))
    async with world_of(simulated, with_policy(governed, built_in)) as world:
        await world.cycles(20)
        world.cluster.crash_process("a", "ml-1")
        after = await world.run_for(load_s + 120.0)
        assert {cycle.decision("a").desired for cycle in after} <= {4, 5}


async def test_released_processors_go_to_the_busy_deployment():
    # All eight processors are in use: `a` needs more, and `b` needs fewer.
    jump = Spike(base_per_s=10.0, peak_per_s=80.0, after_s=300.0, for_s=3600.0)
    ebb = Spike(base_per_s=5.0, peak_per_s=80.0, after_s=0.0, for_s=280.0)
    both = (
        ScenarioDeployment(model_id="a", number_of_allocations=1, load=jump),
        ScenarioDeployment(model_id="b", number_of_allocations=7, load=ebb),
    )
    simulated = scenario(*both, nodes=small_nodes(1, processors=8))
    async with world_of(simulated, policy(rule(stabilisation_window_s=60.0))) as world:
        cycles = await world.run_for(500.0)
        assert world.requested("a") >= 5
        assert world.requested("b") <= 2
        for cycle in cycles:
            sent = [
                update.allocations - cycle.decision(update.deployment_id).current
                for update in world.updates
                if cycle.at <= update.at < cycle.at + 10.0
            ]
            assert sent == sorted(sent, key=lambda change: change > 0), "decreases first"


@both_policies
async def test_alternating_load_does_not_change_the_allocations(built_in):
    wave = OnOff(rate_per_s=56.0, on_s=60.0, off_s=60.0)
    async with world_of(
        scenario(ScenarioDeployment(model_id="a", load=wave)), with_policy(policy(), built_in)
    ) as world:
        await world.run_for(1800.0)
        assert world.deployment("a").ledger.changes <= 3


async def test_a_cycle_costs_one_request():
    async with world_of(scenario(busy(), busy("b"))) as world:
        await world.cycles(12)
        assert world.attempts(STATS) == 12
        assert len(world.faults.arrived) - len(world.updates) <= 12 + 2 * 5 + 1, (
            "the version, the nodes and the owners once a minute; the version twice at first"
        )
