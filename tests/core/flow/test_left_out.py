"""Deployments that a response leaves out: what they need is not free for others."""

import pytest

from autoscaler.core.flow.plan_context import plan_context_of
from autoscaler.core.flow.planning import plan
from autoscaler.core.next_poll import Polling
from autoscaler.core.state import State
from autoscaler.core.values import Cluster, NodeCapacity
from tests.observations import deployment, node, observation, policy, rule
from tests.options import FixedPolicy

PROCESSORS = 6
WANTED = 6
POLLING = Polling(interval_s=10.0, min_interval_s=10.0)


def machines(*names):
    nodes = [NodeCapacity(node_id=name, name=name, processors=float(PROCESSORS)) for name in names]
    return Cluster(nodes=tuple(nodes), growable=False)


class Polled:
    """A growing deployment beside another with four allocations on the same node."""

    def __init__(self, managed=True):
        recommending = FixedPolicy()
        recommending.allocations = WANTED
        selected = ("*",) if managed else ("growing",)
        self.rules = policy(rule(deployments=selected, policy=recommending, growth_factor=1000.0))
        self.state, self.at, self.completed = State(), 0.0, 0

    def poll(self, after_s=10.0, *, other=True, other_on="n1", running=4, names=("n1",)):
        """The allocations that the growing deployment is to have."""
        self.at += after_s
        self.completed += 10
        growing = deployment(
            node("n1", allocations=1, completed=self.completed), deployment_id="growing"
        )
        beside = deployment(
            node(other_on, allocations=running, completed=self.completed),
            deployment_id="beside",
            allocations=4,
        )
        shown = (growing, beside) if other else (growing,)
        seen = observation(self.at, *shown, cluster=machines(*names))
        planned, self.state = plan(self.state, seen, self.rules)
        found = {each.deployment_id: each.desired for each in planned.decisions}
        return found["growing"]


def polled_twice(managed=True, **given):
    polled = Polled(managed)
    polled.poll(**given)
    assert polled.poll(**given) == 2
    return polled


either = pytest.mark.parametrize("managed", [True, False])


@either
def test_its_threads_are_not_granted_to_others(managed):
    polled = polled_twice(managed)
    assert polled.poll(other=False) == 2
    assert polled.poll() == 2


@either
def test_threads_for_allocations_that_it_has_requested_are_not_granted_to_others(managed):
    polled = polled_twice(managed, running=3)
    assert polled.poll(other=False) == 2


@either
def test_its_threads_are_free_after_a_minute(managed):
    polled = polled_twice(managed)
    found = [polled.poll(other=False) for _ in range(8)]
    assert found == [2] * 6 + [WANTED] * 2


@either
def test_it_takes_threads_on_the_other_nodes_once_its_node_has_left(managed):
    polled = Polled(managed)
    for _ in range(2):
        polled.poll(other_on="n2", names=("n1", "n2"))
    assert polled.poll(other=False) == 2


@pytest.mark.parametrize(("after_s", "threads"), [(60.0, 5), (61.0, 1)])
def test_its_threads_count_for_a_minute_when_a_refused_increase_may_fit(after_s, threads):
    polled = polled_twice()
    seen = observation(
        polled.at + after_s,
        deployment(node("n1", allocations=1), deployment_id="growing"),
        cluster=machines("n1"),
    )
    context = plan_context_of(polled.state, seen, POLLING, {}, 60.0, {})
    assert context.capacity.threads == threads
