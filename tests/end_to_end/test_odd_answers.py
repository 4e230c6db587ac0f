"""Responses of real clusters that the emulated one does not send, from a script, over HTTP.

The decoding of each is tested elsewhere; here is what an operator sees of it.
"""

from typing import Any

import pytest

from autoscaler.core.values import DataIssue, Reason
from tests.end_to_end.field_cluster import Json
from tests.end_to_end.field_play import Played, check_promises, play
from tests.virtual_loop import run_in_virtual_time

pytestmark = pytest.mark.untraced

ANSWERS, EVERY_S = 6, 10.0
RATE_PER_S, SERVICE_MS = 70, 60.0  # a load of 4.2


def route(step: int, node_id: str = "ml-a", *, share: float = 1.0, **given: Any) -> Json:
    """A started route, which completes its share of the load."""
    fields = {
        "node": {node_id: {"name": node_id}},
        "routing_state": {"routing_state": "started"},
        "inference_count": 500 + int(share * RATE_PER_S * EVERY_S * step),
        "average_inference_time_ms": SERVICE_MS,
        "average_inference_time_ms_excluding_cache_hits": SERVICE_MS,
        "number_of_pending_requests": 4,
        "start_time": 1_750_000_000_000,
        "threads_per_allocation": 1,
        "number_of_allocations": 5,
    }
    return {name: value for name, value in (fields | given).items() if value is not None}


def statistics(*routes: Json, allocations: int = 5, **given: Any) -> Json:
    fields = {
        "deployment_id": "rerank",
        "model_id": "rerank-model",
        "threads_per_allocation": 1,
        "number_of_allocations": allocations,
        "queue_capacity": 2048,
        "state": "started",
        "allocation_status": {
            "allocation_count": allocations,
            "target_allocation_count": allocations,
            "state": "fully_allocated",
        },
        "priority": "normal",
        "start_time": 1_749_999_000_000,
        "inference_count": sum(each.get("inference_count", 0) for each in routes),
        "nodes": list(routes),
    }
    deployed = {name: value for name, value in (fields | given).items() if value is not None}
    entry = {"model_id": "rerank-model", "pipeline_count": 0, "deployment_stats": deployed}
    return {"count": 1, "trained_model_stats": [entry]}


def played(
    tmp_path, answers: list[Json], rule: str = "max_allocations = 12", **case: Any
) -> Played:
    rules = f'[[rules]]\nname = "all"\n{rule}\n'
    document = {"kind": "stats", "every_s": EVERY_S, "rule": rules, "answers": answers, **case}
    found = run_in_virtual_time(play(document, tmp_path, seconds=600.0))
    check_promises(found)
    return found


def test_a_route_without_a_count_has_not_responded(tmp_path):
    answer = statistics(route(0, inference_count=None, throughput_last_minute=4000))
    found = played(tmp_path, [answer])
    assert not found.changes
    last = found.last("rerank").decision
    assert DataIssue.INCOMPLETE in last.sample.issues
    assert last.reason is Reason.DATA_QUALITY


def as_floats(value: Any) -> Any:
    """A document that writes every integer with a fraction of zero, such as 1000.0."""
    if isinstance(value, dict):
        return {name: as_floats(each) for name, each in value.items()}
    if isinstance(value, list):
        return [as_floats(each) for each in value]
    return float(value) if type(value) is int else value


def test_counts_with_a_fraction_of_zero_are_counts(tmp_path):
    answers = [statistics(route(step)) for step in range(70)]
    folders = tmp_path / "floats", tmp_path / "integers"
    for folder in folders:
        folder.mkdir()
    found = played(folders[0], [as_floats(answer) for answer in answers])
    expected = played(folders[1], answers)
    assert expected.changes
    assert [each.body for each in found.changes] == [each.body for each in expected.changes]
    last = found.last("rerank").decision
    assert not last.sample.issues
    assert last.load.offered_load == pytest.approx(4.2, rel=0.1)
    assert not [line for line in found.lines("warning") if "cannot be read" in line]


def test_serverless_reports_neither_a_state_nor_an_allocation_status(tmp_path):
    adaptive = {
        "enabled": True,
        "min_number_of_allocations": 1,
        "max_number_of_allocations": 10,
    }
    answers = [
        statistics(
            route(step, node=None),
            state=None,
            allocation_status=None,
            adaptive_allocations=adaptive,
        )
        for step in range(ANSWERS)
    ]
    rule = 'max_allocations = 10\nmode = "bounds"'
    found = played(tmp_path, answers, rule, build_flavor="serverless")
    last = found.last("rerank").decision
    assert not last.sample.issues
    assert last.load.offered_load == pytest.approx(4.2, rel=0.1)
    minima = [
        each.body["adaptive_allocations"]["min_number_of_allocations"] for each in found.changes
    ]
    assert max(minima) >= 5
    assert all("number_of_allocations" not in change.body for change in found.changes)


def test_a_node_that_runs_fewer_than_assigned_is_measured_and_named(tmp_path):
    answers = [
        statistics(route(step, number_of_allocations=5), allocations=9) for step in range(ANSWERS)
    ]
    found = played(tmp_path, answers)
    last = found.last("rerank").decision
    assert not last.sample.issues
    assert last.load.offered_load == pytest.approx(4.2, rel=0.1)
    assert "5 of 9" in found.explained["rerank"]


def test_two_nodes_of_one_name_are_labelled_by_their_ids_in_any_order(tmp_path):
    answers = []
    for step in range(ANSWERS):
        both = [
            route(step, share=0.7, node={"k1": {"name": "ml"}}, number_of_allocations=3),
            route(step, share=0.3, node={"k2": {"name": "ml"}}, number_of_allocations=2),
        ]
        answers.append(statistics(*(both if step % 2 else reversed(both))))
    found = played(tmp_path, answers)
    for page in range(len(found.pages["/metrics"])):
        assert {labels["node"] for _, labels, _ in found.samples(page) if "node" in labels} == {
            "k1",
            "k2",
        }
    completed = {
        labels["node"]: value
        for name, labels, value in found.samples()
        if name == "elasticsearch_ml_deployment_node_inferences_total"
    }
    assert completed["k1"] > completed["k2"]


def test_totals_that_stand_still_while_requests_complete_are_no_idleness(tmp_path):
    """Each response has a later time of the last request, and the same totals."""
    answers = [
        statistics(route(0, last_access=1_750_000_100_000 + 10_000 * step)) for step in range(62)
    ]
    found = played(tmp_path, answers)
    assert not found.changes
    decisions = [outcome.decision for outcome in found.outcomes]
    assert any(DataIssue.INCONSISTENT in decision.sample.issues for decision in decisions)
    assert {decision.reason for decision in decisions} == {Reason.DATA_QUALITY}


def test_a_queue_that_is_longer_than_its_capacity_is_no_backlog(tmp_path):
    answers = [
        statistics(route(step, number_of_pending_requests=2**31 - 1)) for step in range(ANSWERS)
    ]
    found = played(tmp_path, answers)
    assert not found.changes
    decisions = [outcome.decision for outcome in found.outcomes]
    assert any(DataIssue.IMPLAUSIBLE in decision.sample.issues for decision in decisions)
    assert {decision.reason for decision in decisions} == {Reason.DATA_QUALITY}


@pytest.mark.parametrize("priority", [None, 3, [], {}, "LOW", "Normal", "high", " low"], ids=str)
def test_a_priority_that_cannot_be_read_is_not_the_normal_one(tmp_path, priority):
    answers = [statistics(route(step, share=2.0)) for step in range(ANSWERS)]
    for answer in answers:
        answer["trained_model_stats"][0]["deployment_stats"]["priority"] = priority
    found = played(tmp_path, answers)
    assert not found.changes
    assert "priority is not reported, or unreadable" in found.explained["rerank"]


@pytest.mark.parametrize("node_id", ["ml-a", None])
def test_two_routes_on_one_node_are_not_distinguished(tmp_path, node_id):
    answers = []
    for step in range(ANSWERS):
        routes = [route(step), route(step + 7)]
        for each in routes if node_id is None else ():
            del each["node"]
        answers.append(statistics(*routes, allocations=10))
    found = played(tmp_path, answers)
    assert not found.changes
    last = found.last("rerank").decision
    assert DataIssue.INCOMPLETE in last.sample.issues
    assert DataIssue.NEW_NODE not in last.sample.issues
    assert "nodes" in found.explained["rerank"]


def test_an_unknown_number_of_allocations_is_shown_as_no_number(tmp_path):
    answers = [statistics(route(step), allocations=2**40) for step in range(ANSWERS)]
    found = played(tmp_path, answers)
    assert not found.changes
    assert "rerank stays as it is" in found.explained["rerank"]
    shown = {name for name, labels, _ in found.samples() if labels.get("deployment") == "rerank"}
    assert "autoscaler_maximum_allocations" in shown
    assert not shown & {
        f"autoscaler_{each}_allocations" for each in ("current", "recommended", "desired", "wanted")
    }


@pytest.mark.parametrize("encoding", ["gzip", "br"])
def test_a_response_that_cannot_be_decompressed_is_called_that(tmp_path, encoding):
    damaged = {"status": 200, "body": "no archive", "headers": {"Content-Encoding": encoding}}
    rule = '[[rules]]\nname = "all"\nmax_allocations = 4\n'
    answers = {"GET /_ml/trained_models/_stats": damaged}
    case = {"kind": "http", "rule": rule, "answers": answers}
    found = run_in_virtual_time(play(case, tmp_path, seconds=120.0))
    check_promises(found)
    assert "cannot be decompressed" in found.pages["/readyz"][-1].text
