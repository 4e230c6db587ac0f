"""Allocations for an outlook, by the queue model and the cost of the policy `slo`.

It acts at the polls of the scenario, with all delays of the plant. At each poll it sees the nodes
and the queue, as the daemon does.
"""

import math
from collections.abc import Sequence

from autoscaler.backtest.oracle.outlooks import Loads, Outlook
from autoscaler.backtest.world.plant import Plant
from autoscaler.backtest.world.scenario import BacktestScenario
from autoscaler.core.slo.cost_model import CostModel, QueueParameters
from autoscaler.core.slo.load_distribution import index_of_load, load_of_index
from autoscaler.core.slo.placement import NodeSlots, placement_of
from autoscaler.core.values import STARTED
from autoscaler.simulation.errors import SimulatedApiError

BACKLOG_STEP = 0.25
"""Erlangs to which the load of serving the queue is rounded, so that results can be reused."""

MAX_LOAD_RATIO = 10.0
"""Multiple of the most allocations up to which loads are distinguished."""


class StaffingDriver:
    """Sets the allocations with the lowest cost for the outlook of each poll."""

    initial_allocations = None

    def __init__(
        self, scenario: BacktestScenario, outlooks: Sequence[Outlook | None], weight: float
    ) -> None:
        """
        Args:
            outlooks: of each poll; where there is none, the allocations are held.
            weight: allocations that one erlang of late requests counts for.
        """
        self.poll_interval_s = scenario.poll_interval_s
        self.refused = 0
        self._scenario = scenario
        self._outlooks = outlooks
        self._weight = weight
        self._poll = -1
        service_s, poll_s = scenario.service_time_s, scenario.poll_interval_s
        self._parameters = QueueParameters.of(
            max_wait=scenario.slo_wait_s / service_s,
            variability=(1.0 + scenario.service_cv**2) / 2.0,  # Poisson at the rate of a slot
            horizon=poll_s / service_s,  # the next change acts then
            drain=1.0,  # a queue is seen at the next poll, and served until the one after that
            new_node=scenario.load_s / poll_s,
        )
        self._cheapest: dict[tuple[NodeSlots, Loads, float], int] = {}
        self._floors: dict[tuple[NodeSlots, int, int], int] = {}
        self._spans = 0  # of the plant, when its nodes were last observed
        self._nodes = NodeSlots((), ()), False

    def advance(self, plant: Plant, to: float) -> None:
        plant.advance(to)

    def poll(self, plant: Plant) -> None:
        """Set the allocations until the next poll."""
        self._poll += 1
        if self._poll >= len(self._outlooks):
            return
        outlook = self._outlooks[self._poll]
        allocations = plant.requested if outlook is None else self._allocations(plant, outlook)
        if allocations != plant.requested:
            try:
                plant.set_allocations(allocations)
            except SimulatedApiError:
                self.refused += 1

    def _allocations(self, plant: Plant, outlook: Outlook) -> int:
        """The cheapest allocations until the next poll, on enough nodes for the peak.

        A new node is requested as soon as the peak needs one. If the nodes in use have free slots,
        these are filled one poll earlier, because their number stays as it is while the new node
        loads the model. Nothing is given up meanwhile.
        """
        scenario, requested = self._scenario, plant.requested
        slots, loading = self._node_slots(plant)
        queued = max(0, plant.totals().in_flight - plant.running)
        backlog = queued * scenario.service_time_s / scenario.poll_interval_s
        backlog = BACKLOG_STEP * math.ceil(backlog / BACKLOG_STEP)
        most = scenario.max_allocations
        now = min(most, self._cheapest_for(slots, outlook.now, backlog))
        peak = min(most, max(now, self._cheapest_for(slots, outlook.peak, 0.0)))
        allocations = self._floor(slots, now, peak)
        if loading:
            allocations = max(allocations, requested)
        elif requested < slots.max_without_new_node < allocations:
            allocations = slots.max_without_new_node
        return min(max(allocations, scenario.min_allocations), most)

    def _cheapest_for(self, slots: NodeSlots, loads: Loads, backlog: float) -> int:
        """The allocation count with the lowest cost for these loads, and the queue besides."""
        key = slots, loads, backlog
        found = self._cheapest.get(key)
        if found is None:
            highest = index_of_load(MAX_LOAD_RATIO * self._scenario.max_allocations)
            served = [
                (min(highest, index_of_load(load_of_index(index) + backlog)), probability)
                for index, probability in loads
            ]
            mean = sum(probability * load_of_index(index) for index, probability in served)
            model = CostModel(served, slots, self._weight, self._parameters)
            found = self._cheapest[key] = model.cheapest(max(1, math.ceil(mean)))
        return found

    def _floor(self, slots: NodeSlots, now: int, peak: int) -> int:
        """The fewest allocations, at least `now`, on nodes that can take `peak`."""
        key = slots, now, peak
        found = self._floors.get(key)
        if found is None:
            found = now
            while found < peak and placement_of(slots, found).max_on_these_nodes < peak:
                found += 1
            self._floors[key] = found
        return found

    def _node_slots(self, plant: Plant) -> tuple[NodeSlots, bool]:
        """The nodes in use with those that load the model, and whether there are such nodes."""
        if self._spans == len(plant.allocation_spans):
            return self._nodes  # nothing has changed since
        processors = self._scenario.processors
        nodes = plant.statistics().nodes
        started = [node.allocations or 0 for node in nodes if node.routing_state == STARTED]
        loading = len(nodes) - len(started)
        used = [each for each in started if each > 0]
        if loading:
            missing = math.ceil((plant.requested - sum(used)) / loading)
            used += [min(processors, max(1, missing))] * loading
        free = (processors,) * (self._scenario.nodes - len(used))
        in_use = tuple((each, processors - each) for each in sorted(used))
        self._spans = len(plant.allocation_spans)
        self._nodes = NodeSlots(in_use, free), loading > 0
        return self._nodes
