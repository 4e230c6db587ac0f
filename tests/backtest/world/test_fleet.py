"""Requests and their outcomes in the compiled processes, in worked examples.

Instants and durations are binary fractions, so that simultaneous events are exactly simultaneous.
"""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoscaler.backtest.world.kernel import COMPLETED, LOST, REJECTED, TIMED_OUT, UNFINISHED
from autoscaler.backtest.world.plant import fleet_of
from autoscaler.simulation.errors import conflict
from autoscaler.simulation.route import Route
from tests.backtest.workloads import scenario, workload

NEVER = math.nan


class World:
    """A fleet with one process for each node, with these allocations."""

    def __init__(self, load, *allocations, **given):
        processors = max(allocations, default=1)
        nodes = max(1, len(allocations))
        scene = scenario(nodes=nodes, processors=processors, **given)
        self.start = load.start
        self.fleet = fleet_of(scene, load, load.start)
        self.processes = [self.fleet.start(count) for count in allocations]
        self.route(*self.processes)

    def route(self, *processes):
        routes = []
        for process in processes:
            route = Route(f"node-{process.index}", process.allocations)
            route.process = process
            routes.append(route)
        self.fleet.route(routes)

    def run(self, seconds):
        self.fleet.run(self.start + seconds)
        return self

    def counters(self, index):
        return self.processes[index].counters(self.fleet.now)

    @property
    def waits(self):
        return self.fleet.waits_s.tolist()

    @property
    def outcomes(self):
        return self.fleet.outcomes.tolist()

    @property
    def totals(self):
        return self.fleet.totals()

    @property
    def retries(self):
        return self.fleet.retries


def same(waits, expected):
    return np.array_equal(waits, expected, equal_nan=True)


class TestQueue:
    def test_first_come_first_served(self):
        world = World(workload([0.0, 0.25, 0.5], 1.0), 1).run(10.0)
        assert world.waits == [0.0, 0.75, 1.5]
        assert world.outcomes == [COMPLETED] * 3

    def test_a_request_that_finds_an_idle_worker_does_not_wait(self):
        world = World(workload([0.0, 0.25, 0.5], 1.0), 2).run(10.0)
        assert world.waits == [0.0, 0.0, 0.5]

    def test_a_request_that_finds_the_queue_full_is_rejected(self):
        world = World(workload([0.0, 0.25, 0.5], 1.0), 1, queue_capacity=1).run(0.5)
        assert world.outcomes == [UNFINISHED, UNFINISHED, REJECTED]
        world.run(10.0)
        assert world.outcomes == [COMPLETED, COMPLETED, REJECTED]
        assert same(world.waits, [0.0, 0.75, NEVER])
        assert world.counters(0).rejections == 1

    def test_a_place_in_the_queue_is_free_once_its_request_is_taken(self):
        load = workload([0.0, 0.25, 0.5, 1.0, 1.25], 1.0)
        world = World(load, 1, queue_capacity=1).run(10.0)
        assert world.outcomes == [COMPLETED, COMPLETED, REJECTED, COMPLETED, REJECTED]
        assert same(world.waits, [0.0, 0.75, NEVER, 1.0, NEVER])

    def test_the_ring_buffer_of_the_queue_wraps_around(self):
        at = np.arange(40) * 0.5
        world = World(workload(at, 0.75), 1, queue_capacity=3, timeout_s=100.0).run(100.0)
        # A worker serves 4 requests in 3 seconds, in which 6 arrive. A queued request waits at most
        # for three others.
        assert world.outcomes.count(REJECTED) > 8
        waits = np.array(world.waits)[np.array(world.outcomes) == COMPLETED]
        assert waits.max() <= 3 * 0.75
        assert world.totals.completed == len(waits)

    def test_requests_are_routed_in_proportion_to_allocations(self):
        routing = [0.0, 0.24, 0.25, 0.99]
        world = World(workload([0.0, 1.0, 2.0, 3.0], 0.5, routing=routing), 1, 3).run(10.0)
        assert [world.counters(node).completed for node in (0, 1)] == [2, 2]

    def test_without_a_process_all_requests_are_lost(self):
        world = World(workload([0.0, 1.0], 0.5, retry_draw=0.9 * np.ones(2))).run(10.0)
        assert world.outcomes == [LOST, LOST]
        assert same(world.waits, [NEVER, NEVER])
        assert (world.totals.attempts, world.totals.failed) == (2, 2)


class TestTimeouts:
    def test_queued_requests_are_skipped_and_take_no_worker(self):
        # The first is served until 10; the second has timed out by then.
        load = workload([0.0, 1.0, 7.0], [10.0, 5.0, 0.5])
        world = World(load, 1, timeout_s=4.0).run(10.75)
        assert world.outcomes == [TIMED_OUT, TIMED_OUT, COMPLETED]
        assert same(world.waits, [0.0, NEVER, 3.0])
        assert world.totals.busy_s == 10.5

    def test_queued_requests_keep_their_places_until_their_turn(self):
        load = workload([0.0, 1.0, 6.0, 10.5], [10.0, 1.0, 1.0, 1.0])
        world = World(load, 1, timeout_s=4.0, queue_capacity=1).run(20.0)
        assert world.outcomes == [TIMED_OUT, TIMED_OUT, REJECTED, COMPLETED]

    def test_requests_in_service_keep_their_worker_to_the_end(self):
        load = workload([0.0, 2.5], [3.0, 1.0])
        world = World(load, 1, timeout_s=2.0)
        assert world.run(2.75).totals.busy_s == 2.75
        assert world.counters(0).timeouts == 1
        world.run(5.0)
        assert world.waits == [0.0, 0.5]
        assert world.outcomes == [TIMED_OUT, COMPLETED]
        assert world.totals.busy_s == 4.0  # of which three after the timeout
        assert world.counters(0).completed == 1

    def test_a_response_at_the_last_instant_is_completed(self):
        world = World(workload([0.0, 0.0], [2.0, 2.0 + 2**-20]), 2, timeout_s=2.0).run(5.0)
        assert world.outcomes == [COMPLETED, TIMED_OUT]

    def test_a_request_whose_turn_is_at_the_last_instant_is_skipped(self):
        # At 3 the worker is free. The second has timed out, the third has not.
        load = workload([0.0, 1.0, 1.25], [3.0, 0.25, 0.25])
        world = World(load, 1, timeout_s=2.0).run(5.0)
        assert world.outcomes == [TIMED_OUT, TIMED_OUT, COMPLETED]
        assert same(world.waits, [0.0, NEVER, 1.75])

    @pytest.mark.parametrize(
        ("at", "work_s"), [([0.0], [3.0]), ([0.0, 0.0], [100.0, 1.0])], ids=["service", "queue"]
    )
    def test_callers_give_up_at_the_timeout_and_not_before(self, at, work_s):
        load = workload(at, work_s, retry_draw=np.zeros(len(at)))
        back_at = 2.0 + 0.5
        world = World(load, 1, timeout_s=2.0, retry_share=1.0, retry_after_s=0.5)
        assert world.run(back_at - 2**-20).retries == 0
        assert world.run(back_at).retries == len(at)


class TestRetries:
    def three_at_once(self, *nodes, work_s=1.0, draw=0.0, **given):
        """Three requests for the first node, which has one worker and one place in the queue."""
        load = workload([0.0] * 3, work_s, routing=[0.0] * 3, retry_draw=[0.99999, 0.99999, draw])
        given = {"retry_share": 1.0, "retry_after_s": 0.5, "queue_capacity": 1} | given
        return World(load, *nodes, **given)

    @pytest.mark.parametrize(
        ("draw", "share", "retries"),
        [(0.0, 0.0, 0), (0.25, 0.25, 0), (0.24, 0.25, 1), (0.0, 0.001, 1), (0.9, 0.99, 1)],
    )
    def test_a_failed_request_is_retried_if_its_draw_is_below_the_share(self, draw, share, retries):
        world = self.three_at_once(1, draw=draw, retry_share=share).run(50.0)
        assert world.outcomes == [COMPLETED, COMPLETED, REJECTED]
        assert world.retries == retries

    def test_a_retry_arrives_after_the_back_off_and_only_once(self):
        world = self.three_at_once(1, work_s=4.0)
        assert world.run(0.5 - 2**-20).totals.attempts == 3
        assert world.run(0.5).totals.attempts == 4
        assert world.retries == 1
        assert world.counters(0).rejections == 2  # the retry is rejected too
        assert world.run(100.0).totals.attempts == 4  # and is not retried

    def test_a_retry_goes_to_another_process(self):
        world = self.three_at_once(1, 1).run(10.0)
        assert world.counters(0).rejections == 1
        assert [world.counters(node).completed for node in (0, 1)] == [2, 1]

    @settings(deadline=None)
    @given(routing=st.floats(0.0, 1.0, exclude_max=True))
    def test_with_three_equal_nodes_a_retry_never_goes_to_the_same_node(self, routing):
        load = workload([0.0], 9.0, routing=[routing], retry_draw=[0.0])
        world = World(load, 1, 1, 1, timeout_s=1.0, retry_share=1.0, retry_after_s=0.5).run(5.0)
        assert sorted(world.counters(node).timeouts for node in range(3)) == [0, 1, 1]

    def test_retries_are_routed_in_proportion_to_allocations(self):
        # With bounds at 0.2 and 0.6, the first attempt goes to the first node. The draw of the
        # retry is larger by the golden ratio.
        load = workload([0.0], 9.0, routing=[0.1], retry_draw=[0.0])
        world = World(load, 1, 2, 2, timeout_s=1.0, retry_share=1.0, retry_after_s=0.5).run(5.0)
        assert [world.counters(node).timeouts for node in range(3)] == [1, 0, 1]

    def test_a_successful_retry_does_not_undo_the_violation(self):
        world = self.three_at_once(1, work_s=0.25).run(10.0)
        assert world.totals.completed == 3
        assert world.outcomes == [COMPLETED, COMPLETED, REJECTED]
        assert same(world.waits, [0.0, 0.25, NEVER])

    def test_a_failed_retry_is_not_a_second_violation(self):
        world = self.three_at_once(1, work_s=4.0).run(100.0)
        assert world.outcomes == [COMPLETED, COMPLETED, REJECTED]
        assert (world.totals.attempts, world.totals.completed, world.totals.failed) == (4, 2, 2)

    @pytest.mark.parametrize(("share", "wait_s"), [(0.0, 0.0), (0.5, 0.75)])
    def test_retries_delay_other_requests(self, share, wait_s):
        load = workload([0.0, 0.0, 0.0, 2.75], 1.0, retry_draw=[0.9, 0.9, 0.0, 0.9])
        given = {"retry_share": share, "retry_after_s": 2.5, "queue_capacity": 1}
        # The retry arrives at 2.5 and is served until 3.5.
        assert World(load, 1, **given).run(10.0).waits[3] == wait_s

    @pytest.mark.parametrize(("timeout_s", "completed"), [(3.5, 2), (3.75, 3)])
    def test_a_retry_has_the_same_timeout(self, timeout_s, completed):
        # The third is rejected at 1, retried at 1.5, served at 3.25 and would finish at 5.25.
        load = workload([0.0, 0.0, 1.0], [1.25, 2.0, 2.0], retry_draw=[0.9, 0.9, 0.0])
        given = {"retry_share": 0.5, "retry_after_s": 0.5, "queue_capacity": 1}
        world = World(load, 1, timeout_s=timeout_s, **given).run(20.0)
        assert world.outcomes == [COMPLETED, COMPLETED, REJECTED]
        assert (world.retries, world.totals.completed) == (1, completed)


class TestWarmUp:
    def test_processes_are_slower_until_they_are_warm(self):
        load = workload([0.0, 9.75, 20.0], 1.0)
        world = World(load, 3, warm_up_s=10.0, warm_up_factor=3.0)
        assert world.run(2.0).totals.busy_s == 2.0
        assert world.run(9.0).totals.busy_s == 3.0
        # Service that begins during the warm-up is slow to the end.
        assert world.run(15.0).totals.busy_s == 6.0
        assert world.run(30.0).totals.busy_s == 7.0

    def test_service_that_begins_at_the_end_of_the_warm_up_is_fast(self):
        world = World(workload([10.0], 1.0), 1, warm_up_s=10.0, warm_up_factor=3.0).run(20.0)
        assert world.totals.busy_s == 1.0


class TestEnds:
    def end(self, world, index=0):
        world.processes[index].end(world.fleet.now, queued=conflict("gone"))
        world.route(*[each for each in world.processes if each.index != index])

    def test_queued_requests_are_rejected_and_those_in_service_are_lost(self):
        world = World(workload([0.0, 0.5, 1.0], 4.0), 1).run(1.0)
        self.end(world)
        world.run(10.0)
        assert world.outcomes == [LOST, REJECTED, REJECTED]
        assert same(world.waits, [0.0, NEVER, NEVER])
        assert world.totals.failed == 3
        assert world.totals.in_flight == 0

    def test_only_the_work_until_then_counts(self):
        world = World(workload([0.0, 0.5], 4.0), 2).run(1.0)
        self.end(world)
        assert world.run(10.0).totals.busy_s == 1.5

    def test_a_timeout_is_counted_once(self):
        # At 3 both have timed out, one in service and one in the queue.
        world = World(workload([0.0, 0.5], 10.0), 1, timeout_s=2.0).run(3.0)
        self.end(world)
        world.run(20.0)
        assert world.outcomes == [TIMED_OUT, TIMED_OUT]
        assert world.totals.failed == 2

    def test_lost_requests_are_retried_on_the_remaining_process(self):
        load = workload([0.0, 0.5], 4.0, routing=[0.0, 0.0], retry_draw=[0.0, 0.0])
        world = World(load, 1, 1, retry_share=1.0, retry_after_s=0.5).run(1.0)
        self.end(world)
        world.run(20.0)
        assert world.retries == 2
        assert world.counters(1).completed == 2

    def test_its_slot_can_be_used_by_another_process(self):
        world = World(workload([0.0, 2.0], 4.0), 1).run(1.0)
        self.end(world)
        world.processes = [world.fleet.start(1)]
        world.route(*world.processes)
        world.run(20.0)
        assert world.outcomes == [LOST, COMPLETED]
        counters = world.counters(0)
        assert (counters.start_time, counters.completed) == (world.start + 1.0, 1)


def streams(seed, count, mean_s):
    rng = np.random.default_rng(seed)
    at = np.cumsum(rng.exponential(1.0, count))
    return workload(at, rng.lognormal(np.log(mean_s), 0.8, count), seed=seed)


crowded = {
    "seed": st.integers(0, 10_000),
    "mean_s": st.floats(0.2, 6.0),
    "capacity": st.sampled_from([1, 3, 1000]),
    "timeout_s": st.sampled_from([1.5, 6.0, 1e6]),
}


@settings(max_examples=60, deadline=None)
@given(**crowded, workers=st.integers(1, 4))
def test_busy_time_is_the_integral_of_busy_workers(seed, mean_s, capacity, timeout_s, workers):
    """At any instant; and there are never more busy workers than allocations."""
    load = streams(seed, 120, mean_s)
    given = {"queue_capacity": capacity, "timeout_s": timeout_s}
    whole = World(load, workers, **given).run(1e4)
    begins = load.at + whole.fleet.waits_s - load.start
    begun = ~np.isnan(begins)
    begins, work_s = begins[begun], load.work_s[begun]
    ends = begins + work_s
    at_begins = [(begins <= at) & (at < ends - 1e-6) for at in begins]
    assert max(np.count_nonzero(busy) for busy in at_begins) <= workers
    world = World(load, workers, **given)
    for at in (10.0, 33.3, 80.0, 119.0, 1e4):
        worked_s = np.clip(at - begins, 0.0, work_s).sum()
        assert world.run(at).totals.busy_s == pytest.approx(worked_s, abs=1e-4)


@settings(max_examples=60, deadline=None)
@given(**crowded, workers=st.integers(1, 4))
def test_no_request_waits_while_a_worker_is_idle(seed, mean_s, capacity, timeout_s, workers):
    load = streams(seed, 120, mean_s)
    world = World(load, workers, queue_capacity=capacity, timeout_s=timeout_s).run(1e4)
    waits = world.fleet.waits_s
    begins = load.at + waits
    ends = begins + load.work_s
    served = begins[~np.isnan(waits)]
    assert (np.diff(served) >= 0.0).all()  # in order of arrival
    for at, begin in zip(load.at, begins, strict=True):
        if begin > at:
            # A queued request is taken at the instant at which another one finishes.
            assert np.nanmin(np.abs(ends - begin)) < 1e-6
            assert np.count_nonzero((begins < begin) & (ends >= begin - 1e-6)) >= workers


@settings(max_examples=60, deadline=None)
@given(
    **crowded,
    nodes=st.lists(st.integers(1, 3), min_size=1, max_size=3),
    share=st.sampled_from([0.0, 0.3, 1.0]),
    retry_after_s=st.sampled_from([0.1, 2.0]),
)
def test_every_request_is_counted(seed, mean_s, capacity, timeout_s, nodes, share, retry_after_s):
    load = streams(seed, 120, mean_s)
    world = World(
        load,
        *nodes,
        queue_capacity=capacity,
        timeout_s=timeout_s,
        retry_share=share,
        retry_after_s=retry_after_s,
    )
    for at in (20.0, 60.0, 110.0):
        seen = world.run(at).totals
        unfinished = seen.attempts - seen.completed - seen.failed
        # Requests whose callers have given up may still be queued or in service.
        assert 0 <= unfinished <= seen.in_flight
        assert (timeout_s < 1e6) or unfinished == seen.in_flight
    totals = world.run(1e5).totals
    outcomes = world.fleet.outcomes
    assert not (outcomes == UNFINISHED).any()
    assert totals.attempts == totals.completed + totals.failed
    assert totals.in_flight == 0
    retried = (outcomes != COMPLETED) & (load.retry_draw < share)
    assert world.retries == np.count_nonzero(retried)
    assert totals.attempts == len(load.at) + world.retries
    # A request that was never served has failed; a rejected one was never served.
    assert (outcomes[np.isnan(world.fleet.waits_s)] != COMPLETED).all()
    assert np.isnan(world.fleet.waits_s[outcomes == REJECTED]).all()
