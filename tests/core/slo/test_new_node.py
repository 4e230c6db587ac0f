"""Allocations for a load to come are requested in advance only if they need a further node."""

import pytest

from autoscaler.core.slo.load_distribution import index_of_load
from autoscaler.core.slo.new_node import allocations_on_new_node
from autoscaler.core.slo.placement import NodeSlots
from tests.core.slo.test_cost_model import cost_model

SLOTS = NodeSlots(used=((4, 4),), free=(8,))  # four more on the node in use


@pytest.mark.parametrize(("load", "in_advance"), [(2.0, False), (5.0, False), (9.0, True)])
def test_what_fits_on_the_nodes_in_use_can_wait_for_its_load(load, in_advance):
    model = cost_model(2.0, slots=SLOTS)
    loads = {index_of_load(load): 1.0}
    needed = model.with_loads(loads).cheapest(4)
    assert (needed > 8) == in_advance
    assert allocations_on_new_node(model, loads, 4) == (needed if in_advance else None)
