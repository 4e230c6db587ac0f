"""`release`: deployments left safe without a daemon, against an emulated cluster."""

import json

import pytest

from autoscaler.adapters.state_file import StateFile
from autoscaler.config import load
from autoscaler.core.selection import OnExit
from autoscaler.core.state import StoppedDeployment
from autoscaler.core.values import AdaptiveAllocations, DeploymentStats
from autoscaler.operate.release import DeploymentsUnreadable, ReleaseOptions, release
from autoscaler.simulation.emulator.faults import Fault
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
        ScenarioDeployment(model_id="e5", deployment_id="own-scaler"),
        ScenarioDeployment(
            model_id="e5",
            deployment_id="steered",
            adaptive_allocations=Adaptive(
                enabled=True, min_number_of_allocations=3, max_number_of_allocations=4
            ),
        ),
        ScenarioDeployment(model_id="e5", deployment_id="safe", number_of_allocations=2),
        ScenarioDeployment(model_id="e5", deployment_id="watched"),
        ScenarioDeployment(model_id="e5", deployment_id="nobodys"),
    ],
)
RULES = [
    {"name": "kept", "deployments": "kept"},
    {"name": "native", "deployments": "own-scaler", "on_exit": "adaptive"},
    {"name": "bounds", "deployments": "steered", "on_exit": "adaptive", "mode": "bounds"},
    {"name": "floor", "deployments": "safe", "on_exit": "floor", "safe_allocations": 5},
    {"name": "dry", "deployments": "watched", "on_exit": "adaptive", "mode": "observe"},
    {"name": "sleepers", "deployments": "sleep*", "min_allocations": 2},
]
MAXIMUM = 6


class World:
    """A cluster, the time it lives in, a configuration, and what was said."""

    def __init__(self, emulator, clock, state_file):
        self.emulation, self.cluster = emulator.emulation, emulator.cluster
        self.bedside = StateFile(state_file)
        self.lines: list[str] = []
        self._clock = clock
        environ = {
            "AUTOSCALER_ELASTICSEARCH__HOSTS": emulator.url,
            "AUTOSCALER_DEFAULTS__MAX_ALLOCATIONS": str(MAXIMUM),
            "AUTOSCALER_RULES": json.dumps(RULES),
            "AUTOSCALER_STATE_FILE": str(state_file),
        }
        self._config = load(None, environ)

    async def release(self, *names, to=None, dry_run=False):
        """How many could not be released."""

        def tell(line):
            self.lines.append(f"{line.deployment_id} {line.sentence}")

        wish = ReleaseOptions(names=names, to=to, dry_run=dry_run)
        return await self._clock.run(release(self._config, wish, self._clock, tell))

    def number(self, deployment_id):
        return self.cluster.deployments[deployment_id].parameters.number_of_allocations

    def native(self, deployment_id):
        """The bounds of the cluster's own scaler, if it is on."""
        found = self.cluster.deployments[deployment_id].adaptive
        if found is None or not found.enabled:
            return None
        return found.min_number_of_allocations, found.max_number_of_allocations


@pytest.fixture
def open_world(tmp_path):
    async def opened(scenario=SCENARIO, state_file="asleep.json"):
        clock = VirtualClock()
        async with running_emulator(scenario, clock=clock) as emulator:
            await clock.advance(60.0)
            yield World(emulator, clock, tmp_path / state_file)

    return opened


@pytest.fixture
async def world(open_world):
    async for each in open_world():
        yield each


def sleeper(deployment_id, **stats):
    stats = {"threads_per_allocation": 1, "queue_capacity": 77, "allocations": 4} | stats
    return StoppedDeployment(stats=DeploymentStats(deployment_id, "e5", **stats), since=0.0)


async def test_each_is_left_as_its_rule_says(world):
    assert await world.release() == 0
    kept = "is left as it is, since on_exit of the rule kept is keep"
    assert world.lines == [
        f"kept {kept}; say --to native or --to floor to change that",
        "own-scaler was left to Elasticsearch's own scaler, between 1 and 6 allocations",
        "safe was given 5 allocations",
        "steered was left to Elasticsearch's own scaler, between 1 and 6 allocations",
        "watched is left as it is, since the rule dry only observes; name it to include it",
    ]
    assert world.native("own-scaler") == world.native("steered") == (1, 6)
    assert (world.number("safe"), world.number("kept")) == (5, 2)
    assert world.native("watched") is None


async def test_all_to_the_clusters_scaler(world):
    assert await world.release(to=OnExit.ADAPTIVE) == 0
    for deployment_id in ("kept", "own-scaler", "safe", "steered"):
        assert world.native(deployment_id) == (1, 6)
    assert world.native("watched") is None
    assert world.native("nobodys") is None


async def test_all_to_a_number_that_is_safe(world):
    assert await world.release(to=OnExit.FLOOR) == 0
    assert world.number("safe") == 5
    for deployment_id in ("kept", "own-scaler", "steered"):
        assert world.number(deployment_id) == MAXIMUM
    assert "steered was given 6 allocations, and taken from Elasticsearch's own scaler" in (
        world.lines
    )
    assert world.native("steered") is None


async def test_the_second_time_there_is_nothing_to_do(world):
    await world.release(to=OnExit.FLOOR)
    world.lines.clear()
    assert await world.release(to=OnExit.FLOOR) == 0
    assert [line for line in world.lines if not line.startswith("watched")] == [
        f"{name} is safe as it is" for name in ("kept", "own-scaler", "safe", "steered")
    ]


async def test_only_those_that_are_named_even_if_only_observed(world):
    assert await world.release("watched") == 0
    assert world.lines == [
        "watched was left to Elasticsearch's own scaler, between 1 and 6 allocations"
    ]
    assert world.native("own-scaler") is None


async def test_what_the_clusters_scaler_has_had_all_along_stays_its(open_world):
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
        left = "is left as it is, since Elasticsearch's own scaler has it; name it to include it"
        assert world.lines == [f"kept {left}", f"safe {left}"]
        assert await world.release("safe") == 0
        assert (world.number("safe"), world.native("safe")) == (5, None)


async def test_what_is_nobodys_and_what_is_not_there_are_not_released(world):
    assert await world.release("nobodys", "gone") == 2
    assert world.lines == [
        "gone is not there: the cluster reports no such deployment, and none sleeps",
        "nobodys is left as it is, since no rule governs it",
    ]


async def test_to_see_what_would_be_done_changes_nothing(world):
    world.bedside.save({"sleepy": sleeper("sleepy")})
    assert await world.release(to=OnExit.ADAPTIVE, dry_run=True) == 0
    assert "kept would be left to Elasticsearch's own scaler, between 1 and 6 allocations" in (
        world.lines
    )
    assert world.native("kept") is None
    assert "sleepy" in world.bedside.load()
    assert "sleepy" not in world.cluster.deployments


async def test_a_refusal_is_told_and_the_others_are_released(world):
    world.emulation.faults.add(
        Fault(path="*/own-scaler/deployment/_update", calls=None, status=429,
              error_type="status_exception", body="not enough resources")
    )  # fmt: skip
    assert await world.release() == 1
    (told,) = [line for line in world.lines if line.startswith("own-scaler")]
    assert told.startswith(
        "own-scaler was not left to Elasticsearch's own scaler, between 1 and 6 allocations: "
    )
    assert "not enough resources" in told
    assert world.native("steered") == (1, 6)


async def test_before_8_16_there_is_nobody_to_leave_them_to(open_world):
    old = ClusterScenario(
        version="8.15", nodes=SCENARIO.nodes, models=SCENARIO.models,
        deployments=SCENARIO.deployments[1:2],
    )  # fmt: skip
    async for world in open_world(old):
        assert await world.release() == 1
        (told,) = world.lines
        assert "8.16 or later" in told


async def test_a_cluster_that_is_not_there(open_world):
    async for each in open_world():
        world = each
    with pytest.raises(DeploymentsUnreadable, match="cannot be reached"):
        await world.release()


class TestSleepers:
    async def test_are_started_again_as_their_rule_allows_and_no_longer_written_down(self, world):
        world.bedside.save({"sleepy": sleeper("sleepy")})
        assert await world.release("sleepy") == 0
        assert world.lines == ["sleepy was started again, with 2 allocations"]
        assert world.cluster.deployments["sleepy"].parameters.queue_capacity == 77
        assert world.number("sleepy") == 2
        assert world.bedside.load() == {}

    async def test_are_woken_with_all_the_others(self, world):
        world.bedside.save({"sleepy": sleeper("sleepy"), "sleep-2": sleeper("sleep-2")})
        assert await world.release() == 0
        assert {"sleepy", "sleep-2"} <= set(world.cluster.deployments)
        assert world.bedside.load() == {}

    async def test_are_started_as_what_they_are_released_to(self, world):
        world.bedside.save({"sleepy": sleeper("sleepy"), "sleep-2": sleeper("sleep-2")})
        assert await world.release("sleepy", to=OnExit.ADAPTIVE) == 0
        assert await world.release("sleep-2", to=OnExit.FLOOR) == 0
        assert world.lines == [
            "sleepy was started again, with Elasticsearch's own scaler between 2 and 6",
            "sleep-2 was started again, with 6 allocations",
        ]
        assert world.native("sleepy") == (2, 6)
        assert world.number("sleep-2") == MAXIMUM

    async def test_without_a_rule_are_started_as_they_were(self, world):
        native = AdaptiveAllocations(enabled=True, minimum=1, maximum=3)
        world.bedside.save({"other": sleeper("other"), "third": sleeper("third", adaptive=native)})
        assert await world.release("other", "third") == 0
        assert world.number("other") == 4
        assert world.native("third") == (1, 3)

    async def test_that_cannot_be_started_stay_written_down(self, world):
        unknown = StoppedDeployment(stats=DeploymentStats("sleepy", "no-such-model"), since=0.0)
        world.bedside.save({"sleepy": unknown})
        assert await world.release("sleepy") == 1
        assert world.lines[0].startswith("sleepy was not started again, with 2 allocations: ")
        assert "sleepy" in world.bedside.load()

    async def test_that_somebody_has_started_meanwhile_are_only_forgotten(self, world):
        world.bedside.save({"kept": sleeper("kept"), "nobodys": sleeper("nobodys")})
        assert await world.release() == 0
        assert "nobodys runs again already" in world.lines
        assert world.bedside.load() == {}
        assert world.number("kept") == 2

    async def test_that_cannot_be_struck_off_are_a_failure(self, open_world, tmp_path):
        longest = "x" * 250  # a name that can be read, but leaves no room for one beside it
        StateFile(tmp_path / "short").save({"sleepy": sleeper("sleepy")})
        (tmp_path / "short").rename(tmp_path / longest)
        async for world in open_world(state_file=longest):
            assert await world.release("sleepy") == 1
            told = "sleepy was started again, with 2 allocations, but is still written down as "
            assert world.lines[0].startswith(f"{told}asleep: the state file")
            assert "sleepy" in world.cluster.deployments
