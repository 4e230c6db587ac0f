"""Requests and their fates in the compiled processes, case by case, by hand.

Instants and durations are binary fractions, so that what comes at the same time does.
"""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoscaler.backtest.world.kernel import COMPLETED, LOST, PENDING, REJECTED, TIMED_OUT
from autoscaler.backtest.world.plant import fleet_of
from autoscaler.simulation.errors import conflict
from autoscaler.simulation.route import Route
from tests.backtest.workloads import demand, scenario

NEVER = math.nan


class World:
    """A fleet with one process a node, each of so many allocations, that takes requests at once."""

    def __init__(self, load, *allocations, **given):
        most = max(allocations, default=1)
        scene = scenario(nodes=max(1, len(allocations)), processors=most, **given)
        self.start = load.start
        self.fleet = fleet_of(scene, load, load.start)
        self.processes = [self.fleet.start(number) for number in allocations]
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
    def second_tries(self):
        return self.fleet.second_tries


def same(waits, expected):
    return np.array_equal(waits, expected, equal_nan=True)


class TestQueue:
    def test_first_come_first_served(self):
        world = World(demand([0.0, 0.25, 0.5], 1.0), 1).run(10.0)
        assert world.waits == [0.0, 0.75, 1.5]
        assert world.outcomes == [COMPLETED] * 3

    def test_who_finds_an_idle_worker_does_not_wait(self):
        world = World(demand([0.0, 0.25, 0.5], 1.0), 2).run(10.0)
        assert world.waits == [0.0, 0.0, 0.5]

    def test_who_finds_the_queue_full_is_refused(self):
        world = World(demand([0.0, 0.25, 0.5], 1.0), 1, queue_capacity=1).run(0.5)
        assert world.outcomes == [PENDING, PENDING, REJECTED]
        world.run(10.0)
        assert world.outcomes == [COMPLETED, COMPLETED, REJECTED]
        assert same(world.waits, [0.0, 0.75, NEVER])
        assert world.counters(0).rejections == 1

    def test_a_place_is_free_again_from_the_instant_its_request_is_taken(self):
        load = demand([0.0, 0.25, 0.5, 1.0, 1.25], 1.0)
        world = World(load, 1, queue_capacity=1).run(10.0)
        assert world.outcomes == [COMPLETED, COMPLETED, REJECTED, COMPLETED, REJECTED]
        assert same(world.waits, [0.0, 0.75, NEVER, 1.0, NEVER])

    def test_a_queue_is_used_round_and_round(self):
        at = np.arange(40) * 0.5
        world = World(demand(at, 0.75), 1, queue_capacity=3, timeout_s=100.0).run(100.0)
        # A worker does 4 in 3 seconds, in which 6 come. Those who come in wait as long as three
        # more take at most.
        assert world.outcomes.count(REJECTED) > 8
        waits = np.array(world.waits)[np.array(world.outcomes) == COMPLETED]
        assert waits.max() <= 3 * 0.75
        assert world.totals.completed == len(waits)

    def test_requests_go_to_nodes_as_their_allocations_are(self):
        routing = [0.0, 0.24, 0.25, 0.99]
        world = World(demand([0.0, 1.0, 2.0, 3.0], 0.5, routing=routing), 1, 3).run(10.0)
        assert [world.counters(node).completed for node in (0, 1)] == [2, 2]

    def test_without_a_process_all_are_lost(self):
        world = World(demand([0.0, 1.0], 0.5, chance=0.9 * np.ones(2))).run(10.0)
        assert world.outcomes == [LOST, LOST]
        assert same(world.waits, [NEVER, NEVER])
        assert (world.totals.tries, world.totals.failed) == (2, 2)


class TestTimeOuts:
    def test_in_the_queue_they_are_skipped_and_take_no_worker(self):
        # The first works until 10, when the time of the second has long been up.
        load = demand([0.0, 1.0, 7.0], [10.0, 5.0, 0.5])
        world = World(load, 1, timeout_s=4.0).run(10.75)
        assert world.outcomes == [TIMED_OUT, TIMED_OUT, COMPLETED]
        assert same(world.waits, [0.0, NEVER, 3.0])
        assert world.totals.busy_s == 10.5

    def test_in_the_queue_they_keep_their_places_until_their_turn(self):
        load = demand([0.0, 1.0, 6.0, 10.5], [10.0, 1.0, 1.0, 1.0])
        world = World(load, 1, timeout_s=4.0, queue_capacity=1).run(20.0)
        assert world.outcomes == [TIMED_OUT, TIMED_OUT, REJECTED, COMPLETED]

    def test_in_service_they_keep_their_worker_to_the_end(self):
        load = demand([0.0, 2.5], [3.0, 1.0])
        world = World(load, 1, timeout_s=2.0)
        assert world.run(2.75).totals.busy_s == 2.75
        assert world.counters(0).timeouts == 1
        world.run(5.0)
        assert world.waits == [0.0, 0.5]
        assert world.outcomes == [TIMED_OUT, COMPLETED]
        assert world.totals.busy_s == 4.0  # of which three were for nobody
        assert world.counters(0).completed == 1

    def test_an_answer_at_the_last_instant_is_one(self):
        world = World(demand([0.0, 0.0], [2.0, 2.0 + 2**-20]), 2, timeout_s=2.0).run(5.0)
        assert world.outcomes == [COMPLETED, TIMED_OUT]

    def test_whose_turn_comes_at_the_last_instant_is_skipped(self):
        # At 3 the worker is free. The second may not wait longer, the third may.
        load = demand([0.0, 1.0, 1.25], [3.0, 0.25, 0.25])
        world = World(load, 1, timeout_s=2.0).run(5.0)
        assert world.outcomes == [TIMED_OUT, TIMED_OUT, COMPLETED]
        assert same(world.waits, [0.0, NEVER, 1.75])

    @pytest.mark.parametrize(
        ("at", "work_s"), [([0.0], [3.0]), ([0.0, 0.0], [100.0, 1.0])], ids=["service", "queue"]
    )
    def test_callers_give_up_at_the_instant_and_not_before(self, at, work_s):
        load = demand(at, work_s, chance=np.zeros(len(at)))
        back_at = 2.0 + 0.5
        world = World(load, 1, timeout_s=2.0, retry_share=1.0, retry_after_s=0.5)
        assert world.run(back_at - 2**-20).second_tries == 0
        assert world.run(back_at).second_tries == len(at)


class TestSecondTries:
    def three_at_once(self, *nodes, work_s=1.0, chance=0.0, **given):
        """On the first node there are a worker for one, a place for another, and a third comes."""
        load = demand([0.0] * 3, work_s, routing=[0.0] * 3, chance=[0.99999, 0.99999, chance])
        given = {"retry_share": 1.0, "retry_after_s": 0.5, "queue_capacity": 1} | given
        return World(load, *nodes, **given)

    @pytest.mark.parametrize(
        ("chance", "share", "tries"),
        [(0.0, 0.0, 0), (0.25, 0.25, 0), (0.24, 0.25, 1), (0.0, 0.001, 1), (0.9, 0.99, 1)],
    )
    def test_they_are_made_by_those_who_fail_and_whose_chance_is_below_the_share(
        self, chance, share, tries
    ):
        world = self.three_at_once(1, chance=chance, retry_share=share).run(50.0)
        assert world.outcomes == [COMPLETED, COMPLETED, REJECTED]
        assert world.second_tries == tries

    def test_they_come_after_the_back_off_and_once_only(self):
        world = self.three_at_once(1, work_s=4.0)
        assert world.run(0.5 - 2**-20).totals.tries == 3
        assert world.run(0.5).totals.tries == 4
        assert world.second_tries == 1
        assert world.counters(0).rejections == 2  # it is refused again,
        assert world.run(100.0).totals.tries == 4  # and that was it

    def test_they_go_elsewhere(self):
        world = self.three_at_once(1, 1).run(10.0)
        assert world.counters(0).rejections == 1
        assert [world.counters(node).completed for node in (0, 1)] == [2, 1]

    @settings(deadline=None)
    @given(routing=st.floats(0.0, 1.0, exclude_max=True))
    def test_of_three_even_nodes_they_never_go_to_the_same_again(self, routing):
        load = demand([0.0], 9.0, routing=[routing], chance=[0.0])
        world = World(load, 1, 1, 1, timeout_s=1.0, retry_share=1.0, retry_after_s=0.5).run(5.0)
        assert sorted(world.counters(node).timeouts for node in range(3)) == [0, 1, 1]

    def test_where_they_go_is_weighted_too(self):
        # With bounds at 0.2 and 0.6, the first try goes to the first node. The draw of the second
        # is further by the golden ratio.
        load = demand([0.0], 9.0, routing=[0.1], chance=[0.0])
        world = World(load, 1, 2, 2, timeout_s=1.0, retry_share=1.0, retry_after_s=0.5).run(5.0)
        assert [world.counters(node).timeouts for node in range(3)] == [1, 0, 1]

    def test_one_that_goes_well_undoes_no_miss(self):
        world = self.three_at_once(1, work_s=0.25).run(10.0)
        assert world.totals.completed == 3
        assert world.outcomes == [COMPLETED, COMPLETED, REJECTED]
        assert same(world.waits, [0.0, 0.25, NEVER])

    def test_one_that_fails_is_no_second_miss(self):
        world = self.three_at_once(1, work_s=4.0).run(100.0)
        assert world.outcomes == [COMPLETED, COMPLETED, REJECTED]
        assert (world.totals.tries, world.totals.completed, world.totals.failed) == (4, 2, 2)

    @pytest.mark.parametrize(("share", "wait_s"), [(0.0, 0.0), (0.5, 0.75)])
    def test_they_are_load_for_others(self, share, wait_s):
        load = demand([0.0, 0.0, 0.0, 2.75], 1.0, chance=[0.9, 0.9, 0.0, 0.9])
        given = {"retry_share": share, "retry_after_s": 2.5, "queue_capacity": 1}
        # The second try comes at 2.5 and is worked on until 3.5.
        assert World(load, 1, **given).run(10.0).waits[3] == wait_s

    @pytest.mark.parametrize(("timeout_s", "completed"), [(3.5, 2), (3.75, 3)])
    def test_they_have_as_much_time_as_a_first(self, timeout_s, completed):
        # The third is refused at 1, comes back at 1.5, is served at 3.25 and would be done at 5.25.
        load = demand([0.0, 0.0, 1.0], [1.25, 2.0, 2.0], chance=[0.9, 0.9, 0.0])
        given = {"retry_share": 0.5, "retry_after_s": 0.5, "queue_capacity": 1}
        world = World(load, 1, timeout_s=timeout_s, **given).run(20.0)
        assert world.outcomes == [COMPLETED, COMPLETED, REJECTED]
        assert (world.second_tries, world.totals.completed) == (1, completed)


class TestYoungProcesses:
    def test_they_are_slower_until_they_are_warm(self):
        load = demand([0.0, 9.75, 20.0], 1.0)
        world = World(load, 3, warm_up_s=10.0, warm_up_factor=3.0)
        assert world.run(2.0).totals.busy_s == 2.0
        assert world.run(9.0).totals.busy_s == 3.0
        assert world.run(15.0).totals.busy_s == 6.0  # what is begun young is slow to the end
        assert world.run(30.0).totals.busy_s == 7.0

    def test_from_the_instant_on_they_are_not(self):
        world = World(demand([10.0], 1.0), 1, warm_up_s=10.0, warm_up_factor=3.0).run(20.0)
        assert world.totals.busy_s == 1.0


class TestEnds:
    def end(self, world, index=0):
        world.processes[index].end(world.fleet.now, queued=conflict("gone"))
        world.route(*[each for each in world.processes if each.index != index])

    def test_what_waits_is_refused_and_what_is_in_service_is_lost(self):
        world = World(demand([0.0, 0.5, 1.0], 4.0), 1).run(1.0)
        self.end(world)
        world.run(10.0)
        assert world.outcomes == [LOST, REJECTED, REJECTED]
        assert same(world.waits, [0.0, NEVER, NEVER])
        assert world.totals.failed == 3
        assert world.totals.pending == 0

    def test_only_what_was_worked_until_then_counts(self):
        world = World(demand([0.0, 0.5], 4.0), 2).run(1.0)
        self.end(world)
        assert world.run(10.0).totals.busy_s == 1.5

    def test_callers_who_had_given_up_are_told_once(self):
        # At 3 both have timed out, one in service and one in the queue.
        world = World(demand([0.0, 0.5], 10.0), 1, timeout_s=2.0).run(3.0)
        self.end(world)
        world.run(20.0)
        assert world.outcomes == [TIMED_OUT, TIMED_OUT]
        assert world.totals.failed == 2

    def test_those_who_had_to_go_come_back_to_what_is_left(self):
        load = demand([0.0, 0.5], 4.0, routing=[0.0, 0.0], chance=[0.0, 0.0])
        world = World(load, 1, 1, retry_share=1.0, retry_after_s=0.5).run(1.0)
        self.end(world)
        world.run(20.0)
        assert world.second_tries == 2
        assert world.counters(1).completed == 2

    def test_its_place_can_be_taken_by_another(self):
        world = World(demand([0.0, 2.0], 4.0), 1).run(1.0)
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
    return demand(at, rng.lognormal(np.log(mean_s), 0.8, count), seed=seed)


crowded = {
    "seed": st.integers(0, 10_000),
    "mean_s": st.floats(0.2, 6.0),
    "capacity": st.sampled_from([1, 3, 1000]),
    "timeout_s": st.sampled_from([1.5, 6.0, 1e6]),
}


@settings(max_examples=60, deadline=None)
@given(**crowded, workers=st.integers(1, 4))
def test_workers_are_busy_for_as_long_as_they_work(seed, mean_s, capacity, timeout_s, workers):
    """At any instant: the integral, over time, of the number of busy ones, which is never more
    than there are."""
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
def test_nobody_waits_while_a_worker_is_idle(seed, mean_s, capacity, timeout_s, workers):
    load = streams(seed, 120, mean_s)
    world = World(load, workers, queue_capacity=capacity, timeout_s=timeout_s).run(1e4)
    waits = world.fleet.waits_s
    begins = load.at + waits
    ends = begins + load.work_s
    served = begins[~np.isnan(waits)]
    assert (np.diff(served) >= 0.0).all()  # in the order in which they came
    for at, begin in zip(load.at, begins, strict=True):
        if begin > at:
            # Whoever waits is taken at an instant at which somebody else is finished.
            assert np.nanmin(np.abs(ends - begin)) < 1e-6
            assert np.count_nonzero((begins < begin) & (ends >= begin - 1e-6)) >= workers


@settings(max_examples=60, deadline=None)
@given(
    **crowded,
    nodes=st.lists(st.integers(1, 3), min_size=1, max_size=3),
    share=st.sampled_from([0.0, 0.3, 1.0]),
    retry_after_s=st.sampled_from([0.1, 2.0]),
)
def test_nobody_is_forgotten(seed, mean_s, capacity, timeout_s, nodes, share, retry_after_s):
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
        under_way = seen.tries - seen.completed - seen.failed
        # Requests whose callers have given up may still wait, or be worked on.
        assert 0 <= under_way <= seen.pending
        assert (timeout_s < 1e6) or under_way == seen.pending
    totals = world.run(1e5).totals
    fates = world.fleet.outcomes
    assert not (fates == PENDING).any()
    assert totals.tries == totals.completed + totals.failed
    assert totals.pending == 0
    came_back = (fates != COMPLETED) & (load.retry_draw < share)
    assert world.second_tries == np.count_nonzero(came_back)
    assert totals.tries == len(load.at) + world.second_tries
    # Who was never served has failed; who was refused was never served.
    assert (fates[np.isnan(world.fleet.waits_s)] != COMPLETED).all()
    assert np.isnan(world.fleet.waits_s[fates == REJECTED]).all()
