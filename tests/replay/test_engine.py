"""Replays of recorded loads, from the lines of a file to results."""

from msgspec.structs import replace

from autoscaler.replay.engine import (
    MAX_DRAWS,
    MIN_DRAWS,
    ReplayOptions,
    draws_of,
    replay,
    tasks_of,
)
from autoscaler.wire.intervals import LoadInterval
from tests.replay import recorded

FEW = ReplayOptions(draws=4, policies=("adaptive-9", "static-peak"))


def test_a_rule_is_judged_beside_what_really_ran(tmp_path):
    lines, _ = recorded.fixed(8, recorded.cluster(), recorded.trace())
    (found,) = replay(recorded.configuration(tmp_path), lines, FEW).deployments
    assert found.has_verdict, found.refusals
    assert [each.policy for each in found.policies] == ["rule:all", "adaptive-9", "static-peak"]
    assert (
        found.observed.hours.value
        == 8 * sum(line.interval_s for line in lines if hasattr(line, "interval_s")) / 3600.0
    )
    rule = found.policies[0]
    assert rule.hours_difference.high < 0.0  # 8 allocations are more than the load needs
    for each in found.policies:
        assert 0.0 <= each.hours.low <= each.hours.value <= each.hours.high
        assert 0.0 <= each.late_fraction.low <= each.late_fraction.high <= 1.0
        assert (
            each.late_difference.low >= each.late_fraction.low - found.observed.late_fraction.high
        )
    assert sum(hour.requests for hour in found.hours) == found.requests


def test_the_same_lines_and_options_give_the_same_results(tmp_path):
    lines, _ = recorded.adaptive(recorded.cluster(), recorded.trace())
    config = recorded.configuration(tmp_path)
    assert replay(config, lines, FEW) == replay(config, reversed(lines[1:]), FEW)


def test_a_record_that_is_too_short_has_no_verdict(tmp_path):
    lines, _ = recorded.fixed(8, recorded.cluster(), recorded.trace(hours=0.5))
    (found,) = replay(recorded.configuration(tmp_path), lines, FEW).deployments
    assert found.policies == ()
    assert "at least 2 h are required" in " ".join(found.refusals)


def test_a_deployment_without_a_rule_is_left_out(tmp_path):
    text = recorded.CONFIG.replace('"*"', '"other-*"')
    lines, _ = recorded.fixed(8, recorded.cluster(), recorded.trace(hours=0.5))
    config = recorded.configuration(tmp_path, text)
    found = replay(config, lines, FEW)
    assert found.deployments == ()
    assert found.left_out == (f"model: no rule of {config.file} selects it",)


def test_an_excluded_deployment_is_left_out_for_that_reason(tmp_path):
    excluded = '[[rules]]\nname = "not-here"\ndeployments = ["mod*"]\nexclude = true\n'
    text = recorded.CONFIG.replace("[[rules]]", f"{excluded}[[rules]]")
    lines, _ = recorded.fixed(8, recorded.cluster(), recorded.trace(hours=0.5))
    config = recorded.configuration(tmp_path, text)
    assert replay(config, lines, FEW).left_out == (
        f"model: the rule not-here of {config.file} excludes it",
    )


def test_a_rule_may_select_a_deployment_by_its_model(tmp_path):
    text = recorded.CONFIG.replace("deployments = [", 'models = ["elser-*"]\ndeployments = [')
    lines, _ = recorded.fixed(8, recorded.cluster(), recorded.trace(hours=0.5))
    config = recorded.configuration(tmp_path, text)
    of_elser = [
        replace(line, model="elser-2") if isinstance(line, LoadInterval) else line for line in lines
    ]
    assert [each.rule for each in replay(config, of_elser, FEW).deployments] == ["all"]
    assert replay(config, lines, FEW).deployments == ()


def minutes_of(lines):
    """The same load as an import has it: counts of minutes, no nodes, no queues."""
    header, _, *intervals = lines
    yield header
    for first in range(0, len(intervals) - 5, 6):
        six = intervals[first : first + 6]
        yield LoadInterval(
            deployment="model",
            at=six[-1].at,
            interval_s=60.0,
            arrivals=sum(each.arrivals for each in six),
            completed=sum(each.completed for each in six),
            busy_s=sum(each.busy_s for each in six),
            requested=six[-1].requested,
        )


def test_counts_of_minutes_suffice_and_what_they_lack_is_said(tmp_path):
    lines, _ = recorded.adaptive(recorded.cluster(), recorded.trace())
    config = recorded.configuration(tmp_path)
    (found,) = replay(config, minutes_of(lines), FEW).deployments
    assert found.has_verdict, found.refusals
    assert found.policies
    said = " ".join(found.assumptions)
    for unknown in ("processors of the nodes", "in-flight requests", "time-out", "version"):
        assert unknown in said


def test_the_load_of_gaps_is_left_out_of_all_figures(tmp_path):
    lines, _ = recorded.fixed(8, recorded.cluster(), recorded.trace())
    config = recorded.configuration(tmp_path)
    with_gap = [*lines[:300], *lines[360:]]  # ten minutes of three hours
    (whole,) = replay(config, lines, FEW).deployments
    (found,) = replay(config, with_gap, FEW).deployments
    assert found.observed.hours.value == whole.observed.hours.value - 8 * 600.0 / 3600.0
    assert 0.93 < found.requests / whole.requests < 0.96
    assert found.policies[-1].hours.value < whole.policies[-1].hours.value


def test_long_records_have_fewer_draws(tmp_path):
    lines, _ = recorded.fixed(8, recorded.cluster(), recorded.trace(hours=0.5))
    (task,) = tasks_of(recorded.configuration(tmp_path), lines, ReplayOptions()).tasks
    record = task.record()
    assert draws_of(record, task.options) == MAX_DRAWS
    edges = record.since + 1500.0 * (record.edges - record.since)
    assert draws_of(replace(record, edges=edges), task.options) == MIN_DRAWS


def counts(service_time_s=None, hours=3):
    """Minutes as `autoscaler import csv` makes them."""
    trace = recorded.trace(hours)
    for number, count in enumerate(trace.counts.tolist()):
        yield LoadInterval(
            deployment="model",
            at=60.0 * (number + 1),
            interval_s=60.0,
            arrivals=count,
            busy_s=None if service_time_s is None else count * service_time_s,
            requested=8,
            running=8,
        )


def test_mere_counts_with_a_stated_service_time_are_replayed(tmp_path):
    (found,) = replay(recorded.configuration(tmp_path), counts(0.1), FEW).deployments
    assert found.has_verdict, found.refusals
    assert "vary" in " ".join(found.assumptions)  # how much is not known from a stated mean
    assert found.policies[0].hours_difference.high < 0.0


def test_what_cannot_be_replayed_has_a_reason_and_its_time(tmp_path):
    found = replay(recorded.configuration(tmp_path), counts(), FEW)
    assert found.left_out == ("model: no request was timed, so service times are unknown",)
    assert (found.since, found.until) == (0.0, 10_800.0)


def test_a_deployment_with_more_requests_than_fit_into_the_memory_is_left_out(tmp_path):
    lines = [
        LoadInterval(
            deployment="model",
            at=at,
            interval_s=60.0,
            arrivals=arrivals,
            busy_s=arrivals * 0.1,
            requested=2,
        )
        for at, arrivals in ((1e9, 600), (1e9 + 60.0, 10**12))
    ]
    found = replay(recorded.configuration(tmp_path), lines, FEW)
    (sentence,) = found.left_out
    assert "choose a shorter time with --from and --to" in sentence


def test_odd_figures_are_named_among_what_is_unknown(tmp_path):
    lines, _ = recorded.fixed(8, recorded.cluster(), recorded.trace(hours=0.5))
    odd = replace(lines[-1], at=lines[-1].at + 10.0, arrivals=-5)
    planned = tasks_of(recorded.configuration(tmp_path), [*lines, odd], FEW)
    assert planned.unknown[-1].startswith("1 interval has figures that no cluster has")


def test_a_deployment_without_requests_is_left_out_with_the_hours_that_it_used(tmp_path):
    idle = [
        each if not isinstance(each, LoadInterval) else replace(each, arrivals=0, busy_s=0.0)
        for each in counts(0.1)
    ]
    (sentence,) = replay(recorded.configuration(tmp_path), idle, FEW).left_out
    assert sentence == (
        "model: there were no requests, in 24.0 allocation-hours; nothing is simulated"
    )


def test_the_figures_are_of_the_time_whose_load_is_known(tmp_path):
    """Half an hour of three is missing: 8 allocations are 20 allocation-hours, and not 24."""
    lines = [
        each
        for each in counts(0.1)
        if not isinstance(each, LoadInterval) or not 4200.0 < each.at <= 6000.0
    ]
    (found,) = replay(recorded.configuration(tmp_path), lines, FEW).deployments
    assert found.observed.hours.value == 8 * found.known_s / 3600.0 == 20.0
    assert "the load is unknown for 17% of the time" in found.assumptions[0]
