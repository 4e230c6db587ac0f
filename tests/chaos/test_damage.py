"""Damage concerns a deployment if a decrease is not safe without what is damaged."""

import random

import msgspec
import pytest

from tests.chaos.damage import damaged

COUNTS = {
    "inference_count": 70,
    "error_count": 2,
    "rejected_execution_count": 3,
    "timeout_count": 4,
}
NODE = {"node": {"ml-1": {"name": "ml-1"}}, "routing_state": {"routing_state": "started"}} | COUNTS
DEPLOYMENT = {"deployment_id": "model-a", "state": "started", "number_of_allocations": 2} | COUNTS


def damages():
    """The damaged deployment, and what the damage concerns, of many seeds."""
    entry = {"model_id": "model-a", "deployment_stats": {**DEPLOYMENT, "nodes": [NODE]}}
    body = msgspec.json.encode({"count": 1, "trained_model_stats": [entry]})
    for seed in range(2000):
        found, tainted = damaged(body, random.Random(seed))
        for each in msgspec.json.decode(found)["trained_model_stats"]:
            yield each["deployment_stats"], tainted


@pytest.mark.parametrize("figure", sorted(COUNTS))
def test_a_sum_over_the_nodes_is_not_needed(figure):
    concerned = [
        tainted for deployment, tainted in damages() if deployment[figure] != COUNTS[figure]
    ]
    assert concerned
    assert not any(concerned)


@pytest.mark.parametrize("figure", sorted(COUNTS))
def test_a_figure_of_a_node_is_needed(figure):
    concerned = [
        tainted
        for deployment, tainted in damages()
        if any(node[figure] != COUNTS[figure] for node in deployment["nodes"])
    ]
    assert concerned
    assert all(tainted == {"model-a"} for tainted in concerned)


def test_statistics_without_counts_cannot_go_backwards():
    node = {key: part for key, part in NODE.items() if key not in COUNTS}
    entry = {"model_id": "model-a", "deployment_stats": {**DEPLOYMENT, "nodes": [node]}}
    body = msgspec.json.encode({"count": 1, "trained_model_stats": [entry]})
    unchanged = [
        tainted
        for seed in range(200)
        for found, tainted in [damaged(body, random.Random(seed))]
        if found == body
    ]
    assert unchanged
    assert not any(unchanged)
