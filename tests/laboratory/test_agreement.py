"""The daemon over HTTP and the back-test decide the same, on the same load, cycle by cycle."""

from zlib import crc32

import numpy as np
from msgspec.structs import replace

from autoscaler.core.explanation import explain
from autoscaler.core.policies import Utilisation
from autoscaler.laboratory.drivers import Planned, as_configured, drive
from autoscaler.laboratory.plant import DEPLOYMENT_ID, MODEL_ID, Plant
from autoscaler.simulation.scenario import Deployment, Model, Node, Scenario
from autoscaler.simulation.workload import Arrival
from tests.end_to_end.world import START, world_of
from tests.laboratory.demands import demand
from tests.laboratory.demands import scenario as laboratory_scenario

HOURS = 1.5


def load_of_a_bad_day():
    """A swell, two leaps, a silence, and more than the nodes can carry."""
    rng = np.random.default_rng(11)
    seconds = HOURS * 3600.0
    candidates = np.sort(rng.random(int(60.0 * seconds)) * seconds)
    minutes = candidates / 60.0
    rate = 14.0 + 10.0 * np.sin(candidates / seconds * 2.0 * np.pi)
    rate = np.where((minutes > 20) & (minutes < 24), 45.0, rate)
    rate = np.where((minutes > 40) & (minutes < 46), 0.0, rate)
    rate = np.where((minutes > 60) & (minutes < 66), 58.0, rate)
    at = candidates[rng.random(len(candidates)) * 60.0 < rate]
    routing = np.random.default_rng([0, crc32(DEPLOYMENT_ID.encode())]).random(len(at))
    made = demand(at, rng.lognormal(np.log(0.2), 0.6, len(at)), duration_s=seconds, start=START)
    return replace(made, routing=routing)


async def test_both_tell_the_same_story():
    load = load_of_a_bad_day()
    # More is allowed than fits, so that the cluster refuses.
    scene = laboratory_scenario(nodes=3, processors=3, maximum=14, load_s=40.0, version="9.3.0")
    governed = as_configured(Utilisation(target=0.7, load_window_s=60.0), scene)

    back_test = Planned(governed, scene.poll_s)
    back_test.plans = []
    drive(Plant(scene, load, allocations=3), back_test)
    told = [explain(decision) for plan in back_test.plans for decision in plan.decisions]

    emulated = Scenario(
        version=scene.version,
        seed=0,
        nodes=[
            Node(name=f"node-{n}", node_id=f"node-{n}", processors=scene.processors, memory="64gb")
            for n in range(1, scene.nodes + 1)
        ],
        models=[
            Model(
                model_id=MODEL_ID,
                size="100mb",
                service_time_s=1.0,  # times the size of each request
                service_cv=0.0,
                load_s=scene.load_s,
            )
        ],
        deployments=[
            Deployment(
                model_id=MODEL_ID,
                deployment_id=DEPLOYMENT_ID,
                number_of_allocations=3,
                queue_capacity=scene.queue_capacity,
            )
        ],
    )
    async with world_of(emulated, governed, poll_s=scene.poll_s) as world:
        requests = zip(load.at.tolist(), load.work_s.tolist(), strict=True)
        world.cluster.drive(
            DEPLOYMENT_ID,
            (Arrival(at, size) for at, size in requests),
            timeout_s=scene.timeout_s,
        )
        cycles = await world.run_for(load.duration_s)
        over_http = [cycle.words(DEPLOYMENT_ID) for cycle in cycles]

    assert over_http == told
    assert len(told) == HOURS * 360
    changes = [
        outcome for cycle in cycles for outcome in cycle.outcomes if outcome.decision.changes
    ]
    assert len(changes) > 15
    assert any("fit on the nodes" in line for line in told)
    assert any(cycle.decision(DEPLOYMENT_ID).sample.timeouts for cycle in cycles)
