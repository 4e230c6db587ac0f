"""Predicted placements, compared with the planner and the reducer of the emulator.

They agree on every node of one zone, for one deployment that is never moved, up to what fits. Where
two nodes are equally good, the planner uses the order of their ids: there the nodes are
named so that it makes the predicted choice. With other names only the sums agree.
"""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace

from autoscaler.core.slo.placement import (
    MAX_NODES,
    MAX_OBSERVED,
    MAX_SIZES,
    UNLIMITED,
    NodeSlots,
    ObservedPlacements,
    node_slots_of,
    placement_of,
)
from autoscaler.core.values import NodeStats
from autoscaler.simulation.placement import PlannerDeployment, PlannerNode, plan
from autoscaler.simulation.reduction import reduced
from tests.observations import loading, node

GIB = 2**30

used_nodes = st.lists(st.tuples(st.integers(1, 8), st.integers(0, 8)), min_size=1, max_size=5)
free_nodes = st.lists(st.integers(1, 8), max_size=4)


def slots_of(used, free=()):
    return NodeSlots(tuple(sorted(used)), tuple(sorted(free, reverse=True)))


any_slots = st.builds(slots_of, used_nodes, free_nodes)


def planned(slots, allocations, threads=1, ids=None):
    """Allocations by node as the emulator's planner places them."""
    nodes = [*slots.used, *((0, more) for more in slots.free)]
    ids = ids or named(slots)
    nodes_of_planner = [
        PlannerNode(node_id=id_, zone="", cores=(present + more) * threads, memory_bytes=64 * GIB)
        for id_, (present, more) in zip(ids, nodes, strict=True)
    ]
    demand = PlannerDeployment(
        deployment_id="d",
        allocations=allocations,
        threads=threads,
        memory_bytes=GIB,
        previously_assigned=True,
        current={id_: present for id_, (present, _) in zip(ids, slots.used, strict=False)},
    )
    return plan(nodes_of_planner, [demand]).placed["d"]


def named(slots):
    """Of equally good nodes, the planner takes the first by id; the prediction, the fullest."""
    used, free = len(slots.used), len(slots.free)
    return [*(f"a{9 - place}" for place in range(used)), *(f"b{place}" for place in range(free))]


def capacity(slots):
    return slots.max_without_new_node + sum(slots.free)


def allocated(slots):
    return sum(allocations for allocations, _ in slots.used)


class TestIncreases:
    @given(any_slots, st.integers(1, 4), st.integers(0, 100))
    @example(NodeSlots(((1, 2), (2, 7), (7, 0), (8, 6)), ()), 1, 13)
    def test_they_agree_with_the_planner(self, slots, threads, more):
        allocations = allocated(slots) + more % (capacity(slots) - allocated(slots) + 1)
        placed = planned(slots, allocations, threads)
        placement = placement_of(slots, allocations).per_node
        assert sum(placement) == allocations
        assert placement == tuple(sorted(placed.values()))

    @given(any_slots, st.data())
    def test_the_number_of_nodes_does_not_depend_on_their_names(self, slots, data):
        allocations = data.draw(st.integers(allocated(slots), capacity(slots)))
        placed = planned(slots, allocations, ids=data.draw(st.permutations(named(slots))))
        placement = placement_of(slots, allocations)
        assert (len(placement.per_node), sum(placement.per_node)) == (len(placed), allocations)

    @given(any_slots)
    def test_a_new_node_is_used_only_if_the_others_are_full(self, slots):
        placement = placement_of(slots, slots.max_without_new_node)
        assert len(placement.per_node) == len(slots.used)
        if slots.free:
            assert (
                len(placement_of(slots, slots.max_without_new_node + 1).per_node)
                == len(slots.used) + 1
            )

    @given(any_slots, st.integers(1, 50))
    def test_what_does_not_fit_is_added_to_the_last_node(self, slots, beyond):
        """The planner places no more than fits: the update would be refused, or hardware grows."""
        full, more = (
            placement_of(slots, capacity(slots)),
            placement_of(slots, capacity(slots) + beyond),
        )
        assert len(more.per_node) == len(full.per_node)
        assert sum(more.per_node) == capacity(slots) + beyond


class TestDecreases:
    @given(any_slots, st.data())
    def test_they_agree_with_the_reducer(self, slots, data):
        allocations = data.draw(st.integers(1, allocated(slots)))
        ids = data.draw(st.permutations(named(slots)[: len(slots.used)]))
        targets = {id_: count for id_, (count, _) in zip(ids, slots.used, strict=True)}
        left = reduced(targets, dict.fromkeys(ids, ""), allocations)
        assert placement_of(slots, allocations).per_node == tuple(sorted(left.values()))

    def test_a_whole_node_is_given_up_as_soon_as_possible(self):
        assert placement_of(slots_of([(2, 0), (8, 0)]), 8).per_node == (8,)


def observed(*placements):
    """After the deployment had these allocations of each node, one after the other."""
    found = ObservedPlacements()
    for per_node in placements:
        found = found.after(slots_of([(allocations, 8) for allocations in per_node]))
    return found


def in_zones(used, free, allocations):
    """Allocations of each node, each in its own zone, as the reducer and the planner place them."""
    ids = [f"a{place}" for place in range(len(used) + free)]
    targets = dict(zip(ids, used, strict=False))
    zones = {id_: id_ for id_ in ids}
    if allocations < sum(used):
        return tuple(sorted(reduced(targets, zones, allocations).values()))
    nodes = [PlannerNode(node_id=i, zone=i, cores=9, memory_bytes=64 * GIB) for i in ids]
    demand = PlannerDeployment(
        deployment_id="d",
        allocations=allocations,
        threads=1,
        memory_bytes=GIB,
        previously_assigned=True,
        current=targets,
    )
    return tuple(sorted(plan(nodes, [demand]).placed["d"].values()))


class TestObservedPlacements:
    """The cluster balances allocations between availability zones, which are not reported."""

    @given(st.lists(st.integers(1, 8), min_size=1, max_size=5), st.integers(0, 3), st.data())
    def test_a_change_is_expected_to_have_the_effect_it_had_before(self, used, free, data):
        allocations = data.draw(st.integers(1, min(sum(used) + 8, 9 * len(used))))
        after = in_zones(used, free, allocations)
        slots = NodeSlots(
            tuple((count, 9 - count) for count in sorted(used)),
            (9,) * free,
            observed=observed(after, used),
        )
        assert placement_of(slots, allocations).per_node == after

    @given(st.lists(st.integers(1, 8), min_size=2, max_size=5), st.data())
    def test_once_a_decrease_has_kept_a_node_others_are_expected_to(self, used, data):
        allocations = data.draw(st.integers(1, sum(used)))
        known = ObservedPlacements(keeps_nodes=observed((1, 2), (1, 1)).keeps_nodes)
        slots = NodeSlots(tuple((count, 0) for count in sorted(used)), (), observed=known)
        assert placement_of(slots, allocations).per_node == in_zones(used, 0, allocations)

    def test_until_a_decrease_gives_up_a_node(self):
        assert not observed((1, 2), (1, 1), (2, 4), (4,)).keeps_nodes

    @given(st.lists(st.integers(1, 8), min_size=1, max_size=5), st.integers(1, 3))
    def test_once_an_increase_has_taken_a_node_the_next_is_expected_to(self, used, free):
        known = ObservedPlacements(takes_nodes=observed((1,), (1, 1)).takes_nodes)
        slots = NodeSlots(
            tuple((count, 9 - count) for count in sorted(used)), (9,) * free, observed=known
        )
        after = in_zones(used, free, sum(used) + 1)
        assert placement_of(slots, sum(used) + 1).per_node == after

    def test_until_an_increase_leaves_a_free_node(self):
        taken = observed((2,), (1, 2))
        filled = NodeSlots(((2, 6), (2, 6)), (8,))
        assert taken.takes_nodes
        assert taken.after(replace(filled, free=())).takes_nodes
        assert not taken.after(filled).takes_nodes

    def test_an_increase_that_did_not_fit_tells_nothing_about_zones(self):
        full = ObservedPlacements().after(NodeSlots(((8, 0),), (8,)))
        assert not full.after(NodeSlots(((1, 7), (8, 0)), ())).takes_nodes

    @pytest.mark.parametrize("placements", [((2, 2), (2,)), ((2, 2), (1, 2)), ((1,), (1, 1))])
    def test_a_decrease_as_predicted_tells_nothing_about_zones(self, placements):
        assert not observed(*placements).keeps_nodes

    def test_a_placement_that_cannot_come_back_is_not_expected(self):
        """Allocations stay where they are in an increase; a decrease moves none."""
        slots = slots_of([(4, 4)])
        known = NodeSlots(slots.used, (8,), observed=observed((1, 1), (3, 3)))
        assert placement_of(known, 2).per_node == (2,)
        assert placement_of(known, 6).per_node == (6,)

    def test_nor_one_that_no_longer_fits(self):
        known = NodeSlots(((1, 0), (1, 4)), (), observed=observed((2, 2)))
        assert placement_of(known, 4).per_node == (1, 3)

    def test_nodes_that_other_placements_used_count(self):
        known = NodeSlots(((2, 1),), (4, 4), observed=observed((1, 2)))
        assert placement_of(known, 3).max_on_these_nodes == 7

    def test_the_latest_counts_are_kept(self):
        known = observed(*[(count,) for count in range(1, 40)])
        assert [count for count, _ in known.latest] == list(range(40 - MAX_OBSERVED, 40))

    def test_of_one_count_the_latest_placement_is_kept(self):
        assert observed((3,), (4,), (1, 2)).latest == ((4, (4,)), (3, (1, 2)))


class TestAnyCount:
    @given(any_slots, st.integers(1, 80))
    def test_all_allocations_are_placed_and_no_node_is_empty(self, slots, allocations):
        placement = placement_of(slots, allocations)
        assert sum(placement.per_node) == allocations
        assert min(placement.per_node) >= 1
        assert list(placement.per_node) == sorted(placement.per_node)
        assert placement.max_on_these_nodes >= allocations

    @given(any_slots)
    def test_the_current_placement_is_unchanged(self, slots):
        placement = placement_of(slots, allocated(slots))
        assert placement.per_node == tuple(sorted(count for count, _ in slots.used))
        assert placement.max_on_these_nodes == slots.max_without_new_node

    @given(free_nodes, st.integers(1, 40))
    def test_a_deployment_without_nodes_can_be_placed(self, free, allocations):
        assert sum(placement_of(slots_of((), free), allocations).per_node) == allocations


class TestNodeSlots:
    def test_slots_are_whole_allocations(self):
        seen = node_slots_of((node("n1", allocations=2),), 4, {"n1": 7, "n2": 9, "n3": 3, "n4": 16})
        assert seen == NodeSlots(used=((2, 1),), free=(4, 2))

    def test_without_a_report_about_the_nodes_slots_are_unlimited(self):
        seen = node_slots_of((node("n1", allocations=2),), 1, {})
        assert seen == NodeSlots(used=((2, UNLIMITED),), free=())
        assert placement_of(seen, 5000).per_node == (5000,)

    def test_a_node_that_is_not_reported_has_no_free_slots(self):
        assert node_slots_of((node("n9", allocations=2),), 1, {"n1": 4}).used == ((2, 0),)

    def test_a_node_that_stops_is_neither_in_use_nor_free(self):
        nodes = (node("n1", allocations=2), NodeStats("n3", "stopping"))
        seen = node_slots_of(nodes, 1, {"n1": 1, "n3": 8, "n4": 5})
        assert seen == NodeSlots(used=((2, 1),), free=(5,))

    def test_nodes_that_load_the_model_have_the_slots_that_they_keep_for_it(self):
        """Their allocations run there soon, although there may be room on the nodes in use."""
        nodes = (node("n1", allocations=2), loading("n2"), loading("n3"))
        threads = {"n1": 8, "n2": 1, "n3": 0, "n4": 5}
        assert node_slots_of(nodes, 1, threads, missing=3).free == (5, 3, 2)
        known = ObservedPlacements(latest=((5, (1, 2, 2)),))
        seen = node_slots_of(nodes, 1, threads, known, missing=3)
        assert placement_of(seen, 5).per_node == (1, 2, 2)

    def test_the_order_of_the_nodes_does_not_matter(self):
        nodes = (node("n1", allocations=2), node("n2", allocations=1))
        free = {"n1": 3, "n2": 0, "n3": 4, "n4": 6}
        backwards = dict(reversed(free.items()))
        assert node_slots_of(nodes, 1, free) == node_slots_of(nodes[::-1], 1, backwards)


class TestManyNodes:
    """Of more nodes than the model has, each of it stands for several."""

    @staticmethod
    def fleet(nodes, allocations=4, free=4):
        stats = tuple(node(f"n{n}", allocations=allocations) for n in range(nodes))
        threads = {f"n{n}": free for n in range(nodes)}
        return node_slots_of(stats, 1, threads)

    def test_it_has_at_most_32_of_either_kind(self):
        slots = self.fleet(1_000)
        assert len(slots.used) <= MAX_NODES
        assert slots.max_without_new_node == 8 * slots.scale * len(slots.used)

    @given(st.integers(33, 400))
    def test_a_large_fleet_is_placed_like_a_small_one(self, nodes):
        slots = self.fleet(nodes)
        found = placement_of(slots, 5 * slots.scale * len(slots.used))
        assert set(found.per_node) == {5}

    def test_few_sizes_are_distinguished(self):
        found = placement_of(NodeSlots(tuple((n, 0) for n in range(1, 21)), ()), 210)
        assert len(found.sizes) <= MAX_SIZES
        assert sum(nodes for _, nodes in found.sizes) == 20
        assert abs(sum(size * nodes for size, nodes in found.sizes) - 210) <= 10

    @given(st.integers(1, 2**62))
    def test_a_count_beyond_every_node_is_placed_on_the_last(self, more):
        found = placement_of(NodeSlots(((2, 1), (3, 2)), (4,)), 12 + more)
        assert sum(found.per_node) == 12 + more
