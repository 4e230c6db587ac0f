"""How long callers wait follows from what the cluster shows of the use of a deployment."""

import pytest

from autoscaler.core.slo.policy import SloPolicy
from autoscaler.simulation.loads import Steady
from autoscaler.simulation.scenario import ScenarioDeployment, ScenarioEndpoint
from tests.end_to_end.world import scenario, world_of
from tests.observations import policy, rule

MINUTE_S = 60.0


def timeout_of(cycle):
    (decision,) = cycle.plan.decisions
    return decision.steps[0].inputs["caller_timeout_s"]


@pytest.mark.parametrize("version", ["8.12", "8.19.4", "9.5"])
async def test_it_follows_pipelines_and_inference_endpoints(version):
    load = Steady(rate_per_s=20.0)
    simulated = scenario(ScenarioDeployment(model_id="a", load=load), version=version)
    async with world_of(simulated, policy(rule(policy=SloPolicy()))) as world:
        assert timeout_of((await world.cycles(6))[-1]) == 10.0
        world.cluster.pipelines["logs"] = "a"
        assert timeout_of((await world.run_for(2.0 * MINUTE_S))[-1]) == 7200.0
        world.cluster.pipelines.clear()
        assert timeout_of((await world.run_for(2.0 * MINUTE_S))[-1]) == 10.0


@pytest.mark.parametrize("attached", ["", "a"])
@pytest.mark.parametrize(
    ("task_type", "expected"), [("text_embedding", 30.0), ("chat_completion", 120.0)]
)
async def test_an_endpoint_that_owns_or_uses_it_counts(task_type, expected, attached):
    listed = ScenarioEndpoint(
        inference_id="mine" if attached else "a", deployment_id=attached, task_type=task_type
    )
    load = Steady(rate_per_s=20.0)
    simulated = scenario(ScenarioDeployment(model_id="a", load=load), endpoints=[listed])
    async with world_of(simulated, policy(rule(policy=SloPolicy()))) as world:
        assert timeout_of((await world.cycles(8))[-1]) == expected


async def test_the_configuration_overrides_them():
    load = Steady(rate_per_s=20.0)
    simulated = scenario(ScenarioDeployment(model_id="a", load=load))
    configured = rule(policy=SloPolicy(caller_timeout_s=3.0))
    async with world_of(simulated, policy(configured)) as world:
        world.cluster.pipelines["logs"] = "a"
        assert timeout_of((await world.cycles(8))[-1]) == 3.0
