"""The daemon over HTTP and the back-test decide the same, on the same load, cycle by cycle."""

from zlib import crc32

import numpy as np
import pytest
from msgspec.structs import replace

from autoscaler.backtest.bounds_driver import BoundsDriver
from autoscaler.backtest.drivers import PlanDriver, as_configured, drive
from autoscaler.backtest.world.plant import DEPLOYMENT_ID, MODEL_ID, Plant
from autoscaler.core.decision import Mode, SetBounds
from autoscaler.core.explanation import explain
from autoscaler.core.policies import UtilisationPolicy
from autoscaler.simulation.adaptive_allocations_service import TICK_S
from autoscaler.simulation.scenario import (
    ClusterScenario,
    ScenarioDeployment,
    ScenarioModel,
    ScenarioNode,
)
from autoscaler.simulation.workload import Arrival
from tests.backtest.workloads import scenario as backtest_scenario
from tests.backtest.workloads import workload
from tests.end_to_end.world import START, world_of

pytestmark = pytest.mark.untraced

HOURS = 1.5


def load_of_a_bad_day():
    """A swell, two load jumps, an idle time, and more than the nodes can serve."""
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
    made = workload(at, rng.lognormal(np.log(0.2), 0.6, len(at)), duration_s=seconds, start=START)
    return replace(made, routing=routing)


# More is allowed than fits, so that the cluster refuses.
SCENE = backtest_scenario(nodes=3, processors=3, max_allocations=14, load_s=40.0, version="9.3.0")
BEGIN_WITH = 3
POLICY = UtilisationPolicy(target=0.7, load_window_s=60.0)


def emulated():
    """The same cluster, for the daemon."""
    return ClusterScenario(
        version=SCENE.version,
        seed=0,
        nodes=[
            ScenarioNode(
                name=f"node-{n}", node_id=f"node-{n}", processors=SCENE.processors, memory="64gb"
            )
            for n in range(1, SCENE.nodes + 1)
        ],
        models=[
            ScenarioModel(
                model_id=MODEL_ID,
                size="100mb",
                service_time_s=1.0,  # times the size of each request
                service_cv=0.0,
                load_s=SCENE.load_s,
            )
        ],
        deployments=[
            ScenarioDeployment(
                model_id=MODEL_ID,
                deployment_id=DEPLOYMENT_ID,
                number_of_allocations=BEGIN_WITH,
                queue_capacity=SCENE.queue_capacity,
            )
        ],
    )


def backtested(driver, load):
    driver.plans = []
    drive(Plant(SCENE, load, allocations=BEGIN_WITH), driver)
    return [explain(decision) for plan in driver.plans for decision in plan.decisions]


async def cycles_over_http(governed, load, *, adaptive=None):
    """All cycles of the daemon, with these settings of adaptive allocations, if any."""
    async with world_of(emulated(), governed) as world:
        if adaptive is not None:
            world.set_adaptive(DEPLOYMENT_ID, **adaptive)
        requests = zip(load.at.tolist(), load.work_s.tolist(), strict=True)
        world.cluster.drive(
            DEPLOYMENT_ID,
            (Arrival(at, size) for at, size in requests),
            timeout_s=SCENE.timeout_s,
        )
        return await world.run_for(load.duration_s)


def words(cycles):
    return [cycle.text(DEPLOYMENT_ID) for cycle in cycles]


async def test_both_decide_the_same():
    load = load_of_a_bad_day()
    governed = as_configured(POLICY, SCENE)
    messages = backtested(PlanDriver(governed, SCENE.poll_interval_s), load)
    cycles = await cycles_over_http(governed, load)
    assert words(cycles) == messages
    assert len(messages) == HOURS * 360
    changes = [
        outcome for cycle in cycles for outcome in cycle.outcomes if outcome.decision.changes
    ]
    assert len(changes) > 15
    assert any("fit on the nodes" in line for line in messages)
    assert any(cycle.decision(DEPLOYMENT_ID).sample.timeouts for cycle in cycles)


async def test_both_decide_the_same_in_mode_bounds():
    """In the emulator, adaptive allocations run right before each poll of the daemon."""
    load = load_of_a_bad_day()
    governed = as_configured(POLICY, SCENE, Mode.BOUNDS)
    bounds = {"minimum": SCENE.min_allocations, "maximum": SCENE.max_allocations}
    messages = backtested(
        BoundsDriver(governed, SCENE.poll_interval_s, **bounds, lag_s=TICK_S), load
    )
    adaptive = {f"{name[:3]}_number_of_allocations": bound for name, bound in bounds.items()}
    cycles = await cycles_over_http(governed, load, adaptive={"enabled": True, **adaptive})
    assert words(cycles) == messages
    changes = [change for cycle in cycles if (change := cycle.decision(DEPLOYMENT_ID).change)]
    assert len(changes) > 15
    assert all(isinstance(change, SetBounds) for change in changes)
    beyond = [
        cycle
        for cycle in cycles
        if cycle.observation.deployments[DEPLOYMENT_ID].allocations
        > cycle.decision(DEPLOYMENT_ID).current
    ]
    assert beyond
