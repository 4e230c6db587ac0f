"""Rehearsals: a few of those whose figures are published."""

import msgspec
import pytest

from autoscaler.backtest.world.traces import find_traces
from autoscaler.replay.estimates import Spread
from autoscaler.replay.judge import HOURS_INFLATION, LATE_INFLATION
from benchmarks import rehearsals
from benchmarks.rehearsal_tables import (
    RehearsalRow,
    chosen_factor,
    covers_attainment,
    covers_hours,
    left_out,
    section_of,
)
from benchmarks.rehearsals import HONEST, LOADED, SLOW, finished, rehearse
from tests.conftest import shared


def row(number=0, *, true_hours=10.0, world=HONEST, refusals=(), trace="wide_fn_01"):
    return RehearsalRow(
        world=world,
        number=number,
        trace=trace,
        ran="fixed",
        tried="slo",
        refusals=refusals,
        hours=Spread(value=10.0, deviation=1.0, freedom=7.0),
        late=Spread(value=50.0, deviation=10.0, freedom=7.0),
        requests=1000.0,
        true_hours=true_hours,
        true_late=55.0,
        true_requests=1000.0,
    )


def test_a_factor_is_the_smallest_with_which_enough_intervals_cover():
    rows = [row(number, true_hours=10.0 + 0.3 * number) for number in range(20)]
    factor = chosen_factor(rows, covers_hours)
    assert sum(covers_hours(each, factor) for each in rows) == 19
    assert sum(covers_hours(each, factor - 0.1) for each in rows) < 19
    assert chosen_factor(rows, covers_attainment) < factor


def test_a_family_is_left_out_when_the_factor_is_chosen_on_the_others():
    inside = [row(number, trace=f"wide_client_{number:02}") for number in range(20)]
    outside = [row(number, trace="wide_fn_01", true_hours=16.0) for number in range(20, 24)]
    tried, covered, factor = left_out(inside + outside, covers_hours, "functions 0 to 9")
    assert (tried, covered) == (4, 0)
    assert factor == chosen_factor(inside, covers_hours)


def test_the_section_has_coverage_and_refusals():
    rows = [row(0), row(1, trace="wide_client_01"), row(2, refusals=("node n is slow",))]
    rows += [row(3, world=world, refusals=("refused",)) for world in (LOADED, SLOW)]
    text = section_of(rows)
    assert "Of 3 rehearsals, 2 had a verdict" in " ".join(text.split())
    assert "1 of 3" in text
    assert text.count("100.0%") >= 6


def test_finished_rehearsals_are_read_again(tmp_path):
    path = tmp_path / "rows.jsonl"
    assert finished(path) == []
    path.write_bytes(msgspec.json.encode(row()) + b"\n")
    assert finished(path) == [row()]


def test_what_a_slow_node_serves_is_refused_and_what_equal_nodes_serve_is_predicted():
    (source,) = find_traces(["diurnal"])
    pair = next(n for n, pair in enumerate(rehearsals.PAIRS) if pair == ("fixed", "adaptive"))
    for world, refused in ((HONEST, False), (SLOW, True)):
        planned = rehearsals.rehearsals(world, pair + 1, [source] * 6)[pair]
        (found,) = rehearse(planned)
        assert bool(found.refusals) == refused, found.refusals
        if world == HONEST:
            assert covers_hours(found, HOURS_INFLATION)
            assert covers_attainment(found, LATE_INFLATION)


@pytest.mark.deep
def test_intervals_cover_what_then_happens_on_recorded_loads():
    sources = find_traces([str(shared("traces-wide"))])
    rows = [row for each in rehearsals.rehearsals(HONEST, 24, sources) for row in rehearse(each)]
    judged = [row for row in rows if not row.refusals]
    assert len(judged) >= 21
    assert sum(covers_hours(each, HOURS_INFLATION) for each in judged) >= len(judged) - 3
    assert sum(covers_attainment(each, LATE_INFLATION) for each in judged) >= len(judged) - 3


@pytest.mark.deep
def test_verdicts_are_refused_where_service_times_depend_on_the_load():
    sources = find_traces([str(shared("traces-wide"))])
    rows = [row for each in rehearsals.rehearsals(LOADED, 24, sources) for row in rehearse(each)]
    assert sum(bool(each.refusals) for each in rows) >= 21
