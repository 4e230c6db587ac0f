"""The state in which deployments are released."""

import pytest

from autoscaler.core.decision import SetAllocations, SetBounds, Start
from autoscaler.core.flow.memory_ledger import memory_ledger
from autoscaler.core.flow.release import release_change, released_start
from autoscaler.core.selection import OnExit
from autoscaler.core.state import StoppedDeployment
from autoscaler.core.values import AdaptiveAllocations, Cluster, NodeCapacity
from tests.observations import deployment, node, observation, rule


def at(allocations, adaptive=None):
    return deployment(node(allocations=allocations), adaptive=adaptive)


ON = AdaptiveAllocations(enabled=True, minimum=2, maximum=5)


@pytest.mark.parametrize("adaptive", [None, ON])
def test_with_keep_nothing_is_changed(adaptive):
    assert release_change(rule(), at(3, adaptive), OnExit.KEEP) is None


@pytest.mark.parametrize("adaptive", [None, AdaptiveAllocations(enabled=False), ON])
def test_adaptive_allocations_get_the_bounds_of_the_rule(adaptive):
    given = rule(min_allocations=1, max_allocations=8)
    assert release_change(given, at(3, adaptive), OnExit.ADAPTIVE) == SetBounds(1, 8)


def test_bounds_that_are_in_force_are_not_set_again():
    assert (
        release_change(rule(min_allocations=2, max_allocations=5), at(3, ON), OnExit.ADAPTIVE)
        is None
    )


@pytest.mark.parametrize(
    ("allocations", "adaptive", "change"),
    [
        (2, None, SetAllocations(6)),
        (6, None, None),
        (9, None, None),
        (2, ON, SetAllocations(6, take_over=True)),
        (9, ON, SetAllocations(9, take_over=True)),
    ],
    ids=["too few", "enough", "more", "adaptive", "adaptive and more"],
)
def test_safe_allocations_are_a_minimum(allocations, adaptive, change):
    given = rule(max_allocations=20, safe_allocations=6)
    assert release_change(given, at(allocations, adaptive), OnExit.FLOOR) == change


STOPPED = StoppedDeployment(
    stats=deployment(
        node(allocations=4),
        deployment_id="elser-search",
        model_id="elser",
        threads_per_allocation=2,
        queue_capacity=5000,
        cache_bytes=0,
        priority="low",
        adaptive=ON,
    ),
    since=0.0,
)


def test_a_stopped_deployment_is_started_with_its_former_parameters():
    assert released_start(STOPPED, rule(min_allocations=2), OnExit.KEEP) == Start(
        model_id="elser",
        allocations=2,
        threads_per_allocation=2,
        queue_capacity=5000,
        cache_bytes=0,
        priority="low",
        adaptive=ON,
    )


def test_with_its_former_allocations_if_no_rule_governs_it_any_more():
    assert released_start(STOPPED, None, OnExit.KEEP).allocations == 4


class TestMemory:
    """Nothing watches a deployment after its release, and adaptive allocations use all they may."""

    STATS = deployment(
        node(allocations=4, completed=1000, memory_bytes=4 * 2**30), model_id=".elser_model_2"
    )
    GIVEN = rule(min_allocations=1, max_allocations=20)

    def memory(self, gib):
        machine = NodeCapacity(
            node_id="n1", name="n1", processors=32.0, ml_memory_bytes=round(gib * 2**30)
        )
        cluster = Cluster(nodes=(machine,), growable=False)
        return memory_ledger(observation(0.0, self.STATS, cluster=cluster), {}, {})

    def test_the_maximum_of_adaptive_allocations_fits(self):
        change = release_change(self.GIVEN, self.STATS, OnExit.ADAPTIVE, self.memory(6.5))
        assert change == SetBounds(1, 6)

    def test_safe_allocations_fit(self):
        change = release_change(self.GIVEN, self.STATS, OnExit.FLOOR, self.memory(6.5))
        assert change == SetAllocations(6)

    def test_what_it_has_stays(self):
        change = release_change(self.GIVEN, self.STATS, OnExit.ADAPTIVE, self.memory(2.0))
        assert change == SetBounds(1, 4)
        assert release_change(self.GIVEN, self.STATS, OnExit.FLOOR, self.memory(2.0)) is None

    def test_a_stopped_one_is_started_with_what_fits(self):
        stopped = StoppedDeployment(stats=self.STATS, since=0.0)
        cluster = Cluster(
            nodes=(
                NodeCapacity(
                    node_id="n1", name="n1", processors=32.0, ml_memory_bytes=round(2.5 * 2**30)
                ),
            ),
        )
        memory = memory_ledger(observation(0.0, cluster=cluster), {}, {"elser": stopped})
        start = released_start(stopped, self.GIVEN, OnExit.FLOOR, memory)
        assert start.allocations < 20
