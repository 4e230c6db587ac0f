"""What still fits, counted as Elasticsearch's planner counts, and compared with it."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.core.capacity import CapacityPool, Occupant, free_capacity_of, occupant_of
from autoscaler.core.values import Cluster, NodeCapacity
from autoscaler.simulation.placement import PlannerDeployment, plan
from autoscaler.simulation.placement import PlannerNode as Machine
from tests.observations import deployment, loading, node, observation

GIB = 2**30
MIB = 2**20


def machine(node_id, processors=4.0, memory=64 * GIB, free=None):
    return NodeCapacity(
        node_id=node_id,
        name=node_id,
        processors=processors,
        ml_memory_bytes=memory,
        free_ml_memory_bytes=memory if free is None else free,
    )


def hardware(*machines, growable=False):
    return Cluster(nodes=machines, growable=growable)


def max_allocations(stats, free_capacity):
    """The most the deployment can have if all others stay as they are; None: no limit is known."""
    occupant = occupant_of(stats, free_capacity) if free_capacity.fixed else None
    if occupant is None:
        return None
    return occupant.placed + CapacityPool(free_capacity).fitting(occupant)


def most(stats, *others, cluster):
    observed = observation(0.0, stats, *others, cluster=cluster)
    return max_allocations(stats, free_capacity_of(observed))


def other(*nodes, **given):
    return deployment(*nodes, deployment_id="other", model_id="other", **given)


class TestFreeThreads:
    def free(self, *deployments, cluster):
        return free_capacity_of(observation(0.0, *deployments, cluster=cluster)).grantable_threads

    def test_exclude_what_moves_away_from_a_node_with_too_many_allocations(self):
        """After a node was lost, the other one serves what the planner has moved already."""
        moves = deployment(node("n2", allocations=3), loading("n1"), allocations=3)
        moved = other(node("n1", allocations=2), node("n2", allocations=1), allocations=3)
        cluster = hardware(machine("n1", 4.0), machine("n2", 3.0))
        assert self.free(moves, moved, cluster=cluster) == {"n1": 1, "n2": 0}

    def test_are_the_processors_less_the_threads_of_all_allocations(self):
        ours = deployment(node("n1", allocations=3))
        theirs = other(node("n1", allocations=2), node("n2", allocations=1),
                       threads_per_allocation=2)  # fmt: skip
        cluster = hardware(machine("n1", 8.0), machine("n2", 8.0))
        assert self.free(ours, theirs, cluster=cluster) == {"n1": 1, "n2": 6}

    def test_parts_of_a_processor_are_rounded_up(self):
        assert self.free(cluster=hardware(machine("n1", 3.2))) == {"n1": 4}

    def test_low_priority_takes_none(self):
        low = deployment(node("n1"), priority="low")
        assert self.free(low, cluster=hardware(machine("n1"))) == {"n1": 4}

    def test_loading_allocations_count_where_they_load(self):
        stats = deployment(node("n1", allocations=2), loading("n2"), allocations=5)
        cluster = hardware(machine("n1"), machine("n2"))
        assert self.free(stats, cluster=cluster) == {"n1": 2, "n2": 1}

    def test_loading_allocations_are_shared_among_the_loading_nodes(self):
        stats = deployment(loading("n1"), loading("n2"), allocations=3)
        cluster = hardware(machine("n1"), machine("n2"))
        assert self.free(stats, cluster=cluster) == {"n1": 2, "n2": 3}

    def test_loading_allocations_beyond_the_loading_node_take_threads_of_the_others(self):
        # The planner adds the others to the process on n1; it reports them when they run.
        stats = deployment(node("n1", allocations=1), loading("n2"), allocations=4)
        cluster = hardware(machine("n1", 5.0), machine("n2", 2.0), machine("n3", 1.0))
        assert self.free(stats, cluster=cluster) == {"n1": 3, "n2": 0, "n3": 1}

    def test_loading_allocations_that_fit_only_once_others_have_moved_take_threads(self):
        """The planner has placed them, so that there is a place for all."""
        loads = deployment(
            node("n1", allocations=1), loading("n2"), allocations=3, threads_per_allocation=2
        )
        moves = other(node("n2", allocations=4), loading("n1"), allocations=4)
        cluster = hardware(machine("n1", 5.0), machine("n2", 5.0))
        assert self.free(loads, moves, cluster=cluster) == {"n1": 0, "n2": 0}

    def test_running_allocations_of_no_reported_node_take_threads(self):
        without_nodes = deployment(allocations=3, running_allocations=3)
        assert self.free(without_nodes, cluster=hardware(machine("n1"))) == {"n1": 1}
        one_missing = deployment(node("n1", allocations=1), allocations=2, running_allocations=2)
        cluster = hardware(machine("n1"), machine("n2", 8.0))
        assert self.free(one_missing, cluster=cluster) == {"n1": 2, "n2": 8}
        unreadable = deployment(node("n2", allocations=None), allocations=2, running_allocations=2)
        assert self.free(unreadable, cluster=cluster) == {"n1": 4, "n2": 6}

    def test_allocations_that_fit_nowhere_take_none(self):
        stats = deployment(allocations=2, running_allocations=2, threads_per_allocation=3)
        assert self.free(stats, cluster=hardware(machine("n1"), machine("n2", 2.0))) == {
            "n1": 1,
            "n2": 2,
        }

    def test_stopping_and_failed_routes_take_none(self):
        stopping = node("n1", routing_state="stopping")
        failed = node("n2", routing_state="failed", allocations=None)
        cluster = hardware(machine("n1"), machine("n2"))
        assert self.free(deployment(stopping, failed), cluster=cluster) == {"n1": 4, "n2": 4}

    def test_are_never_fewer_than_none(self):
        stats = deployment(node("n1", allocations=9))
        assert self.free(stats, cluster=hardware(machine("n1"))) == {"n1": 0}

    def test_are_not_known_where_the_cluster_did_not_say(self):
        silent = machine("n2", processors=None)
        assert self.free(cluster=None) == {}
        assert self.free(cluster=hardware(machine("n1"), silent)) == {"n1": 4}


class TestWhatFits:
    def test_all_free_threads_of_all_nodes(self):
        stats = deployment(node("n1", allocations=2))
        assert most(stats, cluster=hardware(machine("n1"), machine("n2"))) == 8

    def test_an_allocation_needs_all_its_threads_on_one_node(self):
        stats = deployment(node("n1"), threads_per_allocation=4)
        halves = other(node("n1", allocations=2), node("n2", allocations=2))
        cluster = hardware(machine("n1", 8.0), machine("n2", 4.0))
        assert most(stats, halves, cluster=cluster) == 1, "two threads are free on each"

    def test_nothing_on_nodes_with_fewer_cores_than_threads(self):
        stats = deployment(node("n1"), threads_per_allocation=8)
        assert most(stats, cluster=hardware(machine("n1", 8.0), machine("n2", 7.0))) == 1

    def test_no_other_deployment_is_expected_to_move(self):
        stats = deployment(node("n1"), threads_per_allocation=2)
        scattered = other(node("n1"), node("n2"))
        assert most(stats, scattered, cluster=hardware(machine("n1"), machine("n2", 2.0))) == 1

    @pytest.mark.parametrize("growable", [True, None])
    def test_no_limit_is_known_for_hardware_that_grows_or_may_grow(self, growable):
        cluster = hardware(machine("n1"), growable=growable)
        assert most(deployment(node("n1")), cluster=cluster) is None

    @pytest.mark.parametrize(
        "cluster",
        [
            None,
            hardware(),
            hardware(machine("n1"), machine("n2", processors=None)),
            hardware(machine("n1"), machine("n2", processors=math.inf)),
            hardware(machine("n1"), machine("n2", processors=math.nan)),
            hardware(machine("n2")),  # and not n1, which has joined since
        ],
    )
    def test_no_limit_is_known_where_the_report_is_incomplete(self, cluster):
        assert most(deployment(node("n1")), cluster=cluster) is None

    def test_no_limit_is_known_while_a_new_node_loads_the_model(self):
        stats = deployment(node("n1"), loading("n2"), allocations=2)
        assert most(stats, cluster=hardware(machine("n1"))) is None

    def test_allocations_on_a_loading_node_are_included(self):
        stats = deployment(node("n1", allocations=4), loading("n2"), allocations=6)
        cluster = hardware(machine("n1"), machine("n2"), machine("n3"))
        assert most(stats, cluster=cluster) == 12

    def test_no_limit_is_known_for_low_priority_or_unknown_threads(self):
        cluster = hardware(machine("n1"))
        assert most(deployment(node("n1"), priority="low"), cluster=cluster) is None
        silent = deployment(node("n1"), threads_per_allocation=None)
        assert most(silent, cluster=cluster) is None


class TestManyAtOnce:
    """The same result as one by one, with work that does not depend on the count."""

    @given(
        st.lists(
            st.tuples(st.integers(0, 12), st.booleans(), st.sampled_from([0, 300, 4000])),
            min_size=1,
            max_size=5,
        ),
        st.integers(0, 4),
        st.integers(0, 60),
    )
    def test_is_as_one_by_one(self, nodes, threads, count):
        machines = [
            machine(f"n{index}", float(free), memory * MIB)
            for index, (free, _, memory) in enumerate(nodes)
        ]
        free_capacity = free_capacity_of(observation(0.0, cluster=hardware(*machines)))
        running = [f"n{index}" for index, (_, runs, _) in enumerate(nodes) if runs]
        given_ = {"threads": threads, "memory_bytes": 250 * MIB, "nodes": running, "placed": 0}
        single, many = Occupant(**given_), Occupant(**given_)
        one_by_one, at_once = CapacityPool(free_capacity), CapacityPool(free_capacity)
        placed = 0
        while placed < count and one_by_one.place(single):
            placed += 1
        assert at_once.place_many(many, count) == placed
        assert (many.placed, many.nodes) == (single.placed, single.nodes)
        assert at_once._threads == one_by_one._threads
        assert at_once._memory == one_by_one._memory

    def test_of_any_count(self):
        free_capacity = free_capacity_of(observation(0.0, cluster=hardware(machine("n1", 4096.0))))
        occupant = Occupant(threads=1, memory_bytes=None, nodes=["n1"], placed=0)
        assert CapacityPool(free_capacity).place_many(occupant, 10**15) == 4096

    @pytest.mark.parametrize("processors", [1e5, 1e300, -1.0])
    def test_processors_that_no_machine_has_are_unknown(self, processors):
        cluster = hardware(machine("n1", processors))
        assert most(deployment(node("n1")), cluster=cluster) is None


class TestMemory:
    def on_two_nodes(self, free, memory=8 * GIB, **given):
        stats = deployment(node("n1", allocations=2), **given)
        return most(
            stats, cluster=hardware(machine("n1", free=0), machine("n2", 4.0, memory, free))
        )

    def test_a_node_that_runs_the_model_needs_no_more(self):
        assert self.on_two_nodes(free=0, required_memory_bytes=GIB) == 4

    def test_a_further_node_needs_memory_for_the_model(self):
        elser = {"model_id": ".elser_model_2", "required_memory_bytes": 2004 * MIB}
        assert self.on_two_nodes(free=2003 * MIB, **elser) == 4
        assert self.on_two_nodes(free=2004 * MIB, **elser) == 8

    def test_a_node_that_runs_nothing_yet_needs_some_for_the_code(self):
        elser = {"model_id": ".elser_model_2", "required_memory_bytes": 2004 * MIB}
        assert self.on_two_nodes(2004 * MIB, memory=2004 * MIB, **elser) == 4
        assert self.on_two_nodes(2034 * MIB, memory=2034 * MIB, **elser) == 8

    def test_of_a_figure_over_all_allocations_only_the_share_is_certain(self):
        """2 of the 8 are ours; the other deployment of the model has 6."""
        sibling = other(node("n1", allocations=6))
        ours = deployment(
            node("n1", allocations=2), model_id="other", required_memory_bytes=8 * GIB
        )
        for free, fitting in ((GIB - 1, 8), (GIB, 12)):
            cluster = hardware(machine("n1", 14.0, free=0), machine("n2", 4.0, 64 * GIB, free))
            assert most(ours, sibling, cluster=cluster) == fitting

    def test_no_model_is_smaller_than_the_least(self):
        assert self.on_two_nodes(free=239 * MIB, required_memory_bytes=300 * MIB) == 4
        assert self.on_two_nodes(free=240 * MIB, required_memory_bytes=300 * MIB) == 8

    @pytest.mark.parametrize("known", [{}, {"required_memory_bytes": 64 * GIB}])
    def test_unknown_memory_is_no_obstacle(self, known):
        silent = NodeCapacity(node_id="n2", name="n2", processors=4.0)
        stats = deployment(node("n1", allocations=2), **known)
        assert most(stats, cluster=hardware(machine("n1"), silent)) == 8


@st.composite
def fleets(draw):
    """Deployments of ELSER, whose need of memory is certain, as the planner has placed them."""
    machines = [
        Machine(
            node_id=f"n{i}",
            zone="",
            cores=draw(st.integers(1, 16)),
            memory_bytes=draw(st.integers(0, 8)) * 2004 * MIB + 30 * MIB,
        )
        for i in range(draw(st.integers(1, 4)))
    ]
    demands = [
        PlannerDeployment(
            deployment_id=f"d{i}",
            allocations=draw(st.integers(1, 12)),
            threads=draw(st.sampled_from([1, 2, 4, 8])),
            memory_bytes=2004 * MIB,
        )
        for i in range(draw(st.integers(1, 4)))
    ]
    placed = plan(machines, demands).placed
    settled = [
        PlannerDeployment(
            deployment_id=d.deployment_id,
            allocations=sum(placed[d.deployment_id].values()),
            threads=d.threads,
            memory_bytes=d.memory_bytes,
            previously_assigned=True,
            current=placed[d.deployment_id],
        )
        for d in demands
        if placed[d.deployment_id]
    ]
    return machines, settled


def seen(machines, demands):
    """The observation that such a fleet makes."""
    taken = {
        m.node_id: sum(d.memory_bytes for d in demands if m.node_id in d.current) for m in machines
    }
    nodes = [
        NodeCapacity(
            node_id=m.node_id,
            name=m.node_id,
            processors=float(m.cores),
            ml_memory_bytes=m.memory_bytes,
            free_ml_memory_bytes=m.memory_bytes
            - (taken[m.node_id] + 30 * MIB if taken[m.node_id] else 0),
        )
        for m in machines
    ]
    deployments = [
        deployment(
            *[node(node_id, allocations=n) for node_id, n in d.current.items()],
            deployment_id=d.deployment_id,
            model_id=".elser_model_2",
            threads_per_allocation=d.threads,
            required_memory_bytes=d.memory_bytes,
        )
        for d in demands
    ]
    return observation(0.0, *deployments, cluster=Cluster(nodes=tuple(nodes), growable=False))


@given(fleets())
def test_the_planner_can_place_what_fits(fleet):
    machines, demands = fleet
    observed = seen(machines, demands)
    room = free_capacity_of(observed)
    for demand in demands:
        fits = max_allocations(observed.deployments[demand.deployment_id], room)
        assert fits is not None
        assert fits >= demand.allocations
        raised = [
            d if d is not demand else PlannerDeployment(
                deployment_id=d.deployment_id, allocations=fits, threads=d.threads,
                memory_bytes=d.memory_bytes, previously_assigned=True, current=d.current,
            )
            for d in demands
        ]  # fmt: skip
        assert plan(machines, raised).reasons == {}


@given(fleets())
def test_one_more_than_fits_would_oversubscribe_every_node(fleet):
    machines, demands = fleet
    observed = seen(machines, demands)
    room = free_capacity_of(observed)
    for demand in demands:
        fits = max_allocations(observed.deployments[demand.deployment_id], room)
        slots = 0
        for m in machines:
            cores = m.cores - sum(d.current.get(m.node_id, 0) * d.threads for d in demands)
            memory = m.memory_bytes - 30 * MIB - sum(
                d.memory_bytes for d in demands if m.node_id in d.current
            )  # fmt: skip
            if m.node_id in demand.current or memory >= demand.memory_bytes:
                slots += cores // demand.threads
        assert fits == demand.allocations + slots
