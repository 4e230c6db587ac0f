"""`release`, against an emulated cluster."""

import json

import pytest
import structlog

from autoscaler.adapters.state import SqliteStore, recorded_stopped
from autoscaler.config import load
from autoscaler.core.selection import OnExit
from autoscaler.core.state import StoppedDeployment
from autoscaler.core.values import AdaptiveAllocations, DeploymentStats
from autoscaler.operate.release import DeploymentsUnreadable, ReleaseOptions, release
from autoscaler.simulation.emulator.faults import Fault, Reset
from autoscaler.simulation.emulator.server import running_emulator
from autoscaler.simulation.scenario import (
    Adaptive,
    ClusterScenario,
    ScenarioDeployment,
    ScenarioModel,
    ScenarioNode,
)
from tests.virtual_clock import VirtualClock

SCENARIO = ClusterScenario(
    nodes=[ScenarioNode(name="ml-1", processors=32)],
    models=[ScenarioModel(model_id="e5")],
    deployments=[
        ScenarioDeployment(model_id="e5", deployment_id="kept", number_of_allocations=2),
        ScenarioDeployment(model_id="e5", deployment_id="adaptive"),
        ScenarioDeployment(
            model_id="e5",
            deployment_id="bounded",
            adaptive_allocations=Adaptive(
                enabled=True, min_number_of_allocations=3, max_number_of_allocations=4
            ),
        ),
        ScenarioDeployment(model_id="e5", deployment_id="safe", number_of_allocations=2),
        ScenarioDeployment(model_id="e5", deployment_id="watched"),
        ScenarioDeployment(model_id="e5", deployment_id="unmanaged"),
    ],
)
RULES = [
    {"name": "kept", "deployments": "kept"},
    {"name": "adaptive", "deployments": "adaptive", "on_exit": "adaptive", "take_over": True},
    {"name": "bounds", "deployments": "bounded", "on_exit": "adaptive", "mode": "bounds"},
    {"name": "floor", "deployments": "safe", "on_exit": "floor", "safe_allocations": 5},
    {"name": "dry", "deployments": "watched", "on_exit": "adaptive", "dry_run": True},
    {"name": "idle", "deployments": "idle*", "min_allocations": 2},
]
MAXIMUM = 6


class World:
    """An emulated cluster, its clock, a configuration, and the lines that were shown."""

    def __init__(self, emulator, clock, state_dir, **environ):
        self.emulation, self.cluster = emulator.emulation, emulator.cluster
        self.state_dir = state_dir
        self.lines: list[str] = []
        self._clock = clock
        environ |= {
            "AUTOSCALER_ELASTICSEARCH__HOSTS": emulator.url,
            "AUTOSCALER_DEFAULTS__MAX_ALLOCATIONS": str(MAXIMUM),
            "AUTOSCALER_RULES": json.dumps(RULES),
        }
        if "AUTOSCALER_STATE" not in environ:
            environ["AUTOSCALER_STATE_DIR"] = str(state_dir)
        self._config = load(None, environ)

    def store(self):
        log = structlog.wrap_logger(structlog.ReturnLogger())
        return SqliteStore(self.state_dir, self._clock, log, in_thread=False)

    async def save(self, stopped):
        """What a daemon has recorded that is no longer there."""
        store = self.store()
        await store.open(())
        await store.save_stopped(stopped)
        await store.close()

    def recorded(self):
        return recorded_stopped(self.state_dir, None)

    async def release(self, *names, to=None, dry_run=False):
        """The number of deployments that could not be released."""

        def show(line):
            self.lines.append(line.message)

        options = ReleaseOptions(names=names, to=to, dry_run=dry_run)
        return await self._clock.run(release(self._config, options, self._clock, show))

    def allocations(self, deployment_id):
        return self.cluster.deployments[deployment_id].parameters.number_of_allocations

    def adaptive(self, deployment_id):
        """The bounds of the adaptive allocations, if they are enabled."""
        found = self.cluster.deployments[deployment_id].adaptive
        if found is None or not found.enabled:
            return None
        return found.min_number_of_allocations, found.max_number_of_allocations


@pytest.fixture
def open_world(tmp_path):
    async def opened(scenario=SCENARIO, **environ):
        clock = VirtualClock()
        async with running_emulator(scenario, clock=clock) as emulator:
            await clock.advance(60.0)
            yield World(emulator, clock, tmp_path / "state", **environ)

    return opened


@pytest.fixture
async def world(open_world):
    async for each in open_world():
        yield each


def stopped(deployment_id, **stats):
    stats = {"threads_per_allocation": 1, "queue_capacity": 77, "allocations": 4} | stats
    return StoppedDeployment(stats=DeploymentStats(deployment_id, "e5", **stats), since=0.0)


async def test_each_is_released_as_its_rule_says(world):
    assert await world.release() == 0
    assert world.lines == [
        "adaptive was given adaptive allocations between 1 and 6",
        "bounded was given adaptive allocations between 1 and 6",
        "kept is unchanged: on_exit of rule kept is keep; use --to adaptive or --to floor",
        "safe was given 5 allocations",
        "watched is unchanged: rule dry is a dry run; name it to include it",
    ]
    assert world.adaptive("adaptive") == world.adaptive("bounded") == (1, 6)
    assert (world.allocations("safe"), world.allocations("kept")) == (5, 2)
    assert world.adaptive("watched") is None


async def test_all_to_adaptive_allocations(world):
    assert await world.release(to=OnExit.ADAPTIVE) == 0
    for deployment_id in ("kept", "adaptive", "safe", "bounded"):
        assert world.adaptive(deployment_id) == (1, 6)
    assert world.adaptive("watched") is None
    assert world.adaptive("unmanaged") is None


async def test_all_to_the_floor(world):
    assert await world.release(to=OnExit.FLOOR) == 0
    assert world.allocations("safe") == 5
    for deployment_id in ("kept", "adaptive", "bounded"):
        assert world.allocations(deployment_id) == MAXIMUM
    assert "bounded was given 6 allocations and its adaptive allocations disabled" in (world.lines)
    assert world.adaptive("bounded") is None


async def test_the_second_time_nothing_changes(world):
    await world.release(to=OnExit.FLOOR)
    world.lines.clear()
    assert await world.release(to=OnExit.FLOOR) == 0
    assert [line for line in world.lines if not line.startswith("watched")] == [
        f"{name} needs no change" for name in ("adaptive", "bounded", "kept", "safe")
    ]


async def test_named_deployments_only_even_in_dry_run(world):
    assert await world.release("watched") == 0
    assert world.lines == ["watched was given adaptive allocations between 1 and 6"]
    assert world.adaptive("adaptive") is None


async def test_a_dry_run_of_all_rules_is_named_as_such(open_world):
    async for world in open_world(AUTOSCALER_DRY_RUN="true"):
        assert await world.release() == 0
        because = "is unchanged: dry_run is set for all; name it to include it"
        assert world.lines == [
            f"{name} {because}" for name in ("adaptive", "bounded", "kept", "safe", "watched")
        ]


async def test_a_lost_response_is_not_reported_as_a_refusal(world):
    path = "*/safe/deployment/_update"
    world.emulation.faults.add(Fault(path=path, calls=None, reset=Reset.AFTER))
    assert await world.release("safe") == 1
    (line,) = world.lines
    assert line.startswith("safe may have been given 5 allocations: ")


async def test_deployments_with_adaptive_allocations_from_the_start_stay_unchanged(open_world):
    on = Adaptive(enabled=True)
    scenario = ClusterScenario(
        nodes=SCENARIO.nodes,
        models=SCENARIO.models,
        deployments=[
            ScenarioDeployment(model_id="e5", deployment_id=name, adaptive_allocations=on)
            for name in ("kept", "safe")
        ],
    )
    async for world in open_world(scenario):
        assert await world.release(to=OnExit.ADAPTIVE) == 0
        text = "is unchanged: its adaptive allocations are enabled; name it to include it"
        assert world.lines == [f"kept {text}", f"safe {text}"]
        assert await world.release("safe") == 0
        assert (world.allocations("safe"), world.adaptive("safe")) == (5, None)


async def test_unmanaged_and_unknown_deployments_are_not_released(world):
    assert await world.release("unmanaged", "gone") == 2
    assert world.lines == [
        "gone: not found in the cluster or in the saved state",
        "unmanaged is unchanged: no rule manages it",
    ]


async def test_a_dry_run_changes_nothing(world):
    await world.save({"idle-1": stopped("idle-1")})
    assert await world.release(to=OnExit.ADAPTIVE, dry_run=True) == 0
    assert "kept would be given adaptive allocations between 1 and 6" in (world.lines)
    assert world.adaptive("kept") is None
    assert "idle-1" in world.recorded()
    assert "idle-1" not in world.cluster.deployments


async def test_a_refusal_is_reported_and_the_others_are_released(world):
    world.emulation.faults.add(
        Fault(path="*/adaptive/deployment/_update", calls=None, status=429,
              error_type="status_exception", body="not enough resources")
    )  # fmt: skip
    assert await world.release() == 1
    (line,) = [line for line in world.lines if line.startswith("adaptive")]
    assert line.startswith("adaptive was not given adaptive allocations between 1 and 6: ")
    assert "not enough resources" in line
    assert world.adaptive("bounded") == (1, 6)


async def test_before_8_16_there_are_no_adaptive_allocations(open_world):
    old = ClusterScenario(
        version="8.15", nodes=SCENARIO.nodes, models=SCENARIO.models,
        deployments=SCENARIO.deployments[1:2],
    )  # fmt: skip
    async for world in open_world(old):
        assert await world.release() == 1
        (line,) = world.lines
        assert "8.16 or later" in line


async def test_a_cluster_that_cannot_be_reached(open_world):
    async for each in open_world():
        world = each
    with pytest.raises(DeploymentsUnreadable, match="cannot be reached"):
        await world.release()


class TestStoppedDeployments:
    async def test_are_started_as_their_rule_allows_and_removed_from_the_record(self, world):
        await world.save({"idle-1": stopped("idle-1")})
        assert await world.release("idle-1") == 0
        assert world.lines == ["idle-1 was started again, with 2 allocations"]
        assert world.cluster.deployments["idle-1"].parameters.queue_capacity == 77
        assert world.allocations("idle-1") == 2
        assert world.recorded() == {}

    async def test_are_started_with_all_the_others(self, world):
        await world.save({"idle-1": stopped("idle-1"), "idle-2": stopped("idle-2")})
        assert await world.release() == 0
        assert {"idle-1", "idle-2"} <= set(world.cluster.deployments)
        assert world.recorded() == {}

    async def test_are_started_in_the_state_they_are_released_to(self, world):
        await world.save({"idle-1": stopped("idle-1"), "idle-2": stopped("idle-2")})
        assert await world.release("idle-1", to=OnExit.ADAPTIVE) == 0
        assert await world.release("idle-2", to=OnExit.FLOOR) == 0
        assert world.lines == [
            "idle-1 was started again, with adaptive allocations between 2 and 6",
            "idle-2 was started again, with 6 allocations",
        ]
        assert world.adaptive("idle-1") == (2, 6)
        assert world.allocations("idle-2") == MAXIMUM

    async def test_without_a_rule_are_started_as_they_were(self, world):
        adaptive = AdaptiveAllocations(enabled=True, minimum=1, maximum=3)
        await world.save({"other": stopped("other"), "third": stopped("third", adaptive=adaptive)})
        assert await world.release("other", "third") == 0
        assert world.allocations("other") == 4
        assert world.adaptive("third") == (1, 3)

    async def test_that_cannot_be_started_stay_in_the_record(self, world):
        unknown = StoppedDeployment(stats=DeploymentStats("idle-1", "no-such-model"), since=0.0)
        await world.save({"idle-1": unknown})
        assert await world.release("idle-1") == 1
        assert world.lines[0].startswith("idle-1 was not started again, with 2 allocations: ")
        assert "idle-1" in world.recorded()

    async def test_that_run_again_are_only_removed_from_the_record(self, world):
        await world.save({"kept": stopped("kept"), "unmanaged": stopped("unmanaged")})
        assert await world.release() == 0
        assert "unmanaged is already running" in world.lines
        assert world.recorded() == {}
        assert world.allocations("kept") == 2

    async def test_that_cannot_be_removed_from_the_record_are_a_failure(self, world):
        await world.save({"idle-1": stopped("idle-1")})
        daemon = world.store()
        await daemon.open(())
        assert await world.release("idle-1") == 1
        await daemon.close()
        text = "idle-1 was started again, with 2 allocations, but is still recorded as stopped: "
        assert world.lines[0].startswith(f"{text}process ")
        assert "idle-1" in world.cluster.deployments

    async def test_that_are_not_known_are_a_failure_and_those_that_run_are_released(
        self, open_world
    ):
        async for world in open_world(AUTOSCALER_STATE="elasticsearch"):
            fault = Fault(path="*/_mget", status=503, error_type="no_shard", calls=None)
            world.emulation.faults.add(fault)
            assert await world.release() == 1
            assert world.lines[0].startswith(
                "deployments that the autoscaler stopped are not known: the state in the index "
                "autoscaler-state cannot be read: "
            )
            assert "safe was given 5 allocations" in world.lines
