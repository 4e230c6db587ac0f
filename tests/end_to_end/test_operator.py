"""What an operator sees: `explain`, the log, /decisions and the metrics of a running daemon."""

from autoscaler.simulation.cluster import AdaptivePatch
from autoscaler.simulation.emulator.faults import Fault
from autoscaler.simulation.loads import Steady
from autoscaler.simulation.scenario import ClusterScenario, ScenarioDeployment, ScenarioNode
from tests.end_to_end.explaining import entry_of, explained
from tests.end_to_end.world import STATS
from tests.test_daemon import SCENARIO, WITHOUT_MANAGE_ML, running

LARGE = ClusterScenario(
    nodes=[ScenarioNode(name="ml-1", processors=16), ScenarioNode(name="ml-2", processors=16)],
    models=SCENARIO.models,
    deployments=[
        ScenarioDeployment(model_id="e5", number_of_allocations=24, load=Steady(rate_per_s=400.0)),
    ],
)
UP_TO_24 = {"AUTOSCALER_RULES": '[{"name": "all", "max_allocations": 24}]'}
WATCHER = {
    "AUTOSCALER_ELASTICSEARCH__USERNAME": "watcher",
    "AUTOSCALER_ELASTICSEARCH__PASSWORD": "secret",
}


async def series(setup, name):
    """The samples of a metric: labels and value as text."""
    _, text = await setup.get("/metrics")
    return {
        line.removeprefix(name)
        for line in text.splitlines()
        if line.startswith((f"{name}{{", f"{name} "))
    }


def warnings(setup):
    return [entry["event"] for entry in setup.log if entry["log_level"] in ("warning", "error")]


class TestLostNode:
    async def test_it_is_shown_everywhere_within_one_cycle(self, tmp_path):
        async with running(tmp_path, LARGE, **UP_TO_24) as setup:
            await setup.clock.advance(60.0)
            assert warnings(setup) == []
            setup.emulator.cluster.remove_node("ml-2")
            await setup.clock.advance(10.0)

            (message,) = setup.messages("allocations.missing")
            assert message.startswith("e5: 16 of 24 running; 8 lost; the cluster reports: ")
            assert "insufficient allocated processors" in message

            entry = await entry_of(setup)
            assert (entry.running, entry.requested, entry.running_text) == (
                16,
                24,
                "16 of 24 running",
            )
            assert (entry.shortfall.cause, entry.shortfall.lost) == ("lost", 8)
            assert "insufficient allocated processors" in entry.reported.reason
            assert entry.message.startswith("e5 16 of 24 running, stays at 24: ")

            first, second, *_ = await explained(setup, "e5")
            assert first == "e5: 16 of 24 running; 8 lost"
            assert second.startswith("The cluster reports: ")
            (row,) = [line for line in await explained(setup) if line.startswith(" e5")]
            assert row.split(maxsplit=1)[1].startswith("16 of 24 running, ")

            expected = {'{cause="lost",deployment="e5"} 8.0'}
            assert await series(setup, "autoscaler_missing_allocations") == expected

    async def test_it_is_logged_once_and_so_is_its_end(self, tmp_path):
        async with running(tmp_path, LARGE, **UP_TO_24) as setup:
            await setup.clock.advance(60.0)
            node = setup.emulator.cluster.nodes["ml-2"]
            setup.emulator.cluster.remove_node("ml-2")
            await setup.clock.advance(300.0)
            assert len(setup.messages("allocations.missing")) == 1
            assert setup.messages("allocations.running") == []
            assert await series(setup, "autoscaler_late_ratio_now")
            setup.emulator.cluster.add_node(node)
            await setup.clock.advance(60.0)
            (message,) = setup.messages("allocations.running")
            assert message.startswith("e5: all 24 allocations run again, after 4.9 min")
            assert await series(setup, "autoscaler_missing_allocations") == set()

    async def test_a_second_loss_is_logged_again(self, tmp_path):
        async with running(tmp_path, LARGE, **UP_TO_24) as setup:
            await setup.clock.advance(60.0)
            setup.emulator.cluster.remove_node("ml-2")
            await setup.clock.advance(30.0)
            setup.emulator.cluster.remove_node("ml-1")
            await setup.clock.advance(30.0)
            first, second = setup.messages("allocations.missing")
            assert "16 of 24 running" in first
            assert second.startswith("e5: 0 of 24 running; 24 lost")
            (top, *_) = await explained(setup, "e5")
            assert top.startswith("e5: 0 of 24 running; 24 lost")

    async def test_a_node_that_returns_partly_is_logged_and_so_is_the_rest(self, tmp_path):
        async with running(tmp_path, LARGE, **UP_TO_24) as setup:
            await setup.clock.advance(60.0)
            nodes = dict(setup.emulator.cluster.nodes)
            setup.emulator.cluster.remove_node("ml-2")
            setup.emulator.cluster.remove_node("ml-1")
            await setup.clock.advance(60.0)
            setup.emulator.cluster.add_node(nodes["ml-1"])
            await setup.clock.advance(60.0)
            (changed,) = setup.messages("allocations.changed")
            assert changed.startswith("e5: 16 of 24 running; 8 lost, for ")
            assert "; before, 0 ran" in changed
            assert setup.messages("allocations.running") == []
            setup.emulator.cluster.add_node(nodes["ml-2"])
            await setup.clock.advance(60.0)
            assert len(setup.messages("allocations.running")) == 1

    async def test_a_rollout_is_no_loss(self, tmp_path):
        async with running(tmp_path) as setup:
            await setup.clock.advance(120.0)
            assert setup.messages("update.accepted")
            assert warnings(setup) == []


class TestObserveOnly:
    async def test_a_missing_privilege_is_not_called_a_dry_run(self, tmp_path):
        async with running(tmp_path, WITHOUT_MANAGE_ML, **WATCHER) as setup:
            await setup.until_logged("cluster.observe_only")
            await setup.clock.advance(60.0)
            entry = await entry_of(setup)
            assert (entry.dry_run, entry.outcome.kind) == (False, "observe_only")
            assert entry.observe_only.cause == "privilege"
            assert entry.observe_only.message.endswith("grant manage_ml")
            for lines in (await explained(setup), await explained(setup, "e5")):
                text = "\n".join(lines)
                assert text.lower().count("grant manage_ml") == 1
                assert "observe only" in text.lower()
                assert "dry run" not in text
            assert not [entry for entry in setup.log if "dry run" in entry.get("message", "")]
            assert await series(setup, "autoscaler_dry_run") == {'{deployment="e5"} 0.0'}
            expected = {'{deployment="e5",reason="privilege"} 1.0'}
            assert await series(setup, "autoscaler_observe_only") == expected
            (updates,) = await series(setup, "autoscaler_updates_total")
            assert 'outcome="observe_only"' in updates

    async def test_a_dry_run_stays_one(self, tmp_path):
        environment = {"AUTOSCALER_DRY_RUN": "true", **WATCHER}
        async with running(tmp_path, WITHOUT_MANAGE_ML, **environment) as setup:
            await setup.until_logged("cluster.observe_only")
            await setup.clock.advance(60.0)
            entry = await entry_of(setup)
            assert (entry.dry_run, entry.outcome.kind) == (True, "dry_run")


async def test_a_deployment_left_to_adaptive_allocations_is_a_warning_once(tmp_path):
    async with running(tmp_path) as setup:
        await setup.clock.advance(60.0)
        enabled = AdaptivePatch(
            enabled=True, min_number_of_allocations=1, max_number_of_allocations=2
        )
        setup.emulator.cluster.update_deployment("e5", adaptive=enabled)
        await setup.clock.advance(120.0)
        left = [
            entry["message"]
            for entry in setup.log
            if entry["event"] == "decision.made" and entry["log_level"] == "warning"
        ]
        assert len(left) == 1
        assert "adaptive allocations are enabled" in left[0]
        (managed,) = await series(setup, "autoscaler_managed")
        assert 'reason="adaptive_enabled"' in managed
        assert managed.endswith(" 0.0")


async def test_a_vanished_deployment_is_shown_with_what_it_had(tmp_path):
    async with running(tmp_path) as setup:
        await setup.clock.advance(60.0)
        had = setup.requested
        setup.emulator.cluster.stop_deployment("e5", force=True)
        await setup.clock.advance(30.0)
        entry = await entry_of(setup)
        assert entry.allocations == had
        assert (await explained(setup, "e5"))[0].endswith(f" UTC, had {had}.")
        assert any(f", had {had}" in line for line in await explained(setup))


async def test_a_refused_reload_and_a_failed_observation_stand_first(tmp_path):
    async with running(tmp_path) as setup:
        await setup.clock.advance(30.0)
        setup.write(top="frobnicate = 1")
        setup.daemon.reload()
        await setup.until_reloaded("config.reload_failed")
        setup.emulator.emulation.faults.add(Fault(path=STATS, calls=None, status=503))
        await setup.clock.advance(60.0)
        lines = await explained(setup)
        assert lines[0].startswith("The configuration was not reloaded, so the previous one is in")
        (at,) = [index for index, line in enumerate(lines) if line.startswith("Not observed since")]
        (table,) = [index for index, line in enumerate(lines) if line.startswith(" deployment")]
        assert at < table
        setup.write()
        setup.daemon.reload()
        await setup.until_reloaded()
        assert not any("not reloaded" in line for line in await explained(setup))


async def test_nothing_wraps_in_a_pipe_and_nothing_is_repeated(tmp_path):
    async with running(tmp_path, LARGE, **UP_TO_24) as setup:
        await setup.clock.advance(60.0)
        setup.emulator.cluster.remove_node("ml-2")
        await setup.clock.advance(30.0)
        lines = await explained(setup, "e5")
        reason = (await entry_of(setup)).reported.reason
        assert sum(line.count(reason) for line in lines) == 1
        assert sum(line.count("16 of 24 running") for line in lines) <= 2
        assert all(line == line.rstrip() for line in lines)
        (row,) = [line for line in await explained(setup) if line.startswith(" e5")]
        assert " now, " in row  # the wait with the running allocations, and with all
        setup.emulator.cluster.remove_node("ml-1")
        await setup.clock.advance(10.0)
        text = "\n".join(await explained(setup, "e5"))
        assert text.count("issues") == 1


class TestExternalChange:
    async def test_it_is_named_counted_and_logged_once(self, tmp_path):
        async with running(tmp_path) as setup:
            await setup.clock.advance(60.0)
            setup.emulator.cluster.update_deployment("e5", number_of_allocations=2)
            await setup.clock.advance(30.0)
            (message,) = setup.messages("deployment.changed")
            assert message == "e5: another writer changed it from 5 to 2; respected for 10 min"
            text = "\n".join(await explained(setup, "e5"))
            assert text.count("another writer changed it from 5 to 2") == 1
            expected = {'{deployment="e5"} 1.0'}
            assert await series(setup, "autoscaler_external_changes_total") == expected
            assert await series(setup, "autoscaler_second_writer") == set()

    async def test_a_second_writer_has_a_metric_and_advice(self, tmp_path):
        async with running(tmp_path) as setup:
            await setup.clock.advance(60.0)
            for allocations in (2, 3, 4):
                setup.emulator.cluster.update_deployment("e5", number_of_allocations=allocations)
                await setup.clock.advance(30.0)
            assert "look for a second autoscaler" in setup.messages("deployment.changed")[-1]
            assert "look for a second autoscaler" in "\n".join(await explained(setup, "e5"))
            assert await series(setup, "autoscaler_second_writer") == {'{deployment="e5"} 1.0'}
