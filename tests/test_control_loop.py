"""Cycles: which updates are sent, in which order, and which are withheld."""

import asyncio
import math
from contextlib import suppress
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from autoscaler.config.polling import polling_of
from autoscaler.control_loop import (
    DENIED_INTERVAL_FACTOR,
    MAX_FAILURE_INTERVAL_S,
    ControlLoop,
)
from autoscaler.core.decision import Mode, OutcomeKind
from autoscaler.core.instructions import Pause, PausedChanges
from autoscaler.core.next_poll import (
    MAX_INTERVAL_FACTOR,
    MAX_OBSERVE_FRACTION,
    PollCause,
    PollRequest,
)
from autoscaler.core.selection import OnExit, ScaleToZero, ZeroMethod
from autoscaler.core.state import State, StoppedDeployment
from autoscaler.core.values import AdaptiveAllocations, Reason, Step
from autoscaler.ports import FailureKind
from tests.fakes import FakeClock, FakeCluster, FakeStateStore, ListRecorder
from tests.observations import deployment, node, policy, rule

POLL_S = 10.0
ROUNDING_S = 1e-9  # of differences between instants
DENIED = {FailureKind.UNAUTHENTICATED, FailureKind.FORBIDDEN}


def named(deployment_id, allocations):
    return deployment(node(allocations=allocations), deployment_id=deployment_id)


def loop_over(*deployments, rules=(), clock=None):
    clock = clock or FakeClock(start=1_000.0)
    cluster, recorder = FakeCluster(clock, *deployments), ListRecorder()
    loop = ControlLoop(
        clock=clock,
        observer=cluster,
        actuator=cluster,
        recorder=recorder,
        ruleset=policy(*rules),
    )
    return loop, cluster, recorder


def polled_every(interval_s, min_interval_s=None):
    """No other rules than by default."""
    return replace(policy(), polling=polling_of(interval_s, min_interval_s))


def kinds(recorder):
    return [outcome.kind for outcome in recorder.outcomes[-1]]


async def test_only_changes_are_sent():
    loop, cluster, recorder = loop_over(
        named("a", 1), named("b", 4), rules=(rule(min_allocations=2, max_allocations=9),)
    )
    await loop.run_cycle()
    assert cluster.requested == [("a", 2)]
    assert kinds(recorder) == [OutcomeKind.ACCEPTED, OutcomeKind.UNCHANGED]


@pytest.mark.parametrize("changes", [PausedChanges.EVERYTHING, PausedChanges.DECREASES])
async def test_an_update_that_is_paused_before_it_is_sent_is_held_whatever_it_lowers(changes):
    """The maximum of adaptive allocations, and not the allocations."""
    on = AdaptiveAllocations(enabled=True, minimum=3, maximum=20)
    loop, cluster, recorder = loop_over(
        *[replace(named(name, 3), adaptive=on) for name in "ab"],
        rules=(rule(mode=Mode.BOUNDS, min_allocations=3, max_allocations=9),),
    )
    send = cluster.carry_out

    async def pause_and_send(*arguments, **more):
        pause = Pause(changes=changes, since=1_000.0, until=2_000.0, by="alice")
        instructions = loop.state.instructions.with_one(None, pause)
        loop.state = replace(loop.state, instructions=instructions)
        await send(*arguments, **more)

    loop.actuator = SimpleNamespace(carry_out=pause_and_send)
    await loop.run_cycle()
    assert len(cluster.changes) == 1
    assert sorted(kinds(recorder)) == [OutcomeKind.ACCEPTED, OutcomeKind.WITHHELD]
    (held,) = [each for each in recorder.outcomes[-1] if each.kind is OutcomeKind.WITHHELD]
    assert "paused by alice" in held.detail


async def test_decreases_go_first_and_the_most_pressing_increase_next():
    rules = (
        rule(name="down", deployments=("down",), max_allocations=2),
        rule(name="slight", deployments=("slight",), min_allocations=5),
        rule(name="urgent", deployments=("urgent",), min_allocations=8),
    )
    loop, cluster, _ = loop_over(
        named("down", 6), named("slight", 4), named("urgent", 1), rules=rules
    )
    cluster.refusals = dict.fromkeys(("slight", "urgent"), OutcomeKind.NOT_STARTED)
    await loop.run_cycle()
    cluster.requested.clear()
    loop.clock.pass_by(POLL_S)
    await loop.run_cycle()
    assert cluster.requested == [("down", 2), ("urgent", 8), ("slight", 5)]


async def test_a_change_is_sent_within_two_time_outs_and_three_polls_of_its_statistics():
    loop, cluster, _ = loop_over(named("a", 1), rules=(rule(min_allocations=2, max_allocations=9),))
    loop.request_timeout_s = 12.0
    await loop.run_cycle()
    assert cluster.until == loop.clock.now() + 24.0 + 3.0 * POLL_S


async def test_a_dry_run_sends_nothing():
    loop, cluster, recorder = loop_over(
        named("a", 1), rules=(rule(min_allocations=2, dry_run=True),)
    )
    await loop.run_cycle()
    assert cluster.requested == []
    assert kinds(recorder) == [OutcomeKind.DRY_RUN]


@pytest.mark.parametrize("kind", [OutcomeKind.FORBIDDEN, OutcomeKind.UNKNOWN])
async def test_a_response_that_concerns_all_deployments_ends_the_sending_for_this_cycle(kind):
    loop, cluster, recorder = loop_over(
        named("a", 1), named("b", 1), rules=(rule(min_allocations=2),)
    )
    cluster.refusals["a"] = kind
    await loop.run_cycle()
    assert cluster.requested == [("a", 2)]
    assert kinds(recorder) == [kind, OutcomeKind.WITHHELD]


async def test_one_refusal_does_not_withhold_the_other_updates():
    loop, cluster, recorder = loop_over(
        named("a", 1), named("b", 1), rules=(rule(min_allocations=2),)
    )
    cluster.refusals["a"] = OutcomeKind.NO_CAPACITY
    await loop.run_cycle()
    assert kinds(recorder) == [OutcomeKind.NO_CAPACITY, OutcomeKind.ACCEPTED]


async def test_updates_that_take_a_whole_period_wait_for_the_next():
    loop, cluster, recorder = loop_over(
        *[named(f"d{i}", 1) for i in range(4)], rules=(rule(min_allocations=2),)
    )
    cluster.latency_s = 6.0
    await loop.run_cycle()
    assert kinds(recorder) == [
        OutcomeKind.ACCEPTED,
        OutcomeKind.ACCEPTED,
        OutcomeKind.WITHHELD,
        OutcomeKind.WITHHELD,
    ]


async def test_without_an_observation_the_cycle_is_skipped():
    loop, cluster, recorder = loop_over(named("a", 1), rules=(rule(min_allocations=2),))
    cluster.kind = FailureKind.UNREACHABLE
    assert await loop.run_cycle() == POLL_S
    assert cluster.requested == []
    assert [failure.kind for failure in recorder.failures] == [FailureKind.UNREACHABLE]


@pytest.mark.parametrize("failure_kind", [FailureKind.UNAUTHENTICATED, FailureKind.FORBIDDEN])
async def test_refused_credentials_are_not_tried_every_period(failure_kind):
    loop, cluster, _ = loop_over(named("a", 1))
    cluster.kind = failure_kind
    assert await loop.run_cycle() == POLL_S * DENIED_INTERVAL_FACTOR


@pytest.mark.parametrize(
    ("latency_s", "period_s"), [(0.5, POLL_S), (2.0, 20.0), (60.0, POLL_S * MAX_INTERVAL_FACTOR)]
)
async def test_a_slow_cluster_is_polled_less_often(latency_s, period_s):
    loop, cluster, _ = loop_over(named("a", 1))
    cluster.latency_s = latency_s
    assert await loop.run_cycle() == period_s


class Laborious:
    """Takes this long for each plan."""

    name, load_window_s, memory_format = "laborious", 60.0, None

    def __init__(self, clock, plan_s):
        self.clock, self.plan_s = clock, plan_s

    def begin(self):
        return None

    def recommend(self, situation, memory):
        self.clock.pass_by(self.plan_s)
        return Step(Reason.RECOMMENDATION, situation.current, situation.current), memory

    def next_poll(self, situation, memory):
        return PollRequest(2.0, PollCause.QUEUE)


class SlowRecorder(ListRecorder):
    """Takes this long to record a cycle."""

    def __init__(self, clock, record_s):
        super().__init__()
        self.clock, self.record_s = clock, record_s

    def planned(self, *cycle):
        super().planned(*cycle)
        self.clock.pass_by(self.record_s)


@pytest.mark.parametrize(
    ("plan_s", "record_s", "interval_s", "stretched_s", "cause"),
    [
        (0.5, 0.4, 2.0, 0.0, PollCause.QUEUE),
        (1.0, 1.0, 4.0, 0.0, PollCause.SLOW_CYCLE),
        (4.0, 0.0, 8.0, 0.0, PollCause.SLOW_CYCLE),
        (0.0, 9.0, 18.0, 8.0, PollCause.SLOW_CYCLE),
        (60.0, 9.0, POLL_S * MAX_INTERVAL_FACTOR, 20.0, PollCause.SLOW_CYCLE),
    ],
)
async def test_a_loop_works_for_half_of_the_time_at_most(
    plan_s, record_s, interval_s, stretched_s, cause
):
    """Until polls are three poll intervals apart."""
    clock = FakeClock(start=1_000.0)
    work = rule(policy=Laborious(clock, plan_s))
    loop, _, _ = loop_over(named("a", 1), rules=(work,), clock=clock)
    loop.ruleset = replace(loop.ruleset, polling=polling_of(POLL_S))
    loop.recorder = recorder = SlowRecorder(clock, record_s)
    await loop.run_cycle()
    clock.pass_by(5.0)
    assert await loop.run_cycle() == pytest.approx(interval_s)
    due = recorder.plans[-1].next_poll
    assert (due.cause, due.stretched_s) == (cause, pytest.approx(stretched_s))


class Impatient:
    """Needs the next poll at any time, whatever is allowed."""

    name, load_window_s, memory_format = "impatient", 60.0, None

    def __init__(self, within_s):
        self.within_s = within_s

    def begin(self):
        return None

    def recommend(self, situation, memory):
        return Step(Reason.RECOMMENDATION, situation.current, situation.current), memory

    def next_poll(self, situation, memory):
        return PollRequest(self.within_s, PollCause.QUEUE)


@given(
    interval_s=st.floats(1.0, 600.0),
    shortest=st.floats(0.0, 1.0),
    needed_s=st.lists(st.floats(), min_size=1, max_size=3),
    latency_s=st.floats(0.0, 60.0),
)
def test_the_cluster_collects_statistics_for_a_tenth_of_the_time_at_most(
    interval_s, shortest, needed_s, latency_s
):
    """Whatever the policies need, unless polls would be three poll intervals apart."""
    rules = [
        rule(name=f"d{i}", deployments=(f"d{i}",), policy=Impatient(within_s))
        for i, within_s in enumerate(needed_s)
    ]
    loop, cluster, _ = loop_over(*[named(f"d{i}", 1) for i in range(len(needed_s))], rules=rules)
    polling = polling_of(interval_s, max(1.0, shortest * interval_s))
    loop.ruleset = replace(loop.ruleset, polling=polling)
    cluster.latency_s = latency_s
    for _ in range(3):
        waited_s = asyncio.run(loop.run_cycle())
        polite_s = latency_s / MAX_OBSERVE_FRACTION
        assert waited_s >= min(polite_s, MAX_INTERVAL_FACTOR * interval_s) - ROUNDING_S
        assert waited_s >= polling.min_interval_s
        assert waited_s <= max(interval_s, polite_s) + ROUNDING_S
        loop.clock.pass_by(max(0.0, waited_s - latency_s))


@pytest.mark.parametrize(
    ("within_s", "latency_s", "interval_s"),
    [(2.0, 0.1, 2.0), (0.0, 0.1, 2.0), (4.0, 0.1, 4.0), (2.0, 0.7, 7.0), (math.nan, 0.1, POLL_S)],
)
async def test_a_poll_that_a_deployment_needs_is_early_if_the_cluster_responds_fast(
    within_s, latency_s, interval_s
):
    loop, cluster, _ = loop_over(named("a", 1), rules=(rule(policy=Impatient(within_s)),))
    loop.ruleset = replace(loop.ruleset, polling=polling_of(POLL_S))
    cluster.latency_s = latency_s
    await loop.run_cycle()
    loop.clock.pass_by(5.0)
    assert await loop.run_cycle() == pytest.approx(interval_s)


async def intervals(loop, cycles):
    return [await loop.run_cycle() for _ in range(cycles)]


@pytest.mark.parametrize("kind", [FailureKind.TIMEOUT, FailureKind.OVERLOADED])
async def test_after_time_outs_the_cluster_is_polled_ever_less_often(kind):
    """Giving up does not end the work in the cluster, and the next request would add to it."""
    loop, cluster, _ = loop_over(named("a", 1))
    cluster.kind = kind
    assert await intervals(loop, 4) == [30.0, 60.0, 60.0, 60.0]
    cluster.kind = None
    assert await loop.run_cycle() == POLL_S, "as soon as it responds in time"
    cluster.kind = kind
    assert await loop.run_cycle() == 30.0


@pytest.mark.parametrize(
    ("poll_s", "expected"),
    [
        (1.0, [3.0, 6.0, 12.0, 24.0, 48.0, 60.0, 60.0]),
        (25.0, [60.0, 60.0]),
        (60.0, [60.0, 60.0]),
        (600.0, [600.0, 600.0]),
    ],
)
async def test_the_interval_after_time_outs_is_bounded(poll_s, expected):
    loop, cluster, _ = loop_over(named("a", 1))
    loop.ruleset = polled_every(poll_s)
    cluster.kind = FailureKind.TIMEOUT
    assert await intervals(loop, len(expected)) == expected


async def test_a_time_out_that_takes_long_counts_as_a_slow_response():
    loop, cluster, _ = loop_over(named("a", 1))
    loop.ruleset = polled_every(60.0)
    cluster.kind, cluster.latency_s = FailureKind.TIMEOUT, 30.0
    assert await intervals(loop, 2) == [180.0, 180.0]


@pytest.mark.parametrize(
    "kind",
    [FailureKind.UNREACHABLE, FailureKind.UNAVAILABLE, FailureKind.MALFORMED, FailureKind.REFUSED],
)
@pytest.mark.parametrize(
    ("requests", "expected"),
    [
        (0, [10.0, 20.0, 40.0, 60.0, 60.0]),
        (1, [10.0, 20.0, 40.0, 60.0, 60.0]),
        (2, [20.0, 40.0, 60.0, 60.0, 60.0]),
        (3, [30.0, 60.0, 60.0, 60.0, 60.0]),
        (9, [30.0, 60.0, 60.0, 60.0, 60.0]),
    ],
)
async def test_prompt_failures_stretch_the_interval_too(kind, requests, expected):
    """In proportion to the requests that the cluster received, and up to the same limit."""
    loop, cluster, _ = loop_over(named("a", 1))
    cluster.kind, cluster.requests = kind, requests
    assert await intervals(loop, 5) == expected
    cluster.kind = None
    assert await loop.run_cycle() == POLL_S, "as soon as it responds"
    cluster.kind = kind
    assert await loop.run_cycle() == expected[0]


async def test_a_failure_of_another_kind_does_not_begin_again():
    loop, cluster, _ = loop_over(named("a", 1))
    found = []
    for kind in (
        FailureKind.UNREACHABLE,
        FailureKind.TIMEOUT,
        FailureKind.UNAVAILABLE,
        FailureKind.MALFORMED,
    ):
        cluster.kind = kind
        found.append(await loop.run_cycle())
    assert found == [10.0, 30.0, 60.0, 60.0]


@pytest.mark.parametrize("poll_s", [1.0, 10.0, 25.0, 60.0, 600.0])
@pytest.mark.parametrize("kind", [kind for kind in FailureKind if kind is not FailureKind.DEFECT])
async def test_no_failure_is_repeated_at_the_poll_interval_indefinitely(kind, poll_s):
    loop, cluster, recorder = loop_over(named("a", 1))
    loop.ruleset = polled_every(poll_s)
    cluster.kind = kind
    found = await intervals(loop, 12)
    assert found == sorted(found)
    limit_s = DENIED_INTERVAL_FACTOR * poll_s if kind in DENIED else poll_s
    assert found[-1] == max(MAX_FAILURE_INTERVAL_S, limit_s)
    stretched = [each if each > poll_s else 0.0 for each in found]
    assert [failure.next_after_s for failure in recorder.failures] == stretched


@pytest.mark.parametrize(("retry_after_s", "expected"), [(25.0, 25.0), (3_600.0, 60.0)])
async def test_a_server_may_state_when_it_accepts_another_request(retry_after_s, expected):
    loop, cluster, _ = loop_over(named("a", 1))
    cluster.kind, cluster.retry_after_s = FailureKind.UNAVAILABLE, retry_after_s
    assert await loop.run_cycle() == expected


async def test_slow_side_requests_do_not_slow_the_polls():
    """The nodes and owners are read after the statistics, which alone are expensive."""
    loop, cluster, _ = loop_over(named("a", 1))

    async def observe():
        observation = await cluster.observe()
        loop.clock.pass_by(3.0)
        return observation

    loop.observer = SimpleNamespace(observe=observe)
    assert await loop.run_cycle() == POLL_S


async def test_a_defect_costs_one_cycle_and_not_the_daemon():
    loop, cluster, recorder = loop_over(named("a", 1), clock=FakeClock(until=35.0))
    cluster.deployments = None
    task = asyncio.create_task(loop.run())
    while len(recorder.failures) < 2:
        await asyncio.sleep(0)
    cluster.deployments = {"a": named("a", 1)}
    while not recorder.plans:
        await asyncio.sleep(0)
    loop.stop()
    await task
    assert recorder.failures[0].kind is FailureKind.DEFECT
    assert isinstance(recorder.failures[0].__cause__, TypeError)


async def test_cycles_are_a_period_apart_from_start_to_start():
    clock = FakeClock(until=45.0)
    loop, cluster, recorder = loop_over(named("a", 1), clock=clock)
    cluster.latency_s = 0.9
    task = asyncio.create_task(loop.run())
    while len(recorder.plans) < 4:
        await asyncio.sleep(0)
    loop.stop()
    await task
    assert [plan.at for plan in recorder.plans[:4]] == pytest.approx([0.9, 10.9, 20.9, 30.9])


async def test_stopping_ends_a_pause_and_sends_nothing_more():
    loop, cluster, recorder = loop_over(
        named("a", 1), rules=(rule(min_allocations=2),), clock=FakeClock(until=5.0)
    )
    task = asyncio.create_task(loop.run())
    while not recorder.plans:
        await asyncio.sleep(0)
    loop.stop()
    await asyncio.wait_for(task, timeout=5.0)
    requested = len(cluster.requested)
    cluster.deployments["a"] = replace(named("a", 1), server_created_at=2_000.0)
    await loop.run_cycle()
    assert len(cluster.requested) == requested
    assert kinds(recorder) == [OutcomeKind.WITHHELD]


async def test_a_deployment_that_is_started_at_the_end_is_no_longer_recorded_as_stopped():
    """Or the next daemon would resume it after an operator has stopped it."""
    stop_when_idle = rule(zero=ScaleToZero(60.0, ZeroMethod.STOP), on_exit=OnExit.ADAPTIVE)
    loop, cluster, _ = loop_over(named("a", 1), rules=(stop_when_idle,))
    loop.state_store = store = FakeStateStore()
    for _ in range(10):
        await loop.run_cycle()
        loop.clock.pass_by(POLL_S)
    assert cluster.deployments == {}
    assert set(store.saved[-1]) == {"a"}
    (released,) = await loop.release_all()
    assert released.kind is OutcomeKind.ACCEPTED
    assert set(cluster.deployments) == {"a"}
    assert store.saved[-1] == {}


async def test_all_that_one_cycle_stops_is_recorded_before_the_cycle_ends():
    """Or a daemon that is killed during the second stop never starts the first deployment again."""
    stop_when_idle = rule(zero=ScaleToZero(60.0, ZeroMethod.STOP))
    loop, cluster, _ = loop_over(named("a", 1), named("b", 1), rules=(stop_when_idle,))
    loop.state_store = store = FakeStateStore()
    recorded = []

    async def carry_out(deployment_id, change, **_):
        recorded.append(set(store.saved[-1]))
        await cluster.carry_out(deployment_id, change)

    loop.actuator = SimpleNamespace(carry_out=carry_out)
    for _ in range(10):
        await loop.run_cycle()
        loop.clock.pass_by(POLL_S)
    assert cluster.deployments == {}
    assert recorded == [{"a"}, {"a", "b"}]


async def test_a_resume_request_is_saved_with_the_updates_that_are_under_way():
    """A process that is killed now loses neither."""
    stop_when_idle = rule(name="a", deployments=("a",), zero=ScaleToZero(60.0, ZeroMethod.STOP))
    loop, cluster, _ = loop_over(named("a", 1), named("b", 1), rules=(stop_when_idle,))
    loop.state_store = store = FakeStateStore()
    saved = []

    async def carry_out(deployment_id, change, **_):
        if deployment_id == "b":
            assert loop.resume("a")
            await loop.save_resume_requests()
            saved.append(store.state)
        await cluster.carry_out(deployment_id, change)

    loop.actuator = SimpleNamespace(carry_out=carry_out)
    for cycle in range(12):
        if cycle == 10:
            raised = rule(name="b", deployments=("b",), min_allocations=2)
            loop.ruleset = policy(stop_when_idle, raised)
        await loop.run_cycle()
        loop.clock.pass_by(POLL_S)
    (state,) = saved
    assert state.resume_requested == {"a"}
    assert not state.deployments["b"].request.accepted
    assert "a" in cluster.deployments


async def test_a_resume_request_is_saved_without_the_thousands_of_deployments_that_it_is_not_for():
    """Which may take longer than the client that waits for it."""
    loop, _, _ = loop_over(named("a", 1), named("b", 1))
    loop.state_store = store = FakeStateStore()
    await loop.run_cycle()
    store.state = State()
    stopped = {"c": StoppedDeployment(stats=named("c", 1), since=5.0)}
    loop.state = replace(loop.state, stopped=stopped)
    assert loop.resume("c")
    await loop.save_resume_requests()
    assert store.state.resume_requested == {"c"}
    assert store.state.deployments == {}


async def test_a_defect_in_one_update_does_not_lose_the_stop_before_it():
    """The deployment can still be resumed, and stays in the state file."""
    stop_when_idle = rule(name="a", deployments=("a",), zero=ScaleToZero(60.0, ZeroMethod.STOP))
    loop, cluster, _ = loop_over(named("a", 1), named("b", 1))
    loop.state_store = FakeStateStore()

    async def carry_out(deployment_id, change, **_):
        if deployment_id == "b":
            loop.ruleset = policy(stop_when_idle)
            raise ValueError("a defect")
        await cluster.carry_out(deployment_id, change)

    loop.actuator = SimpleNamespace(carry_out=carry_out)
    loop.ruleset = policy(stop_when_idle)
    for cycle in range(10):
        if cycle == 6:
            raised = rule(name="b", deployments=("b",), min_allocations=2)
            loop.ruleset = policy(stop_when_idle, raised)
        with suppress(ValueError):
            await loop.run_cycle()
        loop.clock.pass_by(POLL_S)
    assert set(cluster.deployments) == {"b"}
    assert set(loop.state.stopped) == {"a"}
    assert loop.resume("a")
