"""`start` and `stop`, against an emulated cluster."""

import io
import re

import msgspec
import pytest
from rich.console import Console

from autoscaler.config import load
from autoscaler.core.values import DeploymentStats, NodeStats
from autoscaler.operate.progress import Progress, ProgressView
from autoscaler.operate.start import StartFailed, StartOptions, start
from autoscaler.operate.stop import StopFailed, stop
from autoscaler.simulation.emulator.faults import Fault, Reset
from autoscaler.simulation.emulator.server import running_emulator
from autoscaler.simulation.scenario import (
    Account,
    ClusterScenario,
    ScenarioDeployment,
    ScenarioModel,
    ScenarioNode,
    SecuritySettings,
)
from tests.virtual_clock import VirtualClock

START = "*/deployment/_start"
STATS = "/_ml/trained_models/_stats"

SCENARIO = ClusterScenario(
    nodes=[ScenarioNode(name="ml-1", processors=4)],
    models=[
        ScenarioModel(model_id="e5", load_s=20.0),
        ScenarioModel(model_id="elser", load_s=20.0),
        ScenarioModel(model_id="huge", size="1000gb"),
    ],
    deployments=[ScenarioDeployment(model_id="e5")],
)
WATCHER = SecuritySettings(
    accounts=[
        Account(username="watcher", password="secret", roles=["watching"]),
        Account(username="starter", password="secret", roles=["starting"]),
    ],
    roles={"watching": ["monitor_ml", "monitor"], "starting": ["manage_ml"]},
)


class World:
    """An emulated cluster, its clock, and the configuration of the commands."""

    def __init__(self, emulator, clock, environ):
        self.emulation, self.cluster = emulator.emulation, emulator.cluster
        self.clock = clock
        self.polls: list[Progress] = []
        self.config = load(None, {"AUTOSCALER_ELASTICSEARCH__HOSTS": emulator.url} | environ)

    async def start(self, model_id, **settings):
        options = StartOptions(model_id=model_id, **settings)
        return await self.clock.run(start(self.config, options, self.clock, self.polls.append))

    async def start_error(self, model_id, **settings):
        with pytest.raises(StartFailed) as refused:
            await self.start(model_id, **settings)
        (sentence,) = str(refused.value).splitlines()
        return sentence

    async def stop(self, deployment_id, *, force=False):
        await self.clock.run(stop(self.config, deployment_id, self.clock, force=force))

    async def stop_error(self, deployment_id):
        with pytest.raises(StopFailed) as refused:
            await self.stop(deployment_id)
        (sentence,) = str(refused.value).splitlines()
        return sentence

    def fail(self, **fault):
        self.emulation.faults.add(Fault(**fault))


class Opening:
    """A world, until the end of the block."""

    def __init__(self, scenario=SCENARIO, **environ):
        self._scenario, self._environ = scenario, environ
        self._clock = VirtualClock()

    async def __aenter__(self):
        self._emulator = running_emulator(self._scenario, clock=self._clock)
        world = World(await self._emulator.__aenter__(), self._clock, self._environ)
        await self._clock.advance(60.0)
        return world

    async def __aexit__(self, *error):
        await self._emulator.__aexit__(*error)


def of_user(name, scenario=SCENARIO):
    return Opening(
        msgspec.structs.replace(scenario, security=WATCHER),
        AUTOSCALER_ELASTICSEARCH__USERNAME=name,
        AUTOSCALER_ELASTICSEARCH__PASSWORD="secret",
    )


class TestAStart:
    async def test_waits_until_the_deployment_runs(self):
        async with Opening() as world:
            reached = await world.start("elser")
            assert reached.sentence == "elser is fully allocated: 1 of 1 allocations run"
            assert 15.0 <= reached.elapsed_s <= 30.0
            assert world.cluster.deployments["elser"].allocation_state() == "fully_allocated"

    async def test_reports_meanwhile_what_it_waits_for(self):
        async with Opening() as world:
            await world.start("elser")
        sentences = [poll.sentence for poll in world.polls]
        assert sentences[0] == (
            "elser is starting: 0 of 1 allocations run; ml-1 is loading the model"
        )
        assert len(sentences) > 5

    async def test_waits_for_the_given_state_only(self):
        async with Opening() as world:
            reached = await world.start("elser", wait_for="starting")
            assert reached.elapsed_s < 1.0
            assert world.cluster.deployments["elser"].allocation_state() == "starting"

    async def test_sends_every_option(self):
        async with Opening() as world:
            await world.start(
                "elser",
                deployment_id="elser-search",
                allocations=1,
                threads=2,
                queue_capacity=77,
                cache_size="5mb",
                priority="normal",
                wait_for="fully_allocated",
            )
            given = world.cluster.deployments["elser-search"].parameters
        assert (given.model_id, given.number_of_allocations) == ("elser", 1)
        assert (given.threads_per_allocation, given.queue_capacity) == (2, 77)
        assert (given.cache_bytes, given.priority) == (5 * 2**20, "normal")

    async def test_can_enable_adaptive_allocations(self):
        async with Opening() as world:
            await world.start("elser", minimum=1, maximum=3)
            adaptive = world.cluster.deployments["elser"].adaptive
        assert adaptive.enabled
        assert (adaptive.min_number_of_allocations, adaptive.max_number_of_allocations) == (1, 3)

    async def test_that_times_out_reports_the_state_and_how_to_watch_and_remove_it(self):
        async with Opening() as world:
            message = await world.start_error("elser", timeout_s=5.0)
            assert message == (
                "elser is not started after 5 s; it continues to start: 0 of 1 allocations run; "
                "ml-1 is loading the model; watch it with "
                "`GET _ml/trained_models/elser/_stats`, remove it with `autoscaler stop elser`"
            )
            assert "elser" in world.cluster.deployments

    async def test_of_which_a_part_does_not_fit_reports_the_reason(self):
        scenario = msgspec.structs.replace(SCENARIO, can_grow=True)
        async with Opening(scenario) as world:
            message = await world.start_error(
                "elser", allocations=9, wait_for="fully_allocated", timeout_s=60.0
            )
        assert "elser is not fully allocated after 60 s" in message
        assert "3 of 9 allocations run" in message
        assert "reason: " in message

    async def test_continues_after_a_timeout_of_the_server(self):
        async with Opening() as world:
            await world.start("elser", deployment_id="other", wait_for="starting")
            world.fail(
                path=START, status=408, error_type="status_exception",
                body="Timed out after [20s] waiting for model deployment [other] to start",
            )  # fmt: skip
            # The deployment exists, as if this request had created it.
            reached = await world.start("elser", deployment_id="other")
        assert reached.has_reached("started")

    async def test_that_every_node_rejects_has_failed(self):
        async with Opening() as world:

            def crash_it(progress):
                if progress.elapsed_s < 1.0:
                    world.cluster.crash_process("elser", "ml-1")

            options = StartOptions(model_id="elser")
            with pytest.raises(StartFailed) as failed:
                await world.clock.run(start(world.config, options, world.clock, crash_it))
        assert re.fullmatch(
            "elser has failed: 0 of 1 allocations run; ml-1 failed .*; remove it with "
            "`autoscaler stop elser`",
            str(failed.value),
        )

    async def test_continues_while_the_statistics_cannot_be_read(self):
        async with Opening() as world:
            world.fail(path=STATS, calls=3, status=400, error_type="illegal_argument_exception")
            await world.start("elser")
        first = world.polls[0].sentence
        assert first.startswith("elser is not reported yet: not polled since: GET ")
        assert "not polled since" not in world.polls[-1].sentence

    async def test_whose_state_may_not_be_read_is_reported(self):
        async with of_user("starter") as world:
            world.fail(path=STATS, calls=None, status=403, error_type="security_exception")
            message = await world.start_error("elser")
            assert message.startswith("elser was started, but its state cannot be read: ")
            assert "elser" in world.cluster.deployments

    async def test_of_a_deployment_that_another_client_stops(self):
        async with Opening() as world:

            def stop_it(progress):
                world.cluster.stop_deployment("elser", force=True)

            options = StartOptions(model_id="elser")
            with pytest.raises(StartFailed, match="elser is no longer reported: another client"):
                await world.clock.run(start(world.config, options, world.clock, stop_it))


class TestARefusedStart:
    @pytest.mark.parametrize(
        ("settings", "pattern"),
        [
            (
                {"model_id": "elsr"},
                "elsr was not started: .*`GET _ml/trained_models` lists the models",
            ),
            (
                {"model_id": "e5"},
                "e5 was not started: .*exist; choose another id with --deployment-id",
            ),
            (
                {"model_id": "elser", "allocations": 99},
                "elser was not started: .*not enough resources.*; reduce --allocations",
            ),
            (
                {"model_id": "huge"},
                "huge was not started: .*no ML nodes with sufficient capacity.*; reduce",
            ),
            ({"model_id": "elser", "threads": 3}, "elser was not started: .*power of 2"),
            ({"model_id": "elser", "cache_size": "much"}, "elser was not started: .*cache_size"),
            (
                {"model_id": "elser", "priority": "low", "allocations": 2},
                "elser was not started: .*low",
            ),
        ],
    )
    async def test_is_a_sentence_with_a_remedy(self, settings, pattern):
        async with Opening() as world:
            sentence = await world.start_error(**settings)
        assert re.search(pattern, sentence), sentence
        assert world.polls == []

    @pytest.mark.parametrize("status", [409, 429])  # both are seen
    async def test_without_free_capacity_it_names_what_to_add(self, status):
        async with Opening() as world:
            if status == 409:
                world.fail(
                    path="*/_start",
                    status=409,
                    error_type="status_exception",
                    body="Could not start deployment because no ML nodes with sufficient capacity "
                    "were found",
                )
            sentence = await world.start_error("huge")
        assert "no ML nodes with sufficient capacity" in sentence
        assert sentence.endswith("or add machine learning nodes")

    async def test_without_a_licence(self):
        async with Opening() as world:
            world.emulation.licence_expired = True
            message = await world.start_error("elser")
        assert "platinum, enterprise or trial licence" in message

    async def test_without_a_privilege(self):
        async with of_user("watcher") as world:
            message = await world.start_error("elser")
        assert message.endswith("grant the cluster privilege manage_ml")

    @pytest.mark.parametrize(
        ("version", "settings", "text"),
        [
            ("8.7", {"deployment_id": "other"}, "--deployment-id needs Elasticsearch 8.8 or later"),
            ("8.15", {"minimum": 0, "maximum": 2}, "--min and --max need Elasticsearch 8.16"),
        ],
    )
    async def test_by_a_version_that_is_too_old(self, version, settings, text):
        scenario = msgspec.structs.replace(SCENARIO, version=version)
        async with Opening(scenario) as world:
            assert text in await world.start_error("elser", **settings)

    async def test_while_the_model_is_still_downloaded(self):
        async with Opening() as world:
            world.fail(
                path=START, status=408, error_type="status_exception",
                body="Model download task is currently running.",
            )  # fmt: skip
            assert await world.start_error("elser") == (
                "elser was not started: Model download task is currently running; "
                "start it again when the download has ended"
            )

    async def test_whose_response_is_lost_may_have_been_accepted(self):
        async with Opening() as world:
            world.fail(path=START, reset=Reset.AFTER)
            message = await world.start_error("elser")
            assert "elser" in world.cluster.deployments
        assert "elser may have been started: check with `GET _ml/trained_models/_stats`" in message

    async def test_of_a_cluster_that_cannot_be_reached(self):
        async with Opening() as world:
            pass
        message = await world.start_error("elser")
        assert "cannot be reached" in message
        assert "may have been" not in message


class TestAStop:
    async def test_removes_the_deployment(self):
        async with Opening() as world:
            await world.stop("e5")
            assert world.cluster.deployments == {}

    async def test_of_an_unknown_deployment(self):
        async with Opening() as world:
            assert await world.stop_error("e6") == (
                "deployment e6 not found; `autoscaler check` lists the deployments"
            )

    async def test_of_a_deployment_in_use_names_its_users_and_the_effect_of_force(self):
        async with Opening() as world:
            world.cluster.pipelines["enrich"] = "e5"
            message = await world.stop_error("e5")
            assert "enrich" in message
            assert message.startswith("e5 was not stopped, because it is in use: ")
            assert "with --force it is stopped anyway: queued requests are refused" in message
            await world.stop("e5", force=True)
            assert world.cluster.deployments == {}

    async def test_without_a_privilege(self):
        async with of_user("watcher") as world:
            message = await world.stop_error("e5")
        assert message.startswith("e5 was not stopped: ")
        assert "manage_ml" in message

    async def test_whose_response_is_lost(self):
        async with Opening() as world:
            world.fail(path="*/deployment/_stop", reset=Reset.AFTER)
            message = await world.stop_error("e5")
        assert "e5 may have been stopped: check with" in message

    async def test_of_a_cluster_that_cannot_be_reached(self):
        async with Opening() as world:
            pass
        assert "cannot be reached" in await world.stop_error("e5")


FAILED = DeploymentStats(
    "e5",
    "e5",
    state="failed",
    allocations=2,
    nodes=(
        NodeStats("a", "failed", name="ml-1", routing_reason="no [memory]."),
        NodeStats("b", "starting"),
        NodeStats("c", "started"),
    ),
)


class TestProgress:
    def test_of_nodes_that_failed(self):
        progress = Progress(deployment_id="e5", elapsed_s=1.0, stats=FAILED)
        assert progress.failed
        assert progress.sentence == (
            "e5 is failed: 0 of 2 allocations run; ml-1 failed (no [memory]); "
            "b is loading the model"
        )

    def test_of_a_deployment_that_is_not_reported_yet(self):
        progress = Progress(deployment_id="e5", elapsed_s=0.0)
        assert progress.sentence == "e5 is not reported yet"
        assert not progress.has_reached("starting")

    def shown(self, *progresses, terminal):
        stream = io.StringIO()
        with ProgressView(Console(file=stream, force_terminal=terminal, width=120)) as show:
            for progress in progresses:
                show(progress)
        return stream.getvalue()

    def test_without_a_terminal_is_a_line_for_each_change(self):
        progress = Progress(deployment_id="e5", elapsed_s=1.0, stats=FAILED)
        later = msgspec.structs.replace(progress, elapsed_s=2.0)
        text = self.shown(progress, later, terminal=False)
        assert text == f"{progress.sentence}\n"

    def test_on_a_terminal_is_shown_in_one_line(self):
        progress = Progress(deployment_id="e5", elapsed_s=1.4, stats=FAILED)
        assert f"1.4 s  {progress.sentence}" in self.shown(progress, terminal=True)
