"""What the policy promises for any sequence of polls, however odd their figures are."""

import math

from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct

from autoscaler.core.policies import MAX_ALLOCATIONS, Situation
from autoscaler.core.slo.error_budget import WeightSettings
from autoscaler.core.slo.policy import SloPolicy
from autoscaler.core.state import DeploymentState, PolicyMemory, State
from autoscaler.core.values import LoadEstimate, NodeStats, Sample
from autoscaler.wire.state import decode_state, encode_state
from tests.states import STATS, same

COUNTS = st.sampled_from([0, 1, 3, 40, 200, 10**6, 2**40])
POLLS = st.fixed_dictionaries(
    {
        "interval_s": st.sampled_from([0.0, 1e-6, 2.0, 10.0, 60.0, 3600.0]),
        "clock_s": st.sampled_from([0.0, 0.0, 0.0, 3600.0, -3600.0]),  # by which it is set
        "completed": COUNTS,
        "failed": st.sampled_from([0, 0, 0, 1, 100, 10**6]),
        "cache_hits": st.sampled_from([0, 0, 7]),
        "service_time_s": st.sampled_from([0.0, 1e-9, 0.001, 0.1, 30.0, 1e6]),
        "nodes": st.lists(
            st.tuples(
                st.sampled_from([None, 0, 1, 2, 40]),
                COUNTS,
                st.sampled_from(["started", "started", "starting", "stopping", "failed"]),
            ),
            max_size=4,
        ),
        "free": st.sampled_from([{}, {"n0": 4, "other": 8}]),
        "max_allocations": st.sampled_from([1, 8, MAX_ALLOCATIONS]),
        "new_node_s": st.sampled_from([None, 0.0, 20.0, 1e9]),
        "carried_out": st.booleans(),
    }
)


def situation_of(at, current, given):
    nodes = tuple(
        [
            NodeStats(f"n{place}", state, allocations=allocations, pending=pending)
            for place, (allocations, pending, state) in enumerate(given["nodes"])
        ]
    )
    interval_s, completed = given["interval_s"], given["completed"]
    in_flight = sum([node.pending for node in nodes])
    timed = max(0, completed - given["cache_hits"])
    sample = Sample(
        at=at,
        interval_s=interval_s,
        completed=completed,
        cache_hits=given["cache_hits"],
        failed=given["failed"],
        busy_s=timed * given["service_time_s"],
        timed=timed,
        timed_busy_s=timed * given["service_time_s"],
        in_flight=in_flight,
    )
    load = LoadEstimate(
        arrival_rate_per_s=1.0,
        throughput_per_s=1.0,
        service_time_s=given["service_time_s"] if timed else None,
        cache_hit_fraction=0.0,
        in_flight=in_flight,
        window_s=60.0,
    )
    return Situation(
        at=at,
        current=current,
        running=sum([node.allocations or 0 for node in nodes if node.routing_state == "started"]),
        max_allocations=given["max_allocations"],
        carried_out=given["carried_out"],
        sample=sample,
        load=load,
        in_flight=(in_flight,),
        nodes=nodes,
        free_threads=given["free"],
        new_node_s=given["new_node_s"],
        min_poll_interval_s=2.0,
    )


def not_numbers(value, name=""):
    """The names of the fields that are nan, which no later poll would replace. A forecast has them
    for unknown slots."""
    if isinstance(value, Struct):
        for field in value.__struct_fields__:
            if field != "forecast":
                yield from not_numbers(getattr(value, field), f"{name}.{field}")
    elif isinstance(value, tuple):
        for place, each in enumerate(value):
            yield from not_numbers(each, f"{name}[{place}]")
    elif isinstance(value, float) and math.isnan(value):
        yield name


@given(st.lists(POLLS, max_size=12))
def test_recommendations_inputs_and_memory_remain_sound(polls):
    policy, at, current = SloPolicy(), 1_700_000_000.0, 1
    memory, least, most = policy.begin(), WeightSettings().min_weight, WeightSettings().max_weight
    for given_poll in polls:
        at += given_poll["interval_s"] + given_poll["clock_s"]
        situation = situation_of(at, current, given_poll)
        step, memory = policy.recommend(situation, memory)
        assert 0 <= step.after <= MAX_ALLOCATIONS
        for name, value in step.inputs.items():
            assert isinstance(value, str) or not math.isnan(value), name
        for name in ("slo_attainment", "expected_slo_attainment", "preventable_fraction"):
            assert 0.0 <= step.inputs.get(name, 0.0) <= 1.0, name
        if (weight := step.inputs.get("violation_weight")) is not None:
            assert 0.999 * least <= 0.01 * weight <= 1.001 * most
        request = policy.next_poll(situation, memory)
        assert request is None or request.within_s >= situation.min_poll_interval_s
        assert not list(not_numbers(memory))
        current = step.after
    stored = encode_state(
        State(
            deployments={
                "d": DeploymentState(
                    seen_at=at,
                    baseline=STATS,
                    baseline_at=at,
                    memory=PolicyMemory(policy.name, policy.memory_format.version, memory),
                )
            }
        )
    )
    assert not stored.messages
    assert same(decode_state(stored.content, [policy]).state.deployments["d"].memory.value, memory)
