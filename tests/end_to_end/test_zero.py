"""Down to nothing and back on every version: nothing is lost on the way, nobody left asleep."""

from contextlib import asynccontextmanager

import pytest
from msgspec.structs import replace
from prometheus_client import CollectorRegistry

from autoscaler.adapters.admin_http import AdminServer, DecisionRecorder, Health
from autoscaler.adapters.state_file import StateFile
from autoscaler.core.selection import OnExit, ScaleToZero, ZeroMethod
from autoscaler.core.values import Mode, OutcomeKind, Schedule
from autoscaler.operate.resume import resume
from autoscaler.simulation.emulator.faults import Reset
from autoscaler.simulation.errors import SimulatedApiError
from autoscaler.simulation.loads import Steady
from autoscaler.simulation.scenario import Adaptive, ScenarioDeployment
from autoscaler.simulation.specs import NodeSpec
from autoscaler.simulation.versions import behaviour_of
from tests.end_to_end.test_modes import EVERY_VERSION, WITH_NATIVE, body, native_of
from tests.end_to_end.world import scenario, world_of
from tests.observations import policy, rule

AFTER_S = 120.0
FALLS_ASLEEP_S = AFTER_S + 30.0
START, STOP = (f"/_ml/trained_models/a/deployment/_{verb}" for verb in ("start", "stop"))

SLEEPY = rule(zero=ScaleToZero(AFTER_S, ZeroMethod.STOP), max_allocations=8)
NATIVE_ZERO = rule(
    mode=Mode.BOUNDS,
    zero=ScaleToZero(AFTER_S, ZeroMethod.ADAPTIVE),
    max_allocations=8,
    stabilisation_window_s=60.0,
)
OFF = Adaptive(enabled=False, min_number_of_allocations=2, max_number_of_allocations=5)


@pytest.fixture
def idle(tmp_path):
    """Opens a world of one deployment, `a`, that nobody asks.

    On serverless bounds are the lever: its own scaler is always on, and left alone otherwise.
    """

    @asynccontextmanager
    async def opened(version="9.3", *rules, state_file="asleep.json", **given):
        if version == "serverless":
            rules = tuple(replace(each, mode=Mode.BOUNDS) for each in rules or (SLEEPY,))
        deployed = ScenarioDeployment(**{"model_id": "a"} | given)
        path = tmp_path / state_file if state_file else None
        wanted = scenario(deployed, version=version)
        async with world_of(wanted, policy(*(rules or (SLEEPY,))), state_file=path) as world:
            yield world

    return opened


@pytest.fixture
def asleep(idle):
    """The same, after it has been stopped."""

    @asynccontextmanager
    async def opened(version="9.3", *rules, **given):
        async with idle(version, *rules, **given) as world:
            await world.run_for(FALLS_ASLEEP_S)
            assert not world.cluster.deployments
            yield world

    return opened


def written_down(world):
    return set(StateFile(world.state_file).load())


def sent(world, path):
    return [asked.body for asked in world.asked if asked.path == path]


def runs(world):
    return "a" in world.cluster.deployments


async def awake(world, within_s=60.0):
    """Until it serves again, and is no longer written down."""
    return await world.run_until(
        lambda _: runs(world) and world.deployment("a").running > 0 and not written_down(world),
        within_s=within_s,
    )


# Stopped, and started as it was


@pytest.mark.parametrize("version", EVERY_VERSION)
async def test_it_is_stopped_once_and_started_as_it_was(idle, version):
    given = {"threads_per_allocation": 2, "queue_capacity": 77, "cache_size": "50mb"}
    if version in WITH_NATIVE:
        given["adaptive_allocations"] = OFF
    async with idle(version, **given) as world:
        before = world.deployment("a")
        await world.run_for(FALLS_ASLEEP_S)
        assert not runs(world)
        assert written_down(world) == {"a"}
        (cycle,) = await world.cycles(1)
        assert cycle.words("a").startswith("a stays stopped: stopped ")
        await world.cycles(10)
        assert len(sent(world, STOP)) == 1
        assert world.loop.resume("a")
        await awake(world)
        await world.cycles(2)
        after = world.deployment("a")
        assert after is not before
        assert replace(after.parameters, number_of_allocations=1) == replace(
            before.parameters, number_of_allocations=1
        )
        if version == "serverless":
            assert native_of(world) == (1, 8)
        else:
            assert after.adaptive == before.adaptive
        assert len(sent(world, START)) == 1


@pytest.mark.parametrize("version", EVERY_VERSION)
async def test_so_is_one_of_low_priority(asleep, version):
    given = {"priority": "low", "cache_size": "50mb"}
    async with asleep(
        version, replace(SLEEPY, low_priority=True, max_allocations=1), **given
    ) as world:
        world.loop.resume("a")
        await awake(world)
        assert world.deployment("a").parameters.priority == "low"


@pytest.mark.parametrize("version", [*WITH_NATIVE, "serverless"])
async def test_the_clusters_scaler_is_on_again_if_it_was(asleep, version):
    governed = replace(NATIVE_ZERO, zero=ScaleToZero(AFTER_S, ZeroMethod.STOP))
    async with asleep(version, governed) as world:
        world.loop.resume("a")
        await awake(world)
        await world.cycles(2)
        assert native_of(world) == (1, 8)


async def test_what_is_left_to_the_clusters_scaler_is_not_stopped_either(idle):
    on = replace(OFF, enabled=True)
    async with idle(adaptive_allocations=on) as world:
        await world.run_for(2 * FALLS_ASLEEP_S)
        assert world.asked == []


async def test_what_is_asked_for_is_not_stopped(idle):
    async with idle(load=Steady(rate_per_s=0.05)) as world:
        await world.run_for(4 * FALLS_ASLEEP_S)
        assert world.asked == []


# Woken by


OPENING = Schedule(
    name="opening", cron="0 9 * * *", timezone="UTC", length_s=3600.0, min_allocations=3
)
"""From 400 s after the start of these worlds."""


@pytest.mark.parametrize("version", EVERY_VERSION)
async def test_woken_when_its_schedule_opens(asleep, version):
    async with asleep(version, replace(SLEEPY, schedules=(OPENING,))) as world:
        cycle = await world.run_until(lambda _: runs(world))
        assert 400.0 <= cycle.at <= 410.0
        assert "the schedule opening is open" in cycle.words("a")
        await world.run_for(AFTER_S + 100.0)
        assert world.requested("a") == 3, "nor is it stopped while it is open"


async def test_woken_shortly_before_the_time_at_which_it_was_used_on_two_days(tmp_path):
    a_quarter, a_day = 900.0, 86_400.0
    sleepy = replace(SLEEPY, zero=ScaleToZero(a_quarter, ZeroMethod.STOP))
    governed = replace(policy(sleepy), max_interval_s=3600.0)
    wanted = scenario(ScenarioDeployment(model_id="a"), version="9.3")
    path = tmp_path / "asleep.json"
    async with world_of(wanted, governed, poll_s=300.0, state_file=path) as world:
        for day in (0.0, 1.0):
            if not runs(world):
                world.loop.resume("a")
                await awake(world, within_s=900.0)
            world.emulation.start_load("a", Steady(rate_per_s=1.0))
            await world.run_for(1200.0)
            world.emulation.stop_load("a")
            await world.run_for(2400.0)
            assert not runs(world)
            world.kill()
            await world.without_daemon(day * a_day + a_day - 900.0 - world.now)
        world.kill()
        await world.run_for(300.0)
        assert not runs(world)
        cycle = await world.run_until(lambda _: runs(world), within_s=1200.0)
        assert "it is usually used at this time" in cycle.words("a")
        assert cycle.at < 2 * a_day


@pytest.mark.parametrize("version", EVERY_VERSION)
async def test_woken_by_who_asks_the_daemon_for_it(asleep, version):
    async with asleep(version) as world:
        server = AdminServer(
            CollectorRegistry(),
            Health(world.clock, 10.0),
            DecisionRecorder(world.clock, "1.2.3"),
            host="127.0.0.1",
            port=0,
            version="1.2.3",
            resume=world.loop.wake,
        )
        async with server:
            told = await world.clock.run(resume(f"http://127.0.0.1:{server.port}", "a"))
        assert told == "a: will be resumed in the next cycle"
        cycle = await world.cycle()
        assert cycle.words("a").endswith("somebody asked for it")
        await awake(world)
        assert not world.loop.resume("a")


@pytest.mark.parametrize(
    ("changed", "allocations"),
    [(rule(min_allocations=2), 2), (rule(deployments=("others",)), 4), (rule(exclude=True), 4)],
    ids=["may not sleep", "no rule", "excluded"],
)
async def test_woken_when_no_rule_lets_it_sleep_any_more(idle, changed, allocations):
    patient = replace(SLEEPY, stabilisation_window_s=3600.0)
    async with idle("9.3", patient, number_of_allocations=4) as world:
        await world.run_for(FALLS_ASLEEP_S)
        assert not runs(world)
        world.loop.policy = policy(changed)
        cycle = await world.cycle()
        assert "no rule lets it sleep any more" in cycle.words("a")
        await awake(world)
        assert world.requested("a") == allocations


@pytest.mark.parametrize("version", EVERY_VERSION)
async def test_who_sleeps_is_remembered_by_the_next_daemon(asleep, version):
    async with asleep(version) as world:
        world.kill()
        (cycle,) = await world.cycles(1)
        assert cycle.words("a").startswith("a stays stopped: ")
        world.kill()
        assert world.loop.resume("a")
        await awake(world)


@pytest.mark.parametrize("reset", [Reset.BEFORE, Reset.AFTER])
@pytest.mark.parametrize("killed", [True, False])
async def test_if_nobody_knows_whether_it_was_stopped_it_is_looked_after_either_way(
    idle, reset, killed
):
    async with idle() as world:
        world.fail(STOP, reset=reset)
        cycle = await world.run_until(lambda cycle: cycle.kind("a") is OutcomeKind.UNKNOWN)
        assert "a is stopped: " in cycle.words("a")
        assert written_down(world) == {"a"}
        if killed:
            world.kill()
        await world.cycles(2)
        if killed and reset is Reset.BEFORE:
            assert runs(world)
            assert written_down(world) == set()
            await world.run_for(FALLS_ASLEEP_S)
        assert not runs(world)
        assert written_down(world) == {"a"}
        world.loop.resume("a")
        await awake(world)


@pytest.mark.parametrize("reset", [Reset.BEFORE, Reset.AFTER])
async def test_if_nobody_knows_whether_it_was_started_it_is_in_the_end(asleep, reset):
    async with asleep() as world:
        world.fail(START, reset=reset)
        world.loop.resume("a")
        await world.cycle()
        world.kill()
        if reset is Reset.BEFORE:
            world.loop.resume("a")
        await awake(world)
        assert len(world.cluster.deployments) == 1


@pytest.mark.parametrize("on_exit", OnExit)
@pytest.mark.parametrize("version", EVERY_VERSION)
async def test_at_the_end_of_the_daemon(asleep, version, on_exit):
    governed = replace(SLEEPY, on_exit=on_exit, safe_allocations=3)
    async with asleep(version, governed) as world:
        (handed_back,) = await world.hand_back() or (None,)
        await world.without_daemon(60.0)
        if on_exit is OnExit.KEEP:
            assert handed_back is None
            assert written_down(world) == {"a"}
        elif on_exit is OnExit.ADAPTIVE and version not in (*WITH_NATIVE, "serverless"):
            assert handed_back.kind is OutcomeKind.UNSUPPORTED
            assert written_down(world) == {"a"}, "for the next daemon to start"
        else:
            assert handed_back.kind is OutcomeKind.ACCEPTED
            assert world.deployment("a").running >= 1
            if version == "serverless":
                assert native_of(world) is not None
            elif on_exit is OnExit.ADAPTIVE:
                assert native_of(world) == (1, 8)
            else:
                assert (world.requested("a"), native_of(world)) == (3, None)
        world.kill()
        await world.cycles(1)
        assert written_down(world) == (set() if runs(world) else {"a"})


# Not stopped, or not started


@pytest.mark.parametrize(
    ("state_file", "told"),
    [
        (None, "there is no state_file"),
        ("missing/asleep.json", "cannot be written: No such file or directory"),
    ],
)
async def test_what_cannot_be_written_down_is_not_stopped(idle, state_file, told):
    async with idle(state_file=state_file) as world:
        cycles = await world.run_for(2 * FALLS_ASLEEP_S)
        assert told in cycles[-1].outcome("a").detail
        assert cycles[-1].kind("a") is OutcomeKind.WITHHELD
        assert world.asked == []


@pytest.mark.parametrize("version", EVERY_VERSION)
async def test_what_a_pipeline_uses_is_not_stopped_nor_asked_for_all_the_time(idle, version):
    async with idle(version) as world:
        world.cluster.pipelines["enrich"] = "a"
        cycles = await world.run_for(FALLS_ASLEEP_S + 300.0)
        (refused,) = [c.outcome("a") for c in cycles if c.kind("a") is OutcomeKind.IN_USE]
        assert "is used by ingest pipelines" in refused.detail
        assert len(sent(world, STOP)) == 1
        world.kill()
        await world.cycles(1)
        assert written_down(world) == set()


async def test_what_somebody_has_started_meanwhile_is_awake(asleep):
    async with asleep() as world:
        world.cluster.start_deployment("a", number_of_allocations=2)
        await world.cycles(2)
        assert written_down(world) == set()
        assert world.requested("a") == 2
        assert sent(world, START) == []


async def test_what_is_no_longer_there_to_start_is_forgotten(asleep):
    async with asleep() as world:
        world.cluster.delete_model("a")
        world.loop.resume("a")
        cycle = await world.cycle()
        assert cycle.kind("a") is OutcomeKind.GONE
        await world.cycles(3)
        assert written_down(world) == set()
        assert len(sent(world, START)) == 1


async def test_what_finds_no_room_is_started_when_there_is_some(asleep):
    async with asleep() as world:
        for node_id in list(world.cluster.nodes):
            world.cluster.remove_node(node_id)
        world.loop.resume("a")
        cycles = await world.cycles(6)
        assert OutcomeKind.NO_CAPACITY in {c.kind("a") for c in cycles}
        assert len(sent(world, START)) <= 2
        assert written_down(world) == {"a"}
        with pytest.raises(AssertionError):
            await awake(world)
        world.cluster.add_node(NodeSpec(node_id="ml-3", name="ml-3", processors=8))
        await awake(world, within_s=600.0)


# Down to nothing by the cluster's own scaler


@pytest.mark.parametrize("version", ["8.16", "8.19", "9.3"])
async def test_the_cluster_goes_to_nothing_in_its_own_time_and_a_request_wakes_it(idle, version):
    async with idle(version, NATIVE_ZERO) as world:
        await world.run_for(FALLS_ASLEEP_S)
        assert world.bodies == [body(native=True, low=1, high=8), body(native=True, low=0, high=8)]
        assert world.requested("a") == 1
        await world.without_daemon(behaviour_of(version).scale_to_zero_s + 60.0)
        assert world.requested("a") == 0
        world.kill()
        cycles = await world.cycles(20)
        assert len(world.asked) == 2, "nor does a new daemon wake it"
        assert cycles[-1].decision("a").desired == 0

        status, answer = await world.ask(
            "POST", "/_ml/trained_models/a/_infer", {"docs": [{"text_field": "hello"}]}
        )
        assert status == 200
        assert len(answer["inference_results"]) == 1
        world.emulation.start_load("a", Steady(rate_per_s=50.0))
        await world.cycles(12)
        assert native_of(world) == (4, 8)
        assert world.requested("a") >= 4


@pytest.mark.parametrize(
    ("version", "ids", "told"),
    [
        ("9.1", {}, "9.1 and 9.2 may delete what has no allocations (elasticsearch#137134)"),
        ("9.2", {}, "9.1 and 9.2 may delete what has no allocations (elasticsearch#137134)"),
        ("serverless", {}, "the version of its nodes is not known"),
        *(
            (version, {"deployment_id": "a-search"}, "its id is not its model's")
            for version in ("8.16", "8.19", "9.3")
        ),
    ],
)
async def test_where_that_is_not_safe_it_stays_and_says_why(idle, version, ids, told):
    async with idle(version, NATIVE_ZERO, **ids) as world:
        cycles = await world.run_for(FALLS_ASLEEP_S + 60.0)
        (name,) = world.cluster.deployments
        assert f"but scale to zero is not safe: {told}" in cycles[-1].words(name)
        assert world.bodies == [body(native=True, low=1, high=8)]


@pytest.mark.parametrize("version", ["8.6", "8.12"])
async def test_before_8_16_there_is_nobody_who_could(idle, version):
    async with idle(version, NATIVE_ZERO) as world:
        cycles = await world.run_for(FALLS_ASLEEP_S + 300.0)
        assert [c.kind("a") for c in cycles].count(OutcomeKind.UNSUPPORTED) == len(world.asked) == 1
        assert world.requested("a") == 1


async def test_9_1_would_indeed_have_lost_it(idle):
    """Why it says no: the promise is worth what the defect costs."""
    async with idle("9.1", NATIVE_ZERO) as world:
        await world.run_for(FALLS_ASLEEP_S)
        world.set_native("a", min_number_of_allocations=0)
        world.cluster.update_deployment("a", number_of_allocations=0, internal=True)
        world.kill(policy(rule(exclude=True)))
        world.cluster.put_model(replace(world.cluster.models["a"], model_id="b"))
        world.cluster.start_deployment("b")
        assert not runs(world)
        with pytest.raises(SimulatedApiError):
            world.cluster.infer("a")
