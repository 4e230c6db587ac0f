"""A record that contradicts an assumption of the simulation gives no verdict."""

import pytest
from msgspec.structs import replace

from autoscaler.replay.engine import ReplayOptions, replay
from tests.replay import recorded

FEW = ReplayOptions(draws=4, policies=())


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


def test_failures_are_refused_because_callers_try_again(tmp_path):
    lines, _ = recorded.fixed(1, recorded.cluster(), recorded.trace())
    (found,) = replay(recorded.configuration(tmp_path), lines, FEW).deployments
    assert "failures: " in " ".join(found.refusals)
