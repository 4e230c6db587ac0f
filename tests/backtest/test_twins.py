"""The compiled processes and those of the emulator have the same counts at every poll."""

from itertools import pairwise
from zlib import crc32

import msgspec
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from autoscaler.backtest.world.plant import DEPLOYMENT_ID, MODEL_BYTES, MODEL_ID, WARM_S, Plant
from autoscaler.simulation.cluster import AdaptivePatch, SimulatedCluster
from autoscaler.simulation.emulator.matching import Page
from autoscaler.simulation.emulator.rendering import stats_document
from autoscaler.simulation.errors import SimulatedApiError
from autoscaler.simulation.specs import GIB, ModelSpec, NodeSpec
from autoscaler.simulation.versions import behaviour_of
from autoscaler.simulation.workload import Arrival
from autoscaler.wire.stats import parse_stats
from tests.backtest.workloads import scenario, workload

pytestmark = pytest.mark.untraced


class Twins:
    """A plant and an emulated cluster with the same load, the same polls and the same changes."""

    def __init__(self, scene, load, allocations):
        routing = np.random.default_rng([0, crc32(DEPLOYMENT_ID.encode())]).random(len(load.at))
        load = replace(load, routing=routing)
        self.plant = Plant(scene, load, allocations=allocations)
        nodes = [
            NodeSpec(
                node_id=f"node-{index}",
                name=f"node-{index}",
                processors=scene.processors,
                physical_cores=scene.physical_cores,
                memory_bytes=64 * GIB,
            )
            for index in range(1, scene.nodes + 1)
        ]
        model = ModelSpec(
            model_id=MODEL_ID,
            size_bytes=MODEL_BYTES,
            service_time_s=1.0,  # times the size of each request
            service_cv=0.0,
            load_s=scene.load_s,
            warm_up_s=scene.warm_up_s,
            warm_up_factor=scene.warm_up_factor,
        )
        self.cluster = SimulatedCluster(
            nodes,
            [model],
            behaviour=behaviour_of(scene.version),
            seed=0,
            now=load.start - WARM_S - scene.load_s,
        )
        self.cluster.start_deployment(
            MODEL_ID,
            deployment_id=DEPLOYMENT_ID,
            number_of_allocations=allocations,
            queue_capacity=scene.queue_capacity,
        )
        self.cluster.advance(load.start)
        self.cluster.drive(
            DEPLOYMENT_ID,
            (
                Arrival(at, size)
                for at, size in zip(load.at.tolist(), load.work_s.tolist(), strict=True)
            ),
            timeout_s=scene.timeout_s,
        )

    def advance(self, to):
        self.plant.advance(to)
        self.cluster.advance(to)

    def update(self, allocations):
        refused = []
        for update in (
            lambda: self.plant.set_allocations(allocations),
            lambda: self.cluster.update_deployment(
                DEPLOYMENT_ID, number_of_allocations=allocations
            ),
        ):
            try:
                update()
                refused.append(None)
            except SimulatedApiError as error:
                refused.append(error.status)
        return refused

    def reports(self):
        page = Page(models=(MODEL_ID,), count=1, tokens=("*",))
        document = stats_document(self.cluster, page)
        (decoded,) = parse_stats(msgspec.json.encode(document)).deployments
        return self.plant.statistics(), decoded


def load_of(rate_per_s, seconds, mean_s, seed):
    rng = np.random.default_rng(seed)
    count = max(1, int(rate_per_s * seconds))
    at = np.sort(rng.random(count) * seconds)
    return workload(at, rng.lognormal(np.log(mean_s) - 0.2, 0.63, count), duration_s=seconds)


targets = st.lists(st.integers(1, 7), min_size=1, max_size=6)


@settings(max_examples=40, deadline=None)
@example(  # for five seconds, no process is running
    targets=[6, 1, 4, 4, 1],
    nodes=2,
    mean_s=0.02,
    busy=0.3,
    capacity=5,
    warm_up=(0.0, 1.0),
    version="8.12.0",
    seed=0,
)
@given(
    targets=targets,
    nodes=st.integers(1, 3),
    mean_s=st.sampled_from([0.02, 0.1, 1.0]),
    busy=st.sampled_from([0.3, 0.9, 1.5]),
    capacity=st.sampled_from([5, 1024]),
    warm_up=st.sampled_from([(0.0, 1.0), (30.0, 3.0)]),
    version=st.sampled_from(["8.12.0", "8.19.0", "9.3.0"]),
    seed=st.integers(0, 1000),
)
def test_both_report_the_same_after_any_changes(
    targets, nodes, mean_s, busy, capacity, warm_up, version, seed
):
    scene = scenario(
        nodes=nodes,
        processors=3,
        physical_cores=2,
        max_allocations=3 * nodes,
        queue_capacity=capacity,
        timeout_s=2.0,
        warm_up_s=warm_up[0],
        warm_up_factor=warm_up[1],
        version=version,
    )
    seconds = 15.0 * len(targets)
    load = load_of(3 * busy / mean_s, seconds, mean_s, seed)
    twins = Twins(scene, load, allocations=1)
    for turn, allocations in enumerate(targets, start=1):
        twins.advance(load.start + 15.0 * turn - 4.7)
        plant, emulator = twins.reports()
        assert plant == emulator
        plant, emulator = twins.update(allocations)
        assert plant == emulator
        twins.advance(load.start + 15.0 * turn)
    plant, emulator = twins.reports()
    assert plant == emulator


def test_requests_have_the_same_outcomes():
    scene = scenario(
        processors=3, physical_cores=3, max_allocations=3, timeout_s=1.0, queue_capacity=30
    )
    load = load_of(40.0, 120.0, 0.1, seed=5)
    twins = Twins(scene, load, allocations=3)
    twins.advance(load.start + 60.0)
    assert twins.update(1) == [None, None]
    twins.advance(load.start + 140.0)
    ledger = twins.cluster.deployments[DEPLOYMENT_ID].ledger
    totals, outcomes = twins.plant.totals(), np.bincount(twins.plant.fleet.outcomes, minlength=5)
    assert [totals.attempts, totals.completed] == [ledger.requests, ledger.completed]
    assert outcomes.tolist() == [0, ledger.completed, ledger.rejected, ledger.timed_out, 0]
    assert min(ledger.completed, ledger.rejected, ledger.timed_out) > 100
    waits_s = twins.plant.fleet.waits_s
    late = int(np.count_nonzero(~(waits_s <= 0.5)))
    assert late == ledger.waited_longer_than(0.5)


@pytest.mark.parametrize("factor", [1.0, 2.0])
def test_threads_beyond_the_cores_slow_down_both(factor):
    scene = scenario(processors=4, physical_cores=int(4 / factor), max_allocations=4)
    load = load_of(20.0, 60.0, 0.1, seed=2)
    twins = Twins(scene, load, allocations=4)
    twins.advance(load.start + 60.0)
    plant, emulator = twins.reports()
    assert plant == emulator
    mean_s = plant.nodes[0].mean_inference_s
    assert mean_s == pytest.approx(factor * load.work_s.mean(), rel=0.02)


def test_both_report_the_same_at_zero_with_adaptive_allocations():
    """Bursts 1000 s apart: each is followed by 900 s without requests, and zero allocations."""
    scene = scenario(
        nodes=2,
        processors=3,
        physical_cores=3,
        max_allocations=6,
        timeout_s=2.0,
        load_s=3.3,
        version="8.17.0",
    )
    rng = np.random.default_rng(4)
    at = np.sort(np.concatenate([1200.0 * burst + rng.random(600) * 60.0 for burst in range(3)]))
    load = workload(at, rng.lognormal(np.log(0.15) - 0.2, 0.63, len(at)), duration_s=3600.0)
    twins = Twins(scene, load, allocations=1)
    twins.plant.enable_adaptive_allocations(0, 6)
    settings = AdaptivePatch(enabled=True, min_number_of_allocations=0, max_number_of_allocations=6)
    twins.cluster.update_deployment(DEPLOYMENT_ID, adaptive=settings)
    numbers = []
    tick_at = load.start - WARM_S - scene.load_s
    while tick_at < load.start + 3600.0:
        tick_at += 10.0
        if tick_at < load.start:
            continue
        twins.plant.advance(tick_at)
        twins.plant.run_adaptive_scaler()
        twins.advance(tick_at + 5.1)
        plant, emulator = twins.reports()
        assert plant == emulator
        numbers.append(twins.plant.requested)
    wakes = [b for a, b in pairwise(numbers) if a == 0 < b]
    assert len(wakes) == 2
    ledger = twins.cluster.deployments[DEPLOYMENT_ID].ledger
    outcomes = np.bincount(twins.plant.fleet.outcomes, minlength=5)
    assert outcomes.tolist() == [0, ledger.completed, ledger.rejected, ledger.timed_out, 0]
    assert ledger.timed_out > 10, "some time out while the first process loads"
    assert np.nanmax(twins.plant.fleet.waits_s) > scene.timeout_s, "time-outs begin again"
