"""`/decisions` and `explain` of a running daemon, with a clock that a test advances."""

import pytest

from autoscaler.core.decision import OutcomeKind
from autoscaler.explain import AdminRequestFailed, fetch
from autoscaler.simulation.emulator.faults import Fault
from autoscaler.simulation.loads import Steady
from autoscaler.simulation.scenario import (
    ClusterScenario,
    ScenarioDeployment,
    ScenarioModel,
    ScenarioNode,
)
from tests.end_to_end.explaining import daemon_of, entry_of, explained
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


async def entry_and_text(setup):
    """The entry of `e5`, and the text of `explain`."""
    return await entry_of(setup), "\n".join(await explained(setup, "e5", width=120))


async def test_a_daemon_that_has_just_started_reports_no_observation(tmp_path):
    async with running(tmp_path, started=False) as setup:
        setup.emulator.emulation.faults.add(Fault(path=STATS, calls=None, delay_s=3600.0))
        await setup.daemon.started.wait()
        with pytest.raises(AdminRequestFailed, match="the cluster has not been observed yet"):
            await fetch(daemon_of(setup))


async def test_an_update_and_why_nothing_changed_afterwards(tmp_path):
    async with running(tmp_path) as setup:
        await setup.clock.advance(11.0)
        entry = await entry_of(setup)
        assert (entry.current, entry.desired, entry.outcome.kind) == (1, entry.desired, "accepted")
        assert entry.unchanged_because == ""
        grown = entry.desired
        await setup.clock.advance(120.0)
        entry, text = await entry_and_text(setup)
        assert (entry.current, entry.desired, entry.outcome.kind) == (grown, grown, "unchanged")
        assert entry.load.arrival_rate_per_s == pytest.approx(60.0, rel=0.2)
        assert entry.load.service_time_s == pytest.approx(0.05, rel=0.05)
        assert (entry.last_update.kind, entry.last_update.desired) == ("accepted", grown)
        assert f"e5 stays at {grown}\n" in text
        _, _, reason = entry.unchanged_because.partition(": ")  # the load is in the rows below
        assert f"Nothing changed: {reason}." in text


async def test_all_deployments_and_why_one_is_not_managed(tmp_path):
    async with running(tmp_path, TWO) as setup:
        await setup.clock.advance(30.0)
        response, _ = await fetch(daemon_of(setup))
        hidden, managed = response.deployments
        assert (hidden.deployment, hidden.reason) == (".hidden", "hidden")
        assert managed.deployment == "e5"
        expected = r"\.hiden: not found in the cluster; did you mean \.hidden\?"
        with pytest.raises(AdminRequestFailed, match=expected):
            await fetch(daemon_of(setup), ".hiden")


async def test_a_refusal_is_reported_with_the_reason_of_the_cluster(tmp_path):
    async with running(tmp_path, CROWDED) as setup:
        # Otherwise the daemon would limit the request to what fits.
        setup.emulator.emulation.faults.add(Fault(path="/_ml/info", calls=None, status=403))
        await setup.clock.advance(11.0)
        while (await entry_of(setup)).outcome.kind == OutcomeKind.ACCEPTED:
            await setup.clock.advance(1.0)
        entry, text = await entry_and_text(setup)
        assert entry.outcome.kind == OutcomeKind.NO_CAPACITY
        assert entry.outcome.detail
        assert entry.unchanged_because.endswith(entry.outcome.detail)
        assert "Nothing changed: " in text


async def test_a_dry_run_is_reported(tmp_path):
    async with running(tmp_path, AUTOSCALER_DRY_RUN="true") as setup:
        await setup.clock.advance(60.0)
        entry, text = await entry_and_text(setup)
        assert (entry.current, entry.dry_run, entry.outcome.kind) == (1, True, "dry_run")
        assert entry.last_update is None
        assert "was not applied: dry run, not sent" in text


async def test_an_unreachable_cluster_is_reported_with_the_age_of_the_observation(tmp_path):
    async with running(tmp_path) as setup:
        await setup.clock.advance(30.0)
        before, _ = await fetch(daemon_of(setup))
        assert before.failure == ""
        setup.emulator.emulation.faults.add(Fault(path=STATS, calls=None, status=503))
        await setup.clock.advance(100.0)
        response, _ = await fetch(daemon_of(setup))
        assert response.age_s >= 90.0
        assert "503" in response.failure
        assert response.deployments == before.deployments
