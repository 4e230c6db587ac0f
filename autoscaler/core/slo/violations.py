"""Late requests: an estimate of those that have come, and of those to expect.

The statistics do not contain queue waits. But each poll reports the in-flight requests of each
node, from which the queue wait of a request that arrives at that instant follows.
"""

import math

from autoscaler.core.policies import Situation, missing_inputs
from autoscaler.core.slo import queueing
from autoscaler.core.slo.cost_model import QueueParameters, violation_fraction
from autoscaler.core.slo.memory import QueueSnapshot, SloMemory, Unforeseen
from autoscaler.core.slo.placement import NodeSlots
from autoscaler.core.slo.service_time import ServiceTimeEstimate
from autoscaler.core.values import Candidate, Sample


def queue_snapshot(situation: Situation, memory: SloMemory, requests: int) -> QueueSnapshot:
    """The queue at a poll.

    While a queue stands on a node, it serves `allocations / service time` requests per second, and
    each of them has waited. As many requests find n others on a node as leave n others behind
    (level crossing: L. Kleinrock, Queueing Systems, vol. 1, 1975, section 5.3). So the requests
    that become late follow from the queue alone, even if they come in bursts.

    Args:
        memory: before this poll.
        requests: that have arrived since the poll before.
    """
    sample, estimate = situation.sample, memory.estimate
    late_per_s, limit, service = 0.0, estimate.max_wait, estimate.service_time
    if service.requests > 0.0:
        for node in situation.nodes:
            if node.allocations and node.pending > node.allocations:
                late_fraction = queueing.violation_probability(
                    node.pending - 1, node.allocations, limit, service.scv
                )
                late_per_s += late_fraction * node.allocations / service.mean_s
        served = requests + memory.queue.in_flight  # at most
        late_per_s = min(late_per_s, served / sample.interval_s)
    return QueueSnapshot(
        in_flight=sample.in_flight,
        running=situation.running,
        interval_s=sample.interval_s,
        late_per_s=late_per_s,
    )


def late_requests(situation: Situation, memory: SloMemory) -> float:
    """An estimate of the requests that were late because of the queue at the last poll.

    The queue stands for the interval before that poll. Allocations that the poll has added serve
    the requests which arrived shortly before it, and those which arrive while the queue drains:
    within the queue wait that the SLO allows, but at most half an interval each.

    Args:
        memory: before this poll.
    """
    queue, limit, service = memory.queue, memory.estimate.max_wait, memory.estimate.service_time
    if queue.late_per_s <= 0.0 or service.requests <= 0.0:
        return 0.0
    served_s = [
        min(interval_s / 2.0, limit * service.mean_s)
        for interval_s in (queue.interval_s, situation.sample.interval_s)
    ]
    still_late, running = 1.0, max(1, queue.running)
    if situation.running > running:
        before, after = [
            queueing.violation_probability(queue.in_flight - 1, allocations, limit, service.scv)
            for allocations in (running, situation.running)
        ]
        still_late = after / before if before > 0.0 else 1.0
    return queue.late_per_s * (queue.interval_s - 2.0 * served_s[0] + sum(served_s) * still_late)


def new_requests(sample: Sample) -> int:
    """The requests of an interval. Cache hits occupy no allocation, and are not counted."""
    return max(0, sample.arrivals - sample.cache_hits)


def new_violations(situation: Situation, memory: SloMemory) -> float:
    """The late requests that a poll adds to those known.

    Args:
        memory: before this poll.
    """
    if situation.late_requests is not None:
        return situation.late_requests
    return situation.sample.failed + late_requests(situation, memory)


def preventable_fraction(unforeseen: Unforeseen | None, at: float) -> float:
    """The fraction of the late requests at this time that more allocations could have prevented."""
    return 1.0 - unforeseen.probability if unforeseen is not None and at < unforeseen.until else 1.0


def unforeseen_after(
    known: Unforeseen | None, queue: QueueSnapshot, at: float, jumped: float, until: float
) -> Unforeseen | None:
    """The load jump that has caused the present queue, if nothing had announced it.

    Args:
        jumped: the probability that the load has jumped since the last poll, and nothing had
            announced it.
        until: Unix seconds until when enough allocations for that can run.
    """
    if known is not None and (queue.late_per_s <= 0.0 or at >= known.until):
        known = None
    if jumped <= 0.0 or (known is not None and jumped <= known.probability):
        return known
    return Unforeseen(jumped, until)


def expected_violations(
    situation: Situation,
    seen: SloMemory,
    node_slots: NodeSlots,
    parameters: QueueParameters,
    service_time_s: float,
) -> float:
    """The late requests since the last recomputation, had its recommendation been carried out."""
    step = seen.estimate.step
    if step is None or not seen.requests:
        return 0.0
    allocations = max(1, min(step.after, situation.max_allocations))
    load = seen.requests * service_time_s / seen.time_s
    return seen.requests * violation_fraction(load, node_slots, allocations, parameters)


def inputs_now(
    situation: Situation,
    candidates: tuple[Candidate, ...],
    max_wait: float,
    service: ServiceTimeEstimate,
) -> dict[str, float]:
    """What the requests meet while fewer allocations run than were requested, as inputs of a step.

    Args:
        candidates: the running allocations are one of them.
        max_wait: queue wait that the SLO allows, in mean service times.
    """
    running, inputs = situation.running, missing_inputs(situation)
    if running <= 0:
        return inputs | {"violation_fraction_now": 1.0}
    expected = next(each for each in candidates if each.allocations == running)
    late_fraction, wait_s = with_queue(situation, expected, max_wait, service)
    return inputs | {"violation_fraction_now": late_fraction, "queue_wait_now_s": wait_s}


def with_queue(
    situation: Situation, running: Candidate, max_wait: float, service: ServiceTimeEstimate
) -> tuple[float, float]:
    """The fraction of late requests, and the queue wait, with the present queue.

    Args:
        running: the prediction for the running allocations, of which there is at least one.
        max_wait: queue wait that the SLO allows, in mean service times.
    """
    allocations, in_flight = running.allocations, situation.sample.in_flight
    late_fraction, wait_s = running.violation_fraction, running.queue_wait_s
    if in_flight >= allocations:
        # The prediction begins with an empty queue, and there is one.
        late_fraction = max(
            late_fraction,
            queueing.violation_probability(in_flight, allocations, max_wait, service.scv),
        )
        queued_s = (in_flight - allocations + 1) * service.mean_s / allocations
        wait_s = max(queued_s, wait_s) if math.isfinite(wait_s) else queued_s
    return late_fraction, wait_s
