"""Why, asked of a running daemon over HTTP as an operator would, in time that a test lets pass."""

import io

import pytest
import structlog
from rich.console import Console

from autoscaler.core.values import OutcomeKind
from autoscaler.explain import AdminRequestFailed, fetch, render
from autoscaler.simulation.emulator.faults import Fault
from autoscaler.simulation.loads import Steady
from autoscaler.simulation.scenario import (
    ClusterScenario,
    ScenarioDeployment,
    ScenarioModel,
    ScenarioNode,
)
from tests.end_to_end.world import STATS
from tests.test_daemon import SCENARIO, running

CROWDED = ClusterScenario(
    nodes=[ScenarioNode(name="ml-1", processors=2)],
    models=SCENARIO.models,
    deployments=SCENARIO.deployments,
)
TWO = ClusterScenario(
    nodes=SCENARIO.nodes,
    models=[ScenarioModel(model_id="e5", service_time_s=0.05, load_s=2.0)],
    deployments=[
        ScenarioDeployment(model_id="e5", number_of_allocations=1, load=Steady(rate_per_s=60.0)),
        ScenarioDeployment(model_id="e5", deployment_id=".hidden"),
    ],
)


@pytest.fixture(autouse=True)
def default_logging():
    structlog.reset_defaults()


def url_of(setup):
    return f"http://127.0.0.1:{setup.daemon.server.port}"


async def story_of(setup, deployment_id="e5"):
    """The entry of one deployment, and what people get to read of it."""
    answer, _ = await fetch(url_of(setup), deployment_id)
    stream = io.StringIO()
    render(answer, Console(file=stream, width=120, color_system=None))
    return answer.deployment, stream.getvalue()


async def test_a_daemon_that_has_just_started_says_that_it_has_nothing_to_tell(tmp_path):
    async with running(tmp_path) as setup:
        with pytest.raises(AdminRequestFailed, match="the cluster has not been observed yet"):
            await fetch(url_of(setup))


async def test_an_update_and_why_nothing_changed_afterwards(tmp_path):
    async with running(tmp_path) as setup:
        await setup.clock.advance(12.0)
        story, _ = await story_of(setup)
        assert (story.current, story.desired, story.outcome.kind) == (1, story.desired, "accepted")
        assert story.unchanged_because == ""
        grown = story.desired
        await setup.clock.advance(120.0)
        story, told = await story_of(setup)
        assert (story.current, story.desired, story.outcome.kind) == (grown, grown, "unchanged")
        assert story.load.arrival_rate_per_s == pytest.approx(60.0, rel=0.2)
        assert story.load.service_time_s == pytest.approx(0.05, rel=0.05)
        assert (story.last_update.kind, story.last_update.desired) == ("accepted", grown)
        assert f"e5 stays at {grown}\n" in told
        assert f"Nothing changed: {story.unchanged_because}." in told


async def test_all_of_them_and_why_one_is_left_alone(tmp_path):
    async with running(tmp_path, TWO) as setup:
        await setup.clock.advance(30.0)
        answer, _ = await fetch(url_of(setup))
        hidden, managed = answer.deployments
        assert (hidden.deployment, hidden.reason) == (".hidden", "hidden")
        assert managed.deployment == "e5"
        with pytest.raises(
            AdminRequestFailed, match=r"\.hiden: not found in the cluster; did you mean .hidden\?"
        ):
            await fetch(url_of(setup), ".hiden")


async def test_a_refusal_is_told_in_the_clusters_words(tmp_path):
    async with running(tmp_path, CROWDED) as setup:
        # Or it would know how many fit, and not ask for more.
        setup.emulator.emulation.faults.add(Fault(path="/_ml/info", calls=None, status=403))
        await setup.clock.advance(22.0)
        story, told = await story_of(setup)
        assert story.outcome.kind == OutcomeKind.NO_CAPACITY
        assert story.outcome.detail
        assert story.unchanged_because.endswith(story.outcome.detail)
        assert "Nothing changed: " in told


async def test_a_dry_run_is_told_as_such(tmp_path):
    async with running(tmp_path, AUTOSCALER_DRY_RUN="true") as setup:
        await setup.clock.advance(60.0)
        story, told = await story_of(setup)
        assert (story.current, story.dry_run, story.outcome.kind) == (1, True, "dry_run")
        assert story.last_update is None
        assert "was not applied: dry run, not sent" in told


async def test_a_cluster_that_cannot_be_observed_any_more_is_told_with_the_age(tmp_path):
    async with running(tmp_path) as setup:
        await setup.clock.advance(30.0)
        before, _ = await fetch(url_of(setup))
        assert before.failure == ""
        setup.emulator.emulation.faults.add(Fault(path=STATS, calls=None, status=503))
        await setup.clock.advance(100.0)
        answer, _ = await fetch(url_of(setup))
        assert answer.age_s >= 90.0
        assert "503" in answer.failure
        assert answer.deployments == before.deployments
