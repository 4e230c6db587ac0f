"""Where allocations are expected, held against the planner and the reducer of the emulator.

They agree on every node of one zone, for one deployment that is never moved, up to what fits. Where
two nodes are equally good, the planner goes by their ids, which say nothing: there the nodes are
named such that it chooses as is expected here, and otherwise only sums agree.
"""

from hypothesis import example, given
from hypothesis import strategies as st

from autoscaler.core.slo.placement import UNLIMITED, NodeSlots, node_slots_of, placement_of
from autoscaler.core.values import NodeStats
from autoscaler.simulation.placement import PlannerDeployment, PlannerNode, plan
from autoscaler.simulation.reduction import reduced
from tests.observations import loading, node

GIB = 2**30

used_nodes = st.lists(st.tuples(st.integers(1, 8), st.integers(0, 8)), min_size=1, max_size=5)
free_nodes = st.lists(st.integers(1, 8), max_size=4)


def ground(used, free=()):
    return NodeSlots(tuple(sorted(used)), tuple(sorted(free, reverse=True)))


grounds = st.builds(ground, used_nodes, free_nodes)


def planned(ground, allocations, threads=1, ids=None):
    """Allocations by node as the emulator's planner places them."""
    nodes = [*ground.used, *((0, more) for more in ground.free)]
    ids = ids or named(ground)
    rooms = [
        PlannerNode(node_id=id_, zone="", cores=(here + more) * threads, memory_bytes=64 * GIB)
        for id_, (here, more) in zip(ids, nodes, strict=True)
    ]
    demand = PlannerDeployment(
        deployment_id="d",
        allocations=allocations,
        threads=threads,
        memory_bytes=GIB,
        previously_assigned=True,
        current={id_: here for id_, (here, _) in zip(ids, ground.used, strict=False)},
    )
    return plan(rooms, [demand]).placed["d"]


def named(ground):
    """Of nodes equally good, the planner takes the first by id, and we the one with most."""
    used, free = len(ground.used), len(ground.free)
    return [*(f"a{9 - place}" for place in range(used)), *(f"b{place}" for place in range(free))]


def room(ground):
    return ground.max_without_new_node + sum(ground.free)


def here(ground):
    return sum(allocations for allocations, _ in ground.used)


class TestIncreases:
    @given(grounds, st.integers(1, 4), st.integers(0, 100))
    @example(NodeSlots(((1, 2), (2, 7), (7, 0), (8, 6)), ()), 1, 13)
    def test_they_go_where_the_planner_places_them(self, ground, threads, more):
        allocations = here(ground) + more % (room(ground) - here(ground) + 1)
        placed = planned(ground, allocations, threads)
        split = placement_of(ground, allocations).per_node
        assert sum(split) == allocations
        assert split == tuple(sorted(placed.values()))

    @given(grounds, st.data())
    def test_whatever_the_nodes_are_called_as_many_are_used(self, ground, data):
        allocations = data.draw(st.integers(here(ground), room(ground)))
        placed = planned(ground, allocations, ids=data.draw(st.permutations(named(ground))))
        split = placement_of(ground, allocations)
        assert (len(split.per_node), sum(split.per_node)) == (len(placed), allocations)

    @given(grounds)
    def test_a_further_node_is_taken_only_when_those_in_use_are_full(self, ground):
        split = placement_of(ground, ground.max_without_new_node)
        assert len(split.per_node) == len(ground.used)
        if ground.free:
            assert (
                len(placement_of(ground, ground.max_without_new_node + 1).per_node)
                == len(ground.used) + 1
            )

    @given(grounds, st.integers(1, 50))
    def test_what_does_not_fit_is_added_to_the_last_node(self, ground, beyond):
        """The planner places no more than fits; the number would be refused, or hardware grows."""
        full, more = placement_of(ground, room(ground)), placement_of(ground, room(ground) + beyond)
        assert len(more.per_node) == len(full.per_node)
        assert sum(more.per_node) == room(ground) + beyond


class TestDecreases:
    @given(grounds, st.data())
    def test_they_leave_what_the_reducer_leaves(self, ground, data):
        allocations = data.draw(st.integers(1, here(ground)))
        ids = data.draw(st.permutations(named(ground)[: len(ground.used)]))
        targets = {id_: many for id_, (many, _) in zip(ids, ground.used, strict=True)}
        left = reduced(targets, dict.fromkeys(ids, ""), allocations)
        assert placement_of(ground, allocations).per_node == tuple(sorted(left.values()))

    def test_a_whole_node_is_given_up_as_soon_as_it_can_be(self):
        assert placement_of(ground([(2, 0), (8, 0)]), 8).per_node == (8,)


class TestAnyNumber:
    @given(grounds, st.integers(1, 80))
    def test_as_many_are_somewhere_and_no_node_is_empty(self, ground, allocations):
        split = placement_of(ground, allocations)
        assert sum(split.per_node) == allocations
        assert min(split.per_node) >= 1
        assert list(split.per_node) == sorted(split.per_node)
        assert split.max_on_these_nodes >= allocations

    @given(grounds)
    def test_the_present_number_is_where_it_is(self, ground):
        split = placement_of(ground, here(ground))
        assert split.per_node == tuple(sorted(many for many, _ in ground.used))
        assert split.max_on_these_nodes == ground.max_without_new_node

    @given(free_nodes, st.integers(1, 40))
    def test_a_deployment_that_is_nowhere_yet_can_be_split_too(self, free, allocations):
        assert sum(placement_of(ground((), free), allocations).per_node) == allocations


class TestGround:
    def test_room_is_counted_in_whole_allocations(self):
        seen = node_slots_of((node("n1", allocations=2),), 4, {"n1": 7, "n2": 9, "n3": 3, "n4": 16})
        assert seen == NodeSlots(used=((2, 1),), free=(4, 2))

    def test_without_word_of_the_nodes_there_is_always_room(self):
        seen = node_slots_of((node("n1", allocations=2),), 1, {})
        assert seen == NodeSlots(used=((2, UNLIMITED),), free=())
        assert placement_of(seen, 5000).per_node == (5000,)

    def test_a_node_that_the_cluster_has_not_told_of_is_taken_to_be_full(self):
        assert node_slots_of((node("n9", allocations=2),), 1, {"n1": 4}).used == ((2, 0),)

    def test_a_node_that_does_not_serve_is_neither_in_use_nor_free(self):
        nodes = (node("n1", allocations=2), loading("n2"), NodeStats("n3", "stopping"))
        seen = node_slots_of(nodes, 1, {"n1": 1, "n2": 8, "n3": 8, "n4": 5})
        assert seen == NodeSlots(used=((2, 1),), free=(5,))

    def test_the_order_of_the_nodes_does_not_matter(self):
        nodes = (node("n1", allocations=2), node("n2", allocations=1))
        free = {"n1": 3, "n2": 0, "n3": 4, "n4": 6}
        backwards = dict(reversed(free.items()))
        assert node_slots_of(nodes, 1, free) == node_slots_of(nodes[::-1], 1, backwards)
