"""Late requests, estimated from the requests in flight on each node."""

import pytest

from autoscaler.core.policies import Situation
from autoscaler.core.slo.memory import QueueSnapshot, SloEstimate, SloMemory, Unforeseen
from autoscaler.core.slo.service_time import ServiceTimeEstimate
from autoscaler.core.slo.violations import (
    late_requests,
    preventable_fraction,
    queue_snapshot,
    unforeseen_after,
)
from autoscaler.core.values import LoadEstimate, NodeStats, Sample

ESTIMATE = SloEstimate(max_wait=2.0, service_time=ServiceTimeEstimate(100.0, 10.0, 0.5))
REQUESTS = 1_000  # more than are served


def situation(allocations, in_flight):
    """Nodes with these allocations, and the requests in flight on each."""
    nodes = [
        NodeStats(f"n{place}", "started", allocations=each, pending=pending)
        for place, (each, pending) in enumerate(zip(allocations, in_flight, strict=True))
    ]
    load = LoadEstimate(
        arrival_rate_per_s=10.0,
        throughput_per_s=10.0,
        service_time_s=0.1,
        cache_hit_fraction=0.0,
        in_flight=sum(in_flight),
        window_s=60.0,
    )
    return Situation(
        at=60.0,
        current=sum(allocations),
        running=sum(allocations),
        sample=Sample(at=60.0, interval_s=10.0, in_flight=sum(in_flight)),
        load=load,
        in_flight=(sum(in_flight),),
        nodes=tuple(nodes),
    )


def late_per_s(allocations, in_flight, estimate=ESTIMATE):
    memory = SloMemory(estimate=estimate)
    return queue_snapshot(situation(allocations, in_flight), memory, REQUESTS).late_per_s


def test_a_queue_on_one_node_counts_although_allocations_of_others_are_free():
    """Requests are sent to the nodes at random, and stay where they are."""
    alone = late_per_s((1,), (4,))
    assert alone > 0.0
    assert late_per_s((1, 1, 2), (4, 0, 0)) == pytest.approx(alone)
    assert late_per_s((1, 1, 2), (4, 4, 1)) == pytest.approx(2.0 * alone)


def test_requests_in_service_are_no_queue():
    assert late_per_s((2, 2), (2, 1)) == 0.0


def test_without_a_service_time_nothing_is_known_of_queues():
    assert late_per_s((1,), (9,), SloEstimate()) == 0.0


@pytest.mark.parametrize(("before", "now"), [((0, 0, 0), (9, 0, 0)), ((1, 1, 1), (0, 2, 0))])
def test_a_queue_is_known_to_be_late_at_the_poll_after_it(before, now):
    allocations = (1, 1, 2)
    first = situation(allocations, before)
    memory = SloMemory(estimate=ESTIMATE, queue=queue_snapshot(first, SloMemory(), 0))
    second = situation(allocations, now)
    assert late_requests(second, memory) == 0.0
    queue = queue_snapshot(second, memory, REQUESTS)
    after = SloMemory(estimate=ESTIMATE, queue=queue)
    assert late_requests(situation(allocations, (0, 0, 0)), after) == pytest.approx(
        10.0 * queue.late_per_s
    )


class TestUnforeseen:
    """Until enough allocations can run, late requests after an unforeseen jump were not
    preventable."""

    JUMP = Unforeseen(0.8, until=100.0)
    QUEUE = QueueSnapshot(late_per_s=2.0)

    @pytest.mark.parametrize(("at", "preventable"), [(50.0, 0.2), (100.0, 1.0), (150.0, 1.0)])
    def test_it_counts_until_enough_can_run(self, at, preventable):
        after = unforeseen_after(self.JUMP, self.QUEUE, at, jumped=0.0, until=at + 60.0)
        assert preventable_fraction(after, at) == pytest.approx(preventable)
        assert preventable_fraction(self.JUMP, at) == pytest.approx(preventable)

    def test_it_ends_with_its_queue(self):
        assert unforeseen_after(self.JUMP, QueueSnapshot(), 50.0, jumped=0.0, until=110.0) is None

    @pytest.mark.parametrize(("jumped", "until"), [(0.5, 100.0), (0.8, 100.0), (0.9, 110.0)])
    def test_only_a_more_certain_jump_takes_its_place(self, jumped, until):
        after = unforeseen_after(self.JUMP, self.QUEUE, 50.0, jumped=jumped, until=110.0)
        assert after == Unforeseen(max(0.8, jumped), until)

    def test_without_a_jump_there_is_none(self):
        assert unforeseen_after(None, self.QUEUE, 50.0, jumped=0.0, until=110.0) is None
        assert unforeseen_after(None, self.QUEUE, 50.0, 0.3, 110.0) == Unforeseen(0.3, 110.0)
