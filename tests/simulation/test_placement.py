"""The planner: its constraints one by one, and invariants of every plan."""

from hypothesis import given, settings
from hypothesis import strategies as st

from autoscaler.simulation.memory import MIB, NATIVE_CODE_OVERHEAD_BYTES, required_bytes
from autoscaler.simulation.placement import plan
from autoscaler.simulation.planner_values import PlannerDeployment, PlannerNode


def room(node_id: str, cores: int = 4, zone: str = "", memory: int = 10_000) -> PlannerNode:
    return PlannerNode(node_id=node_id, zone=zone, cores=cores, memory_bytes=memory * MIB)


def demand(deployment_id: str, allocations: int, **other) -> PlannerDeployment:
    memory = other.pop("memory", 100)
    return PlannerDeployment(
        deployment_id=deployment_id,
        allocations=allocations,
        threads=other.pop("threads", 1),
        memory_bytes=memory * MIB,
        previously_assigned=other.pop("previously_assigned", bool(other.get("current"))),
        **other,
    )


def placed(rooms, *demands):
    return {name: dict(nodes) for name, nodes in plan(rooms, demands).placed.items()}


def test_placed_allocations_stay_and_grow_on_their_nodes():
    rooms = [room("a"), room("b", cores=8)]
    assert placed(rooms, demand("m", 3, current={"a": 2})) == {"m": {"a": 3}}


def test_a_new_deployment_goes_where_most_cores_are_free_and_overflows_from_there():
    rooms = [room("a"), room("b", cores=8)]
    assert placed(rooms, demand("m", 10)) == {"m": {"b": 8, "a": 2}}


def test_zones_are_kept_in_balance():
    rooms = [room("a1", zone="a", cores=8), room("a2", zone="a"), room("b1", zone="b")]
    assert placed(rooms, demand("m", 6)) == {"m": {"a1": 3, "b1": 3}}
    assert placed(rooms, demand("m", 3, current={"a1": 2})) == {"m": {"a1": 2, "b1": 1}}


def test_an_allocation_fits_on_one_node_or_not_at_all():
    """Four free cores, two and two, cannot take one allocation of four threads."""
    rooms = [room("a", cores=2), room("b", cores=2)]
    short = plan(rooms, [demand("m", 1, threads=4)])
    assert short.allocations_of("m") == 0
    assert short.reasons["m"].count("insufficient allocated processors") == 2
    assert "node [a]" in short.reasons["m"].split("|")[0]


def test_memory_and_overhead_are_needed_once_per_node():
    needs = required_bytes("m", 100 * MIB, 100 * MIB)
    tight = PlannerNode(
        node_id="a", zone="", cores=8, memory_bytes=needs + NATIVE_CODE_OVERHEAD_BYTES - 1
    )
    deployment = PlannerDeployment(deployment_id="m", allocations=8, threads=1, memory_bytes=needs)
    assert "insufficient available memory" in plan([tight], [deployment]).reasons["m"]
    enough = PlannerNode(
        node_id="a", zone="", cores=8, memory_bytes=needs + NATIVE_CODE_OVERHEAD_BYTES
    )
    assert plan([enough], [deployment]).placed == {"m": {"a": 8}}


def test_memory_by_the_formula_of_its_kind():
    assert required_bytes("m", 100 * MIB, 100 * MIB) == 440 * MIB
    assert required_bytes("m", 100 * MIB, 0) == 440 * MIB
    assert required_bytes("m", 100 * MIB, 150 * MIB) == 490 * MIB
    assert required_bytes(".elser_model_2_linux-x86_64", 250 * MIB, 250 * MIB) == 2004 * MIB


def test_without_nodes_there_is_a_reason():
    assert plan([], [demand("m", 1)]).reasons == {"m": "No ML nodes exist in the cluster"}


def test_a_reduced_deployment_is_not_short():
    assert plan([room("a")], [demand("m", 4)]).reasons == {}


def test_one_allocation_is_never_taken_from_a_deployment():
    rooms = [room("a", cores=2)]
    crowded = placed(rooms, demand("old", 5, current={"a": 2}), demand("new", 5))
    assert crowded == {"old": {"a": 2}, "new": {}}


def test_a_deployment_without_allocations_gets_one_before_others_keep_all():
    rooms = [room("a", cores=4)]
    lost = demand("lost", 2, previously_assigned=True)
    assert placed(rooms, demand("rich", 4, current={"a": 4}), lost) == {
        "rich": {"a": 3},
        "lost": {"a": 1},
    }


def test_every_deployment_gets_one_before_any_gets_more():
    rooms = [room("a", cores=4)]
    assert placed(rooms, demand("first", 9), demand("second", 9)) == {
        "first": {"a": 3},
        "second": {"a": 1},
    }


def test_others_are_moved_where_that_makes_room():
    """Two threads need two cores of one node, and both nodes have one taken."""
    rooms = [room("a", cores=2), room("b", cores=2)]
    assert placed(
        rooms, demand("spread", 2, current={"a": 1, "b": 1}), demand("wide", 1, threads=2)
    ) == {"spread": {"b": 2}, "wide": {"a": 1}}


def test_others_are_moved_while_another_deployment_cannot_be_satisfied():
    rooms = [room("a", cores=2), room("b", cores=2)]
    assert placed(
        rooms,
        demand("spread", 2, current={"a": 1, "b": 1}),
        demand("impossible", 1, threads=4),
        demand("wide", 1, threads=2),
    ) == {"spread": {"b": 2}, "impossible": {}, "wide": {"a": 1}}


def test_a_thousand_deployments_keep_what_they_have_where_free_processors_are_scattered():
    rooms = [room(f"n{i}", cores=201, memory=100_000) for i in range(10)]
    running = [demand(f"d{i}", 1, threads=2, current={f"n{i % 10}": 1}) for i in range(1000)]
    made = plan(rooms, [*running, demand("more", 1, threads=2)])
    assert list(made.reasons) == ["more"]
    assert all(made.placed[each.deployment_id] == each.current for each in running)


def test_low_priority_takes_what_memory_is_left_and_oversubscribes_cores():
    rooms = [room("a", cores=2, memory=250)]
    full = plan(
        rooms, [demand("low", 1, low=True), demand("low2", 1, low=True), demand("normal", 2)]
    )
    assert full.placed == {"low": {"a": 1}, "low2": {}, "normal": {"a": 2}}
    assert "insufficient available memory" in full.reasons["low2"]


rooms = st.lists(
    st.tuples(st.integers(1, 8), st.sampled_from("xyz"), st.integers(100, 1000)),
    min_size=1,
    max_size=4,
).map(lambda drawn: [room(f"n{i}", *parts) for i, parts in enumerate(drawn)])

demands = st.lists(
    st.tuples(st.integers(1, 9), st.sampled_from([1, 2, 4]), st.integers(50, 500), st.booleans()),
    min_size=1,
    max_size=4,
)


@settings(max_examples=150, deadline=None)
@given(rooms, demands, demands)
def test_no_plan_oversubscribes_or_exceeds_requests_or_removes_the_last(rooms, first, second):
    def demands(drawn, current):
        return [
            demand(
                f"d{i}",
                n,
                threads=threads,
                memory=memory,
                low=low,
                current=current.get(f"d{i}", {}),
            )
            for i, (n, threads, memory, low) in enumerate(drawn)
        ]

    before = plan(rooms, demands(first, {}))
    merged = [new[:1] + old[1:] for old, new in zip(first, second, strict=False)] + first[
        len(second) :
    ]
    for made, requested in (
        (before, demands(first, {})),
        (plan(rooms, demands(merged, before.placed)), demands(merged, before.placed)),
    ):
        for r in rooms:
            here = [d for d in requested if r.node_id in made.placed[d.deployment_id]]
            cores = sum(
                made.placed[d.deployment_id][r.node_id] * d.threads for d in here if not d.low
            )
            memory = sum(d.memory_bytes for d in here)
            assert cores <= r.cores
            assert memory + (NATIVE_CODE_OVERHEAD_BYTES if here else 0) <= r.memory_bytes
        for d in requested:
            given_ = made.allocations_of(d.deployment_id)
            assert given_ <= d.allocations
            assert (d.deployment_id in made.reasons) == (given_ < d.allocations)
            if d.previously_assigned and not d.low:
                assert given_ >= 1
