"""A deployment on its cluster: the interaction of its life cycle and requests."""

import math
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import astuple

from autoscaler.backtest.drivers import AdaptiveDriver, drive
from autoscaler.backtest.world.kernel import COMPLETED, LOST, REJECTED, UNFINISHED
from autoscaler.backtest.world.plant import DEPLOYMENT_ID, Plant
from autoscaler.core.values import AdaptiveAllocations
from autoscaler.simulation.adaptive_allocations_scaler import Thresholds
from autoscaler.simulation.deployment import STOPPING
from autoscaler.simulation.errors import SimulatedApiError
from tests.backtest.workloads import poisson, scenario, workload


def quiet(seconds=600.0):
    return workload([0.0], 0.01, duration_s=seconds)


def plant_of(load=None, *, allocations=1, **given):
    return Plant(scenario(**given), load or quiet(), allocations=allocations)


def spans(plant):
    """The allocation spans, by seconds since the start."""
    start, _ = plant.span
    return [(round(at - start, 6), *targets) for at, *targets in plant.allocation_spans[1:]]


class TestChanges:
    def test_a_deployment_begins_warm_and_complete(self):
        plant = plant_of(allocations=3, warm_up_s=3600.0, warm_up_factor=3.0)
        assert (plant.requested, plant.running, spans(plant)) == (3, 3, [])
        plant.finish()
        assert plant.totals().busy_s == pytest.approx(0.01)

    def test_on_a_node_with_the_model_they_run_after_the_control_message(self):
        plant = plant_of(control_s=0.25)
        plant.advance(plant.now + 10.0)
        plant.set_allocations(3)
        plant.advance(plant.now + 10.0)
        plant.set_allocations(2)
        plant.advance(plant.now + 10.0)
        assert spans(plant) == [(10.0, 3, 1), (10.25, 3, 3), (20.0, 2, 3), (20.25, 2, 2)]

    def test_on_a_new_node_they_run_once_the_model_is_loaded(self):
        plant = plant_of(allocations=2, nodes=2, processors=2, load_s=20.0, control_s=0.25)
        plant.advance(plant.now + 10.0)
        plant.set_allocations(3)
        plant.advance(plant.now + 100.0)
        assert spans(plant) == [(10.0, 3, 2), (30.0, 3, 3)]

    def test_nodes_with_the_model_change_after_the_others_are_ready(self):
        plant = plant_of(nodes=2, processors=2, load_s=20.0, control_s=0.25)
        plant.advance(plant.now + 10.0)
        plant.set_allocations(3)
        plant.advance(plant.now + 100.0)
        assert spans(plant) == [(10.0, 3, 1), (30.0, 3, 2), (30.25, 3, 3)]

    def test_requests_are_routed_to_a_new_node_once_it_is_ready(self):
        at = np.arange(100.0) + 0.5
        load = workload(at, 0.25, routing=np.full(100, 0.99))
        plant = plant_of(load, allocations=2, nodes=2, processors=2, load_s=20.0)
        plant.advance(load.start + 10.0)
        plant.set_allocations(3)
        plant.finish()
        _, new = plant.statistics().nodes
        assert new.completed == 70  # arrivals after the thirtieth second

    def test_the_same_allocations_again_are_no_change(self):
        plant = plant_of(allocations=2)
        plant.set_allocations(2)
        assert spans(plant) == []

    def test_allocations_that_do_not_fit_are_refused_without_change(self):
        plant = plant_of(allocations=2, nodes=2, processors=2)
        with pytest.raises(SimulatedApiError) as refusal:
            plant.set_allocations(5)
        assert refusal.value.status == 429
        plant.advance(plant.now + 100.0)
        assert (plant.requested, plant.running, spans(plant)) == (2, 2, [])
        plant.set_allocations(4)
        assert plant.requested == 4

    def test_a_deployment_that_does_not_fit_is_not_started(self):
        with pytest.raises(SimulatedApiError) as refusal:
            plant_of(allocations=5, processors=4)
        assert refusal.value.status == 429

    def test_allocations_after_the_end_do_not_count(self):
        plant = plant_of(quiet(30.0), allocations=2, nodes=2, processors=2, load_s=20.0)
        plant.advance(plant.now + 20.0)
        plant.set_allocations(3)
        plant.finish()
        assert spans(plant) == [(20.0, 3, 2)]


class TestNodes:
    @pytest.mark.parametrize(("version", "lost"), [("8.12.0", 1), ("9.3.0", 0)])
    def test_a_removed_process_finishes_its_work_in_versions_that_drain(self, version, lost):
        # Two for each node; one of three requests is in service when the second node is removed.
        load = workload([1.0, 1.0, 1.0], 4.0, duration_s=60.0, routing=[0.1, 0.4, 0.99])
        given = {"nodes": 2, "processors": 2, "version": version}
        plant = plant_of(load, allocations=3, **given)
        plant.advance(load.start + 2.0)
        plant.set_allocations(2)
        plant.advance(load.start + 3.0)
        assert plant.totals().in_flight == 3 - lost
        assert len(plant.statistics().nodes) == 2 - lost
        plant.finish()
        assert np.bincount(plant.fleet.outcomes, minlength=5)[[COMPLETED, LOST]].tolist() == [
            3 - lost,
            lost,
        ]
        assert plant.totals().busy_s == pytest.approx(12.0 - 3.0 * lost)
        assert len(plant.statistics().nodes) == 1

    def test_no_request_is_routed_to_a_removed_node(self):
        load = workload([1.0, *np.arange(3.0, 9.0)], 8.0, duration_s=60.0, routing=np.full(7, 0.99))
        plant = plant_of(load, allocations=3, nodes=2, processors=2, timeout_s=100.0)
        plant.advance(load.start + 2.0)
        plant.set_allocations(2)
        plant.advance(load.start + 8.5)
        assert [node.pending for node in plant.statistics().nodes] == [6, 1]

    def test_threads_beyond_the_cores_slow_each_other_down(self):
        load = workload([0.0, 20.0, 40.0], 1.0, duration_s=60.0)
        plant = plant_of(load, allocations=4, processors=4, physical_cores=2)
        busy_s = []
        for allocations in (3, 2, 4):
            before = plant.totals().busy_s
            plant.advance(plant.now + 10.0)
            busy_s.append(plant.totals().busy_s - before)
            plant.set_allocations(allocations)
            plant.advance(plant.now + 10.0)
        assert busy_s == pytest.approx([2.0, 1.5, 1.0])

    def test_a_process_is_slow_during_the_warm_up(self):
        load = workload([25.0, 45.0], 1.0, duration_s=100.0, routing=[0.99, 0.99])
        given = {"nodes": 2, "processors": 2, "warm_up_s": 20.0, "warm_up_factor": 3.0}
        plant = plant_of(load, allocations=2, load_s=20.0, **given)
        plant.set_allocations(4)
        plant.advance(load.start + 40.0)
        assert plant.totals().busy_s == pytest.approx(3.0)
        plant.finish()
        assert plant.totals().busy_s == pytest.approx(4.0)


class TestStatistics:
    def test_adaptive_allocations_are_a_setting_of_the_deployment(self):
        plant = plant_of()
        assert plant.statistics().adaptive is None
        plant.enable_adaptive_allocations(2, 3)
        adaptive = plant.statistics().adaptive
        assert adaptive == AdaptiveAllocations(enabled=True, minimum=2, maximum=3)

    def test_bounds_are_refused_before_the_deployment_has_started(self):
        plant = plant_of()
        plant._deployment.state = STOPPING
        with pytest.raises(SimulatedApiError, match="is not in"):
            plant.enable_adaptive_allocations(2, 3)
        assert plant.statistics().adaptive is None

    @pytest.mark.parametrize("factor", [1.0, 0.7, 0.4])
    def test_adaptive_allocations_keep_utilisation_between_thresholds(self, factor):
        """Four erlangs at constant intervals."""
        load = workload(np.arange(0.0, 1200.0, 0.05), 0.2, duration_s=1200.0)
        thresholds = Thresholds(up_above=0.9 * factor, down_below=0.85 * factor)
        scene = scenario(processors=16, physical_cores=16, max_allocations=16)
        plant = Plant(scene, load, allocations=1, thresholds=thresholds)
        drive(plant, AdaptiveDriver(1, 16))
        # They assume a slightly higher load when scaling down.
        highest = 1 + math.floor(1.1 * 4.0 / thresholds.down_below)
        assert math.ceil(4.0 / thresholds.up_above) <= plant.requested <= highest

    def test_an_observation_is_of_the_deployment_and_its_nodes(self):
        plant = plant_of(nodes=2, processors=3, version="8.19.0")
        seen = plant.observation()
        assert seen.at == plant.now
        assert seen.deployments == {DEPLOYMENT_ID: plant.statistics()}
        assert [(node.version, node.processors) for node in seen.cluster.nodes] == [
            ("8.19.0", 3.0)
        ] * 2

    def test_the_version_of_a_policy_is_that_of_the_nodes(self):
        plant = Plant(scenario(version="9.3.0"), quiet(), allocations=1, version="8.16.0")
        assert {node.version for node in plant.observation().cluster.nodes} == {"8.16.0"}

    def test_samples_are_the_in_flight_requests_at_equal_steps(self):
        load = workload([0.0, 1.25, 2.5, 6.0], [2.0, 2.0, 2.0, 3.0], duration_s=20.0)
        plant = plant_of(load, allocations=4)
        assert plant.advance_sampled(load.start + 5.0, 5) == [1, 1, 2, 1, 0]
        plant.set_allocations(3)  # so that control events happen meanwhile
        assert plant.advance_sampled(load.start + 10.0, 5) == [1, 1, 1, 0, 0]


def in_one_go(plant, to):
    plant.advance(to)


def in_steps(plant, to):
    since = plant.now
    for part in (0.013, 0.1, 0.35, 0.350001, 0.9):
        plant.advance(since + part * (to - since))
        plant.statistics()
    plant.advance(to)


def sampled(plant, to):
    plant.advance_sampled(to, 7)


def played(load, targets, watch=in_one_go, **given):
    """A plant under the load, with other allocations every twelve seconds."""
    plant = plant_of(load, **given)
    for turn, allocations in enumerate(targets, start=1):
        watch(plant, load.start + 12.0 * turn)
        with suppress(SimulatedApiError):  # it may not fit
            plant.set_allocations(allocations)
    watch(plant, sum(plant.span) - load.start)
    plant.finish()
    return plant


busy_plants = {
    "targets": st.lists(st.integers(1, 7), min_size=1, max_size=5),
    "seed": st.integers(0, 10_000),
    "given": st.fixed_dictionaries(
        {
            "nodes": st.integers(1, 3),
            "processors": st.just(2),
            "load_s": st.sampled_from([0.0, 5.0, 15.0]),
            "queue_capacity": st.sampled_from([2, 20]),
            "timeout_s": st.sampled_from([0.5, 3.0, 1e6]),
            "retry_share": st.sampled_from([0.0, 0.5, 1.0]),
            "retry_after_s": st.sampled_from([0.1, 2.0]),
            "version": st.sampled_from(["8.12.0", "9.3.0"]),
        }
    ),
}


def crowd(targets, seed):
    """About two erlangs, until twelve seconds after the last change."""
    load = poisson(6.0, 72 * (len(targets) + 1), 0.35, seed=seed)
    within = load.at < load.start + 12.0 * (len(targets) + 1)
    return workload(
        load.at[within] - load.start,
        load.work_s[within],
        duration_s=12.0 * (len(targets) + 1),
        seed=seed,
    )


@settings(max_examples=40, deadline=None)
@given(**busy_plants)
def test_advancing_in_smaller_steps_changes_nothing(targets, seed, given):
    load = crowd(targets, seed)
    once, stepwise, quickly = (
        played(load, targets, watch, **given) for watch in (in_one_go, in_steps, sampled)
    )
    for other in (stepwise, quickly):
        assert other.allocation_spans == once.allocation_spans
        assert np.array_equal(other.fleet.waits_s, once.fleet.waits_s, equal_nan=True)
        assert np.array_equal(other.fleet.outcomes, once.fleet.outcomes)
        assert other.fleet.retries == once.fleet.retries
        # Sums of fractions depend, in their last digits, on the order of the nodes.
        *counts, busy_s = astuple(once.totals())
        assert astuple(other.totals()) == (*counts, pytest.approx(busy_s))


@settings(max_examples=40, deadline=None)
@given(**busy_plants)
def test_at_the_end_every_request_has_an_outcome(targets, seed, given):
    load = crowd(targets, seed)
    plant = played(load, targets, **given)
    outcomes = plant.fleet.outcomes
    assert not (outcomes == UNFINISHED).any()
    plant.fleet.run(plant.now + 1e4)  # retries, and work after timeouts
    totals = plant.totals()
    assert totals.attempts == totals.completed + totals.failed
    assert totals.attempts == len(load.at) + plant.fleet.retries
    assert totals.in_flight == 0
    retried = (outcomes != COMPLETED) & (load.retry_draw < given["retry_share"])
    assert plant.fleet.retries == np.count_nonzero(retried)


def test_a_repeated_run_is_identical():
    load = crowd([3, 1, 5], 7)
    given = {"nodes": 3, "processors": 2, "retry_share": 0.5, "timeout_s": 1.0}
    one, other = (played(load, [3, 1, 5], **given) for _ in range(2))
    assert np.array_equal(one.fleet.waits_s, other.fleet.waits_s, equal_nan=True)
    assert np.array_equal(one.fleet.outcomes, other.fleet.outcomes)
    assert one.allocation_spans == other.allocation_spans
    assert one.totals() == other.totals()
    assert one.statistics() == other.statistics()
    assert np.count_nonzero(one.fleet.outcomes == REJECTED) == 0
    assert one.fleet.retries > 10
