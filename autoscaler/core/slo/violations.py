"""Late requests: an estimate of those in the last interval, and of those to expect.

The statistics do not contain queue waits. But each poll reports the in-flight requests of each
node, from which the queue wait of a request that arrives at that instant follows.
"""

import math

from autoscaler.core.policies import Situation, missing_inputs
from autoscaler.core.slo import queueing
from autoscaler.core.slo.cost_model import QueueParameters, violation_fraction
from autoscaler.core.slo.memory import SloMemory
from autoscaler.core.slo.placement import NodeSlots
from autoscaler.core.slo.service_time import ServiceTimeEstimate
from autoscaler.core.values import Candidate

BURST_CORRECTION, MAX_BURST_CORRECTION = 0.25, 1.5
"""Polls see only part of the queueing that bursts cause. Estimated violations are multiplied by 1 +
0.25 * (dispersion - 1), at most by 1.5."""


def violations_in_interval(situation: Situation, memory: SloMemory, requests: int) -> float:
    """An estimate of the late requests in the last interval.

    Failed requests count in full. Of the others, the fraction that would have been late, averaged
    over arrivals at the start and at the end of the interval.
    """
    sample, running, service = situation.sample, situation.running, memory.estimate.service_time
    if (sample.in_flight < running and memory.in_flight < running) or service.requests <= 0.0:
        return float(sample.failed)
    limit, scv = memory.estimate.max_wait, service.scv
    late_fraction = (
        queueing.violation_probability(memory.in_flight, max(1, running), limit, scv) / 2.0
    )
    serving = sum([node.allocations or 0 for node in situation.nodes])
    for node in situation.nodes:
        if node.allocations and node.pending >= node.allocations:
            probability = queueing.violation_probability(node.pending, node.allocations, limit, scv)
            late_fraction += probability * node.allocations / serving / 2.0
    bursts = BURST_CORRECTION * max(0.0, memory.dispersion - 1.0)
    correction = min(MAX_BURST_CORRECTION, 1.0 + bursts)
    return sample.failed + correction * late_fraction * max(0, requests - sample.failed)


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
    running, in_flight = situation.running, situation.sample.in_flight
    inputs = missing_inputs(situation)
    if running <= 0:
        return inputs | {"violation_fraction_now": 1.0}
    expected = next(each for each in candidates if each.allocations == running)
    late_fraction, wait_s = expected.violation_fraction, expected.queue_wait_s
    if in_flight >= running:
        # The expectation begins with an empty queue, and there is one.
        late_fraction = max(
            late_fraction,
            queueing.violation_probability(in_flight, running, max_wait, service.scv),
        )
        queued_s = (in_flight - running + 1) * service.mean_s / running
        wait_s = max(queued_s, wait_s) if math.isfinite(wait_s) else queued_s
    return inputs | {"violation_fraction_now": late_fraction, "queue_wait_now_s": wait_s}
