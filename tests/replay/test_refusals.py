"""A record that contradicts an assumption of the simulation gives no verdict."""

import pytest
from msgspec.structs import replace

from autoscaler.backtest.results.scoring import RequestSlo, violations
from autoscaler.replay.engine import ReplayOptions, replay, tasks_of
from autoscaler.replay.service_times import service_times_of
from autoscaler.wire.intervals import NodeInterval
from tests.replay import recorded

FEW = ReplayOptions(draws=4, policies=())
MORE = ReplayOptions(draws=8, policies=("static-peak",))
SLO = RequestSlo(0.2, 0.99)


def refusals(tmp_path, where, hours=2.5):
    lines, _ = recorded.fixed(8, where, recorded.trace(hours, mean_per_minute=2400))
    (found,) = replay(recorded.configuration(tmp_path), lines, FEW).deployments
    assert found.has_verdict == (not found.refusals)
    assert found.policies == () or found.has_verdict
    return " ".join(found.refusals)


def test_an_honest_record_is_not_refused(tmp_path):
    assert refusals(tmp_path, recorded.cluster()) == ""


def test_service_times_that_depend_on_the_load_are_refused(tmp_path):
    found = refusals(tmp_path, recorded.cluster(contention=0.8))
    assert "service times depend on the load" in found


def test_a_slow_node_is_refused_by_its_name(tmp_path):
    found = refusals(tmp_path, recorded.cluster(slow_nodes=1, slow_node_factor=1.4))
    assert "node node-1 is slow" in found


@pytest.mark.parametrize("issue", ["incomplete", "implausible"])
def test_gaps_are_refused(tmp_path, issue):
    lines, _ = recorded.fixed(8, recorded.cluster(), recorded.trace())
    head, rest = lines[:2], lines[2:]
    gappy = [
        replace(line, issues=(issue,)) if place % 3 == 0 else line
        for place, line in enumerate(rest)
    ]
    (found,) = replay(recorded.configuration(tmp_path), head + gappy, FEW).deployments
    assert "the load is unknown for 33% of the time" in " ".join(found.refusals)


def test_a_record_of_too_few_allocations_has_a_verdict_that_holds(tmp_path):
    where = replace(recorded.cluster(), retry_share=0.7)
    minutes = recorded.trace()
    lines, plant = recorded.fixed(2, where, minutes)
    (found,) = replay(recorded.configuration(tmp_path), lines, MORE).deployments
    assert found.refusals == ()
    assert any("are taken to be first attempts" in each for each in found.assumptions)
    _, many = recorded.fixed(found.policies[-1].max_allocations, where, minutes)
    late = violations(many.fleet.waits_s, many.fleet.outcomes, SLO).mean()
    estimate = found.policies[-1].late_fraction
    assert estimate.low <= late <= estimate.high
    assert plant.totals().failed > 0.2 * found.requests


def test_requests_that_almost_timed_out_do_not_make_service_times_seem_shorter(tmp_path):
    lines, _ = recorded.fixed(2, recorded.cluster(), recorded.trace())
    (task,) = tasks_of(recorded.configuration(tmp_path), lines, FEW).tasks
    record = task.record()
    assert service_times_of(record).mean_s >= record.busy_s.sum() / record.completed.sum()


def test_a_node_that_served_for_a_few_seconds_is_not_called_slow(tmp_path):
    lines, _ = recorded.fixed(8, recorded.cluster(), recorded.trace())
    slow = NodeInterval(node="node-9", allocations=1, completed=1, busy_s=2.0, in_flight=0)
    last = replace(lines[-1], nodes=(*lines[-1].nodes, slow))
    (found,) = replay(recorded.configuration(tmp_path), [*lines[:-1], last], FEW).deployments
    assert "is slow" not in " ".join(found.refusals)
