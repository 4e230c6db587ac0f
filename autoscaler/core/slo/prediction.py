"""What a recommendation follows from: the service times, the loads to expect, and the nodes."""

import math
from collections.abc import Sequence

from autoscaler.core.policies import Situation
from autoscaler.core.slo import load_distribution
from autoscaler.core.slo.arrivals import Arrivals
from autoscaler.core.slo.cost_model import CostModel, QueueParameters
from autoscaler.core.slo.load_distribution import LoadDistribution, LoadMixture
from autoscaler.core.slo.load_jump import updated_mixture
from autoscaler.core.slo.memory import SloEstimate, SloMemory
from autoscaler.core.slo.new_node import new_node_s
from autoscaler.core.slo.objective import SloObjective
from autoscaler.core.slo.placement import NodeSlots, node_slots_of
from autoscaler.core.slo.recurrence import ExpectedRate
from autoscaler.core.slo.service_time import ServiceTimeEstimate
from autoscaler.core.values import Value

HORIZON_POLLS = 3.0
"""Horizon of the queue model, in poll intervals. 3, because a queue outlasts the interval in which
it forms."""

MAX_LOAD_RATIO = 10.0
"""Multiple of the most allocations up to which loads are distinguished, and used for forecasts."""


class Prediction(Value, frozen=True, kw_only=True):
    """The estimates at a poll, and the loads to expect until the next decision has an effect."""

    service: ServiceTimeEstimate  # of at least one timed request
    burstiness: float  # dispersion of the arrivals, at least 1
    max_wait_s: float | None  # that the SLO allows; None: the service time alone is too long
    mixture: LoadMixture
    max_allocations: int  # the most that can be requested
    loads: LoadDistribution
    load: float  # their mean, in erlangs
    stddev: float  # their spread
    node_slots: NodeSlots
    parameters: QueueParameters

    @property
    def service_time_s(self) -> float:
        return self.service.mean_s

    @property
    def max_wait(self) -> float:
        """The queue wait that the SLO allows, in mean service times; 0 if it is unreachable."""
        return (self.max_wait_s or 0.0) / self.service.mean_s

    @property
    def is_too_much(self) -> bool:
        """Whether the load is more than the most allocations can serve."""
        return self.load >= self.max_allocations

    @property
    def max_load(self) -> float:
        """Erlangs up to which loads are distinguished."""
        return MAX_LOAD_RATIO * self.max_allocations

    def loads_at(self, recurring: Sequence[ExpectedRate]) -> LoadDistribution:
        """The loads to expect if these rates may recur."""
        return _loads(
            self.mixture, self.service.mean_s, self.burstiness, recurring, self.max_allocations
        )

    def cost_model(self, violation_weight: float) -> CostModel:
        """What allocations and late requests cost at these loads."""
        return CostModel(
            tuple(self.loads.items()), self.node_slots, violation_weight, self.parameters
        )


def prediction_of(
    situation: Situation,
    seen: SloMemory,
    service: ServiceTimeEstimate,
    arrivals: Arrivals,
    objective: SloObjective,
    drain_s: float,
) -> Prediction:
    """The prediction after the samples since the last recomputation.

    Args:
        drain_s: time in which a backlog is served.
    """
    mean_s, burstiness = service.mean_s, max(1.0, seen.dispersion)
    max_wait_s = objective.max_queue_wait_s(mean_s, math.sqrt(service.scv))
    mixture = updated_mixture(seen, situation, mean_s, burstiness, arrivals.surprise)
    most = situation.max_allocations
    loads = _loads(mixture, mean_s, burstiness, arrivals.recurring, most)
    load, stddev = load_distribution.mean_and_spread(loads)
    return Prediction(
        service=service,
        burstiness=burstiness,
        max_wait_s=max_wait_s,
        mixture=mixture,
        max_allocations=most,
        loads=loads,
        load=load,
        stddev=stddev,
        node_slots=node_slots_now(situation, seen.estimate),
        parameters=queue_parameters(situation, service, burstiness, max_wait_s or 0.0, drain_s),
    )


def _loads(
    mixture: LoadMixture,
    service_time_s: float,
    burstiness: float,
    recurring: Sequence[ExpectedRate],
    max_allocations: int,
) -> LoadDistribution:
    loads = load_distribution.predicted(mixture, service_time_s, burstiness, recurring)
    return load_distribution.limited(loads, MAX_LOAD_RATIO * max_allocations)


def queue_parameters(
    situation: Situation,
    service: ServiceTimeEstimate,
    burstiness: float,
    max_wait_s: float,
    drain_s: float,
) -> QueueParameters:
    """What the queue model depends on, apart from loads and nodes."""
    interval_s = situation.poll_interval_s
    return QueueParameters.of(
        max_wait=max_wait_s / service.mean_s,
        variability=(burstiness + service.scv) / 2.0,
        horizon=HORIZON_POLLS * interval_s / service.mean_s,
        drain=drain_s / interval_s,
        new_node=new_node_s(situation) / interval_s,
    )


def node_slots_now(situation: Situation, estimate: SloEstimate) -> NodeSlots:
    """The nodes at a poll, with the placements that were observed before it."""
    return node_slots_of(
        situation.nodes,
        situation.threads,
        situation.free_threads,
        estimate.placements,
        situation.missing,
    )
