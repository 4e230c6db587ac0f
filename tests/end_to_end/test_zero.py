"""Scale to zero and back on every version: no deployment is lost or stays stopped."""

from contextlib import asynccontextmanager

import pytest
from msgspec.structs import replace
from prometheus_client import CollectorRegistry

from autoscaler.adapters.admin_http import (
    AdminServer,
    ClusterPages,
    DecisionRecorder,
    Guard,
    Health,
    Tokens,
)
from autoscaler.adapters.admin_http.client import DaemonAddress
from autoscaler.adapters.state import recorded_stopped
from autoscaler.connection import Bearer
from autoscaler.core.decision import Mode, OutcomeKind, Stop
from autoscaler.core.selection import OnExit, ScaleToZero, ZeroMethod
from autoscaler.core.slo.policy import SloPolicy
from autoscaler.core.values import Reason, Schedule
from autoscaler.operate.resume import resume
from autoscaler.simulation.emulator.faults import Reset
from autoscaler.simulation.errors import SimulatedApiError
from autoscaler.simulation.loads import Steady
from autoscaler.simulation.scenario import Adaptive, ScenarioDeployment
from autoscaler.simulation.specs import NodeSpec
from autoscaler.simulation.versions import behaviour_of
from tests.end_to_end.test_modes import EVERY_VERSION, WITH_ADAPTIVE, adaptive_of, body
from tests.end_to_end.world import scenario, world_of
from tests.observations import policy, rule

AFTER_S = 120.0
STOPPED_AFTER_S = AFTER_S + 30.0
START, STOP = (f"/_ml/trained_models/a/deployment/_{verb}" for verb in ("start", "stop"))

STOPPING = rule(zero=ScaleToZero(AFTER_S, ZeroMethod.STOP), max_allocations=8)
STOPPING_SLO = replace(STOPPING, policy=SloPolicy(), stabilisation_window_s=0.0)
ADAPTIVE_ZERO = rule(
    mode=Mode.BOUNDS,
    zero=ScaleToZero(AFTER_S, ZeroMethod.ADAPTIVE),
    max_allocations=8,
    stabilisation_window_s=60.0,
)
OFF = Adaptive(enabled=False, min_number_of_allocations=2, max_number_of_allocations=5)


@pytest.fixture
def idle(tmp_path):
    """Opens a world with one deployment, `a`, that gets no requests.

    On serverless in mode `bounds`, since adaptive allocations are always enabled there.
    """

    @asynccontextmanager
    async def opened(version="9.3", *rules, state_dir="state", **given):
        if version == "serverless":
            rules = tuple(replace(each, mode=Mode.BOUNDS) for each in rules or (STOPPING,))
        deployed = ScenarioDeployment(**{"model_id": "a"} | given)
        path = tmp_path / state_dir if state_dir else None
        simulated = scenario(deployed, version=version)
        async with world_of(simulated, policy(*(rules or (STOPPING,))), state_dir=path) as world:
            yield world

    return opened


@pytest.fixture
def stopped(idle):
    """The same, after the deployment has been stopped."""

    @asynccontextmanager
    async def opened(version="9.3", *rules, **given):
        async with idle(version, *rules, **given) as world:
            await world.run_for(STOPPED_AFTER_S)
            assert not world.cluster.deployments
            yield world

    return opened


def recorded(world):
    return set(recorded_stopped(world.state_dir, None))


def sent(world, path):
    return [sent.body for sent in world.sent if sent.path == path]


def runs(world):
    return "a" in world.cluster.deployments


async def resumed(world, within_s=60.0):
    """Run until the deployment runs, and is not in the state file."""
    return await world.run_until(
        lambda _: runs(world) and world.deployment("a").running > 0 and not recorded(world),
        within_s=within_s,
    )


# Stopped, and started as it was


@pytest.mark.parametrize(
    ("version", "governed"),
    [*((version, STOPPING) for version in EVERY_VERSION), ("9.3", STOPPING_SLO)],
    ids=[*EVERY_VERSION, "9.3-slo"],
)
async def test_it_is_stopped_once_and_started_as_it_was(idle, version, governed):
    given = {"threads_per_allocation": 2, "queue_capacity": 77, "cache_size": "50mb"}
    if version in WITH_ADAPTIVE:
        given["adaptive_allocations"] = OFF
    async with idle(version, governed, **given) as world:
        before = world.deployment("a")
        await world.run_for(STOPPED_AFTER_S)
        assert not runs(world)
        assert recorded(world) == {"a"}
        (cycle,) = await world.cycles(1)
        assert cycle.decision("a").reason is Reason.STOPPED
        await world.cycles(10)
        assert len(sent(world, STOP)) == 1
        assert world.loop.resume("a")
        await resumed(world)
        await world.cycles(2)
        after = world.deployment("a")
        assert after is not before
        assert replace(after.parameters, number_of_allocations=1) == replace(
            before.parameters, number_of_allocations=1
        )
        if version == "serverless":
            assert adaptive_of(world) == (1, 8)
        else:
            assert after.adaptive == before.adaptive
        assert len(sent(world, START)) == 1


@pytest.mark.parametrize("version", EVERY_VERSION)
async def test_so_is_a_low_priority_deployment(stopped, version):
    given = {"priority": "low", "cache_size": "50mb"}
    async with stopped(
        version, replace(STOPPING, low_priority=True, max_allocations=1), **given
    ) as world:
        world.loop.resume("a")
        await resumed(world)
        assert world.deployment("a").parameters.priority == "low"


@pytest.mark.parametrize("version", [*WITH_ADAPTIVE, "serverless"])
async def test_adaptive_allocations_are_enabled_again_if_they_were(stopped, version):
    governed = replace(ADAPTIVE_ZERO, zero=ScaleToZero(AFTER_S, ZeroMethod.STOP))
    async with stopped(version, governed) as world:
        world.loop.resume("a")
        await resumed(world)
        await world.cycles(2)
        assert adaptive_of(world) == (1, 8)


async def test_an_externally_controlled_deployment_is_not_stopped(idle):
    on = replace(OFF, enabled=True)
    async with idle(adaptive_allocations=on) as world:
        await world.run_for(2 * STOPPED_AFTER_S)
        assert world.sent == []


async def test_a_used_deployment_is_not_stopped(idle):
    async with idle(load=Steady(rate_per_s=0.05)) as world:
        await world.run_for(4 * STOPPED_AFTER_S)
        assert world.sent == []


# Resumed


OPENING = Schedule(
    name="opening", cron="0 9 * * *", timezone="UTC", length_s=3600.0, min_allocations=3
)
"""Opens 400 s after the start of these worlds."""


@pytest.mark.parametrize("version", EVERY_VERSION)
async def test_resumed_when_its_schedule_opens(stopped, version):
    async with stopped(version, replace(STOPPING, schedules=(OPENING,))) as world:
        cycle = await world.run_until(lambda _: runs(world))
        assert 400.0 <= cycle.at <= 410.0
        assert cycle.decision("a").reason is Reason.RESUME
        assert "opening" in cycle.text("a")
        await world.run_for(AFTER_S + 100.0)
        assert world.requested("a") == 3, "not stopped while the schedule is open"


async def test_resumed_shortly_before_its_usual_time_of_use(tmp_path):
    quarter_s, day_s = 900.0, 86_400.0
    idle = replace(STOPPING, zero=ScaleToZero(quarter_s, ZeroMethod.STOP))
    governed = replace(policy(idle), max_interval_s=3600.0)
    simulated = scenario(ScenarioDeployment(model_id="a"), version="9.3")
    path = tmp_path / "stopped.json"
    async with world_of(simulated, governed, poll_s=300.0, state_dir=path) as world:
        for day in (0.0, 1.0):
            if not runs(world):
                world.loop.resume("a")
                await resumed(world, within_s=900.0)
            world.emulation.start_load("a", Steady(rate_per_s=1.0))
            await world.run_for(1200.0)
            world.emulation.stop_load("a")
            await world.run_for(2400.0)
            assert not runs(world)
            world.kill()
            await world.without_daemon(day * day_s + day_s - 900.0 - world.now)
        world.kill()
        await world.run_for(300.0)
        assert not runs(world)
        cycle = await world.run_until(lambda _: runs(world), within_s=1200.0)
        assert cycle.decision("a").reason is Reason.RESUME
        assert "usually used" in cycle.text("a")
        assert cycle.at < 2 * day_s


@pytest.mark.parametrize("version", EVERY_VERSION)
@pytest.mark.parametrize("killed", [False, True])
async def test_resumed_by_a_request_to_the_daemon(stopped, version, killed):
    async with stopped(version) as world:
        server = AdminServer(
            CollectorRegistry(),
            ClusterPages(
                Health(world.clock, 10.0),
                DecisionRecorder(world.clock, "1.2.3"),
                resume=world.loop.resume,
                save_resume_requests=world.loop.save_resume_requests,
            ),
            host="127.0.0.1",
            port=0,
            version="1.2.3",
            guard=Guard(Tokens(Bearer("0123456789abcdef"))),
        )
        async with server:
            daemon = DaemonAddress(f"http://127.0.0.1:{server.port}", "0123456789abcdef")
            message = await world.clock.run(resume(daemon, "a"))
        assert message.startswith("a")
        if killed:
            world.kill()
        cycle = await world.cycle()
        assert cycle.decision("a").reason is Reason.RESUME
        await resumed(world)
        assert not world.loop.resume("a")


@pytest.mark.parametrize(
    ("changed", "allocations"),
    [(rule(min_allocations=2), 2), (rule(deployments=("others",)), 4), (rule(exclude=True), 4)],
    ids=["not stopped by its rule", "no rule", "excluded"],
)
async def test_resumed_when_no_rule_stops_it_any_more(idle, changed, allocations):
    patient = replace(STOPPING, stabilisation_window_s=3600.0)
    async with idle("9.3", patient, number_of_allocations=4) as world:
        await world.run_for(STOPPED_AFTER_S)
        assert not runs(world)
        world.loop.ruleset = policy(changed)
        cycle = await world.cycle()
        assert cycle.decision("a").reason is Reason.RESUME
        await resumed(world)
        assert world.requested("a") == allocations


@pytest.mark.parametrize("version", EVERY_VERSION)
async def test_stopped_deployments_are_read_by_the_next_daemon(stopped, version):
    async with stopped(version) as world:
        world.kill()
        (cycle,) = await world.cycles(1)
        assert cycle.decision("a").reason is Reason.STOPPED
        world.kill()
        assert world.loop.resume("a")
        await resumed(world)


@pytest.mark.parametrize("reset", [Reset.BEFORE, Reset.AFTER])
@pytest.mark.parametrize("killed", [True, False])
async def test_if_a_stop_may_have_been_accepted_both_cases_are_handled(idle, reset, killed):
    async with idle() as world:
        world.fail(STOP, reset=reset)
        cycle = await world.run_until(lambda cycle: cycle.kind("a") is OutcomeKind.UNKNOWN)
        assert isinstance(cycle.decision("a").change, Stop)
        assert recorded(world) == {"a"}
        if killed:
            world.kill()
        await world.cycles(2)
        assert not runs(world)
        assert recorded(world) == {"a"}
        world.loop.resume("a")
        await resumed(world)


@pytest.mark.parametrize("reset", [Reset.BEFORE, Reset.AFTER])
async def test_if_a_start_may_have_been_accepted_it_is_started_eventually(stopped, reset):
    async with stopped() as world:
        world.fail(START, reset=reset)
        world.loop.resume("a")
        await world.cycle()
        world.kill()
        await resumed(world)
        assert len(world.cluster.deployments) == 1


@pytest.mark.parametrize("on_exit", OnExit)
@pytest.mark.parametrize("version", EVERY_VERSION)
async def test_at_the_end_of_the_daemon(stopped, version, on_exit):
    governed = replace(STOPPING, on_exit=on_exit, safe_allocations=3)
    async with stopped(version, governed) as world:
        (released,) = await world.release() or (None,)
        await world.without_daemon(60.0)
        if on_exit is OnExit.KEEP:
            assert released is None
            assert recorded(world) == {"a"}
        elif on_exit is OnExit.ADAPTIVE and version not in (*WITH_ADAPTIVE, "serverless"):
            assert released.kind is OutcomeKind.UNSUPPORTED
            assert recorded(world) == {"a"}, "the next daemon starts it"
        else:
            assert released.kind is OutcomeKind.ACCEPTED
            assert world.deployment("a").running >= 1
            if version == "serverless":
                assert adaptive_of(world) is not None
            elif on_exit is OnExit.ADAPTIVE:
                assert adaptive_of(world) == (1, 8)
            else:
                assert (world.requested("a"), adaptive_of(world)) == (3, None)
        world.kill()
        await world.cycles(1)
        assert recorded(world) == (set() if runs(world) else {"a"})


# Not stopped, or not started


@pytest.mark.parametrize(
    ("state_dir", "text"),
    [
        (None, 'state = "none" is set'),
        ("x" * 256, "cannot be used: File name too long"),
    ],
)
async def test_a_stop_that_cannot_be_saved_is_withheld(idle, state_dir, text):
    async with idle(state_dir=state_dir) as world:
        cycles = await world.run_for(2 * STOPPED_AFTER_S)
        assert text in cycles[-1].outcome("a").detail
        assert cycles[-1].kind("a") is OutcomeKind.WITHHELD
        assert world.sent == []


@pytest.mark.parametrize("version", EVERY_VERSION)
async def test_a_deployment_used_by_a_pipeline_is_not_stopped_and_not_tried_repeatedly(
    idle, version
):
    def enrich():
        world.cluster.pipelines["enrich"] = "a"

    async with idle(version) as world:
        world.faults.callbacks[STOP] = enrich  # after the statistics, which would show it
        cycles = await world.run_for(STOPPED_AFTER_S + 300.0)
        (refused,) = [c.outcome("a") for c in cycles if c.kind("a") is OutcomeKind.IN_USE]
        assert "is used by ingest pipelines" in refused.detail
        assert "an ingest pipeline uses it" in cycles[-1].text("a")
        assert len(sent(world, STOP)) == 1
        world.kill()
        await world.cycles(1)
        assert recorded(world) == set()


@pytest.mark.parametrize("version", EVERY_VERSION)
async def test_a_pipeline_that_is_newer_than_the_statistics_prevents_the_stop(idle, version):
    def enrich():
        world.cluster.pipelines["enrich"] = "a"

    async with idle(version) as world:
        world.faults.callbacks["/_ingest/pipeline"] = enrich
        cycle = await world.run_until(lambda cycle: cycle.kind("a") is OutcomeKind.IN_USE)
        assert "ingest pipeline enrich uses it" in cycle.outcome("a").detail
        assert sent(world, STOP) == []
        assert "a" in world.cluster.deployments


async def test_a_deployment_that_another_client_started_is_running(stopped):
    async with stopped() as world:
        world.cluster.start_deployment("a", number_of_allocations=2)
        await world.cycles(2)
        assert recorded(world) == set()
        assert world.requested("a") == 2
        assert sent(world, START) == []


async def test_a_stopped_deployment_whose_model_is_gone_is_dropped(stopped):
    async with stopped() as world:
        world.cluster.delete_model("a")
        world.loop.resume("a")
        cycle = await world.cycle()
        assert cycle.kind("a") is OutcomeKind.GONE
        await world.cycles(3)
        assert recorded(world) == set()
        assert len(sent(world, START)) == 1


async def test_a_start_refused_for_an_unknown_reason_is_no_success(stopped):
    async with stopped("9.5.4") as world:
        world.fail(START, status=409, error_type="status_exception", body="not today", calls=None)
        world.loop.resume("a")
        cycles = await world.run_for(600.0)
        kinds = [c.kind("a") for c in cycles]
        assert kinds[0] is OutcomeKind.UNRECOGNISED
        assert "not today" in cycles[0].outcome("a").detail
        assert OutcomeKind.ACCEPTED not in kinds
        assert kinds.count(OutcomeKind.UNRECOGNISED) <= 8, "it backs off"
        assert recorded(world) == {"a"}
        world.faults.clear()
        await resumed(world, within_s=600.0)


NO_ROOM = "Could not start deployment because no ML nodes with sufficient capacity were found"


@pytest.mark.parametrize("status", [409, 429])  # both are seen
async def test_a_deployment_that_does_not_fit_is_started_when_it_fits(stopped, status):
    async with stopped("9.5.4") as world:
        for node_id in list(world.cluster.nodes):
            world.cluster.remove_node(node_id)
        if status == 409:
            world.fail(START, status=409, error_type="status_exception", body=NO_ROOM, calls=None)
        world.loop.resume("a")
        cycles = await world.cycles(6)
        (refused,) = [c.outcome("a") for c in cycles if c.kind("a") is OutcomeKind.NO_CAPACITY]
        assert "no ML nodes with sufficient capacity" in refused.detail
        assert "add machine learning nodes" in refused.detail
        assert {c.kind("a") for c in cycles[1:]} == {OutcomeKind.UNCHANGED}, "it backs off"
        assert "no capacity" in cycles[-1].text("a")
        assert len(sent(world, START)) <= 2
        assert recorded(world) == {"a"}
        with pytest.raises(AssertionError):
            await resumed(world)
        world.faults.clear()
        world.cluster.add_node(NodeSpec(node_id="ml-3", name="ml-3", processors=8))
        await resumed(world, within_s=600.0)


# Scaled to zero by adaptive allocations


@pytest.mark.parametrize("version", ["9.3.5", "9.4", "9.5"])
async def test_adaptive_allocations_scale_to_zero_and_a_request_scales_up(idle, version):
    async with idle(version, ADAPTIVE_ZERO) as world:
        await world.run_for(STOPPED_AFTER_S)
        assert world.bodies == [
            body(adaptive=True, low=1, high=8),
            body(adaptive=True, low=0, high=8),
        ]
        assert world.requested("a") == 1
        await world.without_daemon(behaviour_of(version).scale_to_zero_s + 60.0)
        assert world.requested("a") == 0
        world.kill()
        cycles = await world.cycles(20)
        assert len(world.sent) == 2, "a new daemon does not change it"
        assert cycles[-1].decision("a").desired == 0

        status, response = await world.request(
            "POST", "/_ml/trained_models/a/_infer", {"docs": [{"text_field": "hello"}]}
        )
        assert status == 200
        assert len(response["inference_results"]) == 1
        world.emulation.start_load("a", Steady(rate_per_s=50.0))
        await world.cycles(12)
        assert adaptive_of(world) == (4, 8)
        assert world.requested("a") >= 4


@pytest.mark.parametrize(
    ("version", "ids", "text"),
    [
        ("9.1", {}, "elasticsearch#137134"),
        ("9.2", {}, "elasticsearch#137134"),
        *((version, {}, "elasticsearch#146806") for version in ("8.16", "8.19.14", "9.0.8", "9.3")),
        ("serverless", {}, "version of its nodes"),
        *(
            (version, {"deployment_id": "a-search"}, "elasticsearch#146835")
            for version in ("9.3.5", "9.4.4")
        ),
    ],
)
async def test_unsafe_versions_hold_the_minimum_and_report_the_reason(idle, version, ids, text):
    async with idle(version, ADAPTIVE_ZERO, **ids) as world:
        cycles = await world.run_for(STOPPED_AFTER_S + 60.0)
        (name,) = world.cluster.deployments
        assert text in cycles[-1].text(name)
        assert world.bodies == [body(adaptive=True, low=1, high=8)]


@pytest.mark.parametrize("version", ["8.6", "8.12"])
async def test_before_8_16_it_is_not_scaled_to_zero(idle, version):
    async with idle(version, ADAPTIVE_ZERO) as world:
        cycles = await world.run_for(STOPPED_AFTER_S + 300.0)
        assert [c.kind("a") for c in cycles].count(OutcomeKind.UNSUPPORTED) == len(world.sent) == 1
        assert world.requested("a") == 1


async def test_9_3_0_deletes_a_deployment_at_zero_when_a_node_shuts_down(idle):
    """The defect that is the reason to hold the minimum there."""
    async with idle("9.3", ADAPTIVE_ZERO) as world:
        await world.run_for(STOPPED_AFTER_S)
        world.set_adaptive("a", min_number_of_allocations=0)
        world.cluster.update_deployment("a", number_of_allocations=0, internal=True)
        world.cluster.remove_node("ml-2")
        assert not runs(world)


async def test_9_1_deletes_a_deployment_at_zero(idle):
    """The defect that is the reason to hold the minimum there."""
    async with idle("9.1", ADAPTIVE_ZERO) as world:
        await world.run_for(STOPPED_AFTER_S)
        world.set_adaptive("a", min_number_of_allocations=0)
        world.cluster.update_deployment("a", number_of_allocations=0, internal=True)
        world.kill(policy(rule(exclude=True)))
        world.cluster.put_model(replace(world.cluster.models["a"], model_id="b"))
        world.cluster.start_deployment("b")
        assert not runs(world)
        with pytest.raises(SimulatedApiError):
            world.cluster.infer("a")
