"""The work of a plan grows in proportion to the deployments, not to their square."""

import sys
from contextlib import contextmanager

import pytest

from autoscaler.core.flow.planning import plan
from autoscaler.core.state import State
from autoscaler.core.values import Cluster, NodeCapacity
from tests.core.flow.memory_world import GIB, Recommending
from tests.observations import deployment, node, observation, policy, rule

NODES = ("n1", "n2", "n3")
FEW, MANY = 20, 160


class Lines:
    """Lines that were executed, the repeated ones of loops and comprehensions included."""

    executed = 0

    def trace(self, _frame, event, _argument):
        self.executed += event == "line"
        return self.trace


@contextmanager
def counted():
    lines, before = Lines(), sys.gettrace()
    sys.settrace(lines.trace)
    try:
        yield lines
    finally:
        sys.settrace(before)


def seen(count, at, *, processors, memory):
    """Deployments on all nodes, which have this much for each deployment."""
    nodes = [
        NodeCapacity(
            node_id=name,
            name=name,
            processors=processors * count,
            ml_memory_bytes=round(memory * GIB * count),
            free_ml_memory_bytes=round(memory * GIB * count),
        )
        for name in NODES
    ]
    deployments = [
        deployment(
            *[
                node(name, allocations=2, completed=int(100 * at), memory_bytes=GIB)
                for name in NODES
            ],
            deployment_id=f"d{number}",
            model_id=f"m{number}",
            required_memory_bytes=GIB,
        )
        for number in range(count)
    ]
    return observation(at, *deployments, cluster=Cluster(nodes=tuple(nodes), growable=False))


def work(count, **capacity):
    """The lines of a plan in which every deployment claims allocations."""
    state, rules = State(), policy(rule(policy=Recommending(allocations=9)))
    for at in (0.0, 10.0):
        observed = seen(count, at, **capacity)
        with counted() as lines:
            planned, state = plan(state, observed, rules)
    assert len(planned.decisions) == count
    return lines.executed, planned


@pytest.mark.parametrize(
    ("capacity", "all_fit"),
    [
        pytest.param({"processors": 20.0, "memory": 20.0}, True, id="all fits"),
        pytest.param({"processors": 2.5, "memory": 20.0}, False, id="processors are scarce"),
        pytest.param({"processors": 20.0, "memory": 1.3}, False, id="memory is scarce"),
    ],
)
def test_eight_times_as_many_claims_are_eight_times_the_work(capacity, all_fit):
    few, _ = work(FEW, **capacity)
    many, planned = work(MANY, **capacity)
    assert all(each.desired == 9 for each in planned.decisions) == all_fit
    assert many / few < 1.1 * MANY / FEW
