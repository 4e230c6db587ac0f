"""What processes use, and the machine that runs out of memory."""

import msgspec
import pytest

from autoscaler.simulation.cluster import SimulatedCluster
from autoscaler.simulation.emulator.building import build_cluster
from autoscaler.simulation.emulator.matching import Page
from autoscaler.simulation.emulator.rendering import stats_document
from autoscaler.simulation.memory import GROWTH_REQUESTS, MemoryStatistics, ResidentMemory
from autoscaler.simulation.scenario import scenario_of
from autoscaler.wire.stats import parse_stats
from tests.simulation.worlds import after, cluster, load, model, node

MIB = 2**20
GIB = 2**30
ELSER = ".elser_model_2"


def world_of(allocations, *, machine=8 * GIB, statistics=MemoryStatistics.PROCESS, **given):
    world = cluster(
        node("a", 16, memory_bytes=machine),
        models=(model(ELSER, process_bytes=GIB, allocation_bytes=GIB, **given),),
        ml_memory_fraction=0.8,
        memory_statistics=statistics,
    )
    world.start_deployment(ELSER, deployment_id="d", number_of_allocations=allocations)
    return after(world, 60.0)


def busy(world, seconds=120.0):
    world.drive("d", load(world, 40.0))
    return after(world, seconds)


def used(world: SimulatedCluster):
    return world.deployments["d"].routes["a"].process.memory.bytes_used


def test_a_process_grows_with_its_first_requests_and_keeps_what_it_has_used():
    memory = ResidentMemory(100, 10)
    memory.serve(0, 4)
    assert memory.bytes_used == 100
    memory.serve(round(4 * GROWTH_REQUESTS), 4)
    assert memory.bytes_used == 100 + round(40 * 0.632)
    memory.serve(10_000, 4)
    memory.serve(10_000, 2)
    assert memory.bytes_used == memory.peak_bytes == 140


def test_the_planner_reserves_the_same_for_any_number_and_processes_do_not():
    world = busy(world_of(3))
    assert used(world) == pytest.approx(4 * GIB, rel=0.01)
    before = world.memory_of("a").native_inference_bytes
    world.update_deployment("d", number_of_allocations=5)
    busy(world)
    assert used(world) == pytest.approx(6 * GIB, rel=0.01)
    assert world.memory_of("a").native_inference_bytes == before


def test_the_kernel_ends_the_largest_process_and_it_is_started_again():
    world = busy(world_of(3))
    world.update_deployment("d", number_of_allocations=8)
    busy(world)
    killed = world.resident_memory.out_of_memory
    assert {(each.node_id, each.deployment_id) for each in killed} == {("a", "d")}
    assert killed


def test_without_the_figures_of_the_model_nothing_is_simulated():
    world = cluster(node("a", 16, memory_bytes=3 * GIB), ml_memory_fraction=0.9)
    world.start_deployment("acme", number_of_allocations=16)
    after(world, 60.0)
    assert world.resident_memory.of_model("acme") is None
    assert world.resident_memory.out_of_memory == []


@pytest.mark.parametrize(
    ("statistics", "of_process", "of_model"),
    [
        (MemoryStatistics.NONE, False, False),
        (MemoryStatistics.PROCESS, True, False),
        (MemoryStatistics.MODEL, True, True),
    ],
)
def test_the_statistics_report_it_where_the_version_does(statistics, of_process, of_model):
    world = busy(world_of(2, statistics=statistics))
    page = Page(count=1, models=(ELSER,), tokens=("_all",))
    document = msgspec.json.encode(stats_document(world, page))
    (stats,) = parse_stats(document).deployments
    assert (stats.nodes[0].memory_bytes is not None) is of_process
    assert (stats.runtime_memory_bytes is not None) is of_model
    assert (stats.peak_runtime_memory_bytes is not None) is of_model


def test_a_container_ends_all_processes_of_its_node():
    world = cluster(
        node("a", 16, memory_bytes=8 * GIB),
        models=(model(ELSER, process_bytes=GIB, allocation_bytes=GIB), model("small")),
        ml_memory_fraction=0.8,
        out_of_memory_ends_all=True,
    )
    world.start_deployment(ELSER, deployment_id="d", number_of_allocations=8)
    world.start_deployment("small")
    after(world, 60.0)
    world.drive("d", load(world, 60.0))
    after(world, 60.0)
    killed = world.resident_memory.out_of_memory
    first = [each.deployment_id for each in killed if each.at == killed[0].at]
    assert sorted(first) == ["d", "small"]


def test_elser_grows_beyond_what_is_reserved_for_it():
    document = {
        "elser_memory_grows": True,
        "ml_memory_fraction": 0.9,
        "nodes": [{"name": "ml-1", "memory": "8gb", "processors": 16}],
        "models": [{"model_id": ELSER}, {"model_id": "e5"}],
        "deployments": [{"model_id": ELSER, "number_of_allocations": 6}, {"model_id": "e5"}],
    }
    world = build_cluster(scenario_of(document), now=1_000_000.0)
    world.drive(ELSER, load(world, 60.0))
    after(world, 60.0)
    assert {each.deployment_id for each in world.resident_memory.out_of_memory} == {ELSER}
    assert world.memory_of("ml-1").native_inference_bytes < 3 * GIB
    assert world.deployments["e5"].routes["ml-1"].process.memory is None
