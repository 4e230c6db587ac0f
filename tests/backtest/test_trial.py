"""Everybody is put to the test, and what comes of it is a row."""

import math
from itertools import pairwise

import msgspec
import numpy as np
import pytest
from msgspec.structs import replace

from autoscaler.backtest.policy_specs import POLICY_SPECS
from autoscaler.backtest.results.file import Results, to_json
from autoscaler.backtest.trial import TIMELINE_STEP_S, TrialRunner, TrialSpec
from autoscaler.backtest.world.workload import LoadHistory
from tests.backtest.workloads import demand, scenario

MINUTES = 16
STATIC = ("static-peak", "static-mean")

every_one = pytest.mark.parametrize("name", POLICY_SPECS)


def rising(erlangs, minutes=MINUTES, *, seed=1, past=None):
    """From idle to twice so many erlangs and back, in requests of half a second."""
    seconds = 60.0 * minutes
    rng = np.random.default_rng(seed)
    candidates = np.sort(rng.random(rng.poisson(4.0 * erlangs * seconds)) * seconds)
    kept = rng.random(len(candidates)) < np.sin(np.pi * candidates / seconds) ** 2
    at = candidates[kept]
    work_s = rng.lognormal(math.log(0.5) - 0.2, 0.63, len(at))
    return demand(at, work_s, duration_s=seconds, seed=seed, past=past)


def scene(nodes=1, **given):
    """Twelve processors on so many nodes."""
    size = 12 // nodes
    fields = {"service_time_s": 0.5, "slo_wait_s": 1.0, "retry_share": 0.5, "load_s": 20.0}
    fields |= {"nodes": nodes, "processors": size, "physical_cores": size, "max_allocations": 12}
    return scenario(**fields | given)


def fresh_arena(nodes):
    return TrialRunner(scene(nodes), rising(3.0), seed=4)


@pytest.fixture(scope="module")
def arenas():
    return {nodes: fresh_arena(nodes) for nodes in (1, 3)}


@pytest.fixture(params=[1, 3], ids=["one node", "three nodes"], scope="module")
def nodes(request):
    return request.param


@pytest.fixture
def arena(arenas, nodes):
    return arenas[nodes]


def row_of(arena, name, value=None):
    return arena.run(TrialSpec(policy=name, value=value)).row


@every_one
def test_everybody_gets_a_row_of_figures(arena, name):
    contestant = POLICY_SPECS[name]
    row = row_of(arena, name)
    results = Results(program="p", command="c", made_at="now", scenarios={}, rows=(row,))
    assert msgspec.json.decode(to_json(results))["rows"] == [msgspec.to_builtins(row)]
    assert (row.trace, row.scenario, row.policy, row.seed) == ("made", scene().name, name, 4)
    assert row.default
    assert row.setting == contestant.setting(contestant.default)
    assert row.requests == len(rising(3.0).at)
    assert 0 <= row.rejected + row.timed_out <= row.violations <= row.requests
    assert row.violation_fraction == row.violations / row.requests
    assert row.violation_minutes <= MINUTES
    assert row.reversals <= max(0, row.changes - 1)
    hours = MINUTES / 60.0
    assert hours <= row.allocation_hours <= 12.0 * hours
    assert hours <= row.running_allocation_hours <= 12.0 * hours
    assert row.simulated_s == 60.0 * MINUTES
    assert row.elapsed_s > 0.0


@every_one
def test_everybody_does_the_same_again(nodes, arena, name):
    """What was tried before has no influence, neither on others nor on the same."""
    rows = [row_of(each, name) for each in (arena, arena, fresh_arena(nodes))]
    one, other, afresh = (replace(row, elapsed_s=0.0) for row in rows)
    assert one == other == afresh


@pytest.mark.parametrize("name", STATIC)
@pytest.mark.parametrize("multiple", [0.6, 1.0, 1.6])
def test_a_fixed_number_is_never_changed(arena, name, multiple):
    row = row_of(arena, name, multiple)
    assert (row.changes, row.reversals, row.refused_updates) == (0, 0, 0)
    number = row.allocation_hours / (MINUTES / 60.0)
    assert number == pytest.approx(round(number))
    assert row.running_allocation_hours == row.allocation_hours


@pytest.mark.parametrize("name", [name for name in POLICY_SPECS if name not in STATIC])
def test_everybody_else_does_something_about_a_changing_load(arena, name):
    assert row_of(arena, name).changes > 0


class TestClairvoyant:
    @pytest.mark.parametrize("share", [0.95, 0.99, 0.999])
    def test_it_holds_every_share_that_a_fixed_number_holds(self, nodes, share):
        """All processors all the time would be enough for any of these."""
        assert row_of(fresh_arena(nodes), "static-peak", 9.0).violation_fraction < 0.001
        row = row_of(fresh_arena(nodes), "oracle", share)
        assert row.violation_fraction <= 1.0 - share
        assert row.setting == f"share={share:g}"
        assert row.default == (share == 0.99)

    def test_for_a_smaller_share_it_takes_no_more(self, nodes):
        """It finds the best but for a few per cent."""
        shares = (0.95, 0.98, 0.99, 0.995)
        hours = [row_of(fresh_arena(nodes), "oracle", each).allocation_hours for each in shares]
        for less, more in pairwise(hours):
            assert less <= 1.02 * more

    def test_what_it_searched_for_before_does_not_matter(self, nodes):
        alone, after = fresh_arena(nodes), fresh_arena(nodes)
        row_of(after, "oracle", 0.95)
        rows = [replace(row_of(arena, "oracle"), elapsed_s=0.0) for arena in (alone, after)]
        assert rows[0] == rows[1]

    def test_nobody_who_holds_the_share_takes_less(self, arena):
        rows = [row_of(arena, name) for name in POLICY_SPECS]
        holding = {
            row.policy: row.allocation_hours for row in rows if row.violation_fraction <= 0.01
        }
        assert min(holding, key=holding.__getitem__) == "oracle"

    def test_as_shipped_it_holds_what_the_scenario_promises_and_says_so(self):
        row = row_of(TrialRunner(scene(slo_target=0.9), rising(3.0), seed=1), "oracle")
        assert 0.01 < row.violation_fraction <= 0.1
        assert row.default
        assert row.setting == "share=0.9"


class TestSettings:
    def test_a_setting_is_told_and_is_no_default(self, arenas):
        row = row_of(arenas[1], "hpa", 0.4)
        assert (row.setting, row.default) == ("target=0.4", False)
        assert row.allocation_hours > row_of(arenas[1], "hpa").allocation_hours

    def test_the_default_by_its_value_is_the_default(self, arenas):
        row, shipped = row_of(arenas[1], "utilisation", 0.7), row_of(arenas[1], "utilisation")
        assert replace(row, elapsed_s=0.0) == replace(shipped, elapsed_s=0.0)

    @pytest.mark.parametrize("name", ["adaptive-8.16", "adaptive-9"])
    def test_what_has_no_knob_has_no_setting(self, arenas, name):
        assert row_of(arenas[1], name).setting == ""


class TestBeginnings:
    """Ten minutes at three erlangs make 3 / 0.7 allocations."""

    LOAD = demand(np.arange(0.0, 900.0, 0.25), 0.75, duration_s=900.0)

    def held(self, policy, **given):
        """By somebody who does not look again before the end."""
        row = row_of(TrialRunner(scene(poll_interval_s=3600.0, **given), self.LOAD, seed=1), policy)
        assert row.changes == 0
        return round(row.allocation_hours * 4.0)

    def test_one_begins_with_what_suits_the_load(self):
        assert self.held("utilisation") == 5

    def test_one_begins_within_the_bounds(self):
        assert self.held("utilisation", max_allocations=3) == 3
        assert self.held("utilisation", min_allocations=8) == 8
        assert self.held("static-peak", max_allocations=2) == 2


RECALLING = ("aws-predictive", "gcp-predictive", "predictive-hpa-holt-winters")


@pytest.fixture(scope="module")
def arena_without_and_with():
    """A quiet quarter of an hour; and the same after five days in which this hour was a busy one.

    The run begins at midnight, and so does the past.
    """
    hour = np.arange(5 * 1440) % 1440 // 60
    arrivals = np.where(hour == 0, 8.0, 1.0) * 60.0 / 0.5
    past = LoadHistory(step_s=60.0, arrivals=arrivals.astype(np.int64), service_time_s=0.5)
    return [TrialRunner(scene(), rising(1.0, past=each), seed=1) for each in (None, past)]


class TestPasts:
    @pytest.mark.parametrize("name", RECALLING)
    def test_who_knows_the_past_expects_it_again(self, arena_without_and_with, name):
        without, knowing = (row_of(arena, name) for arena in arena_without_and_with)
        assert knowing.allocation_hours > 1.5 * without.allocation_hours

    @pytest.mark.parametrize("name", [name for name in POLICY_SPECS if name not in RECALLING])
    def test_the_others_do_as_they_would_without(self, arena_without_and_with, name):
        without, knowing = (
            replace(row_of(arena, name), elapsed_s=0.0) for arena in arena_without_and_with
        )
        assert knowing == without


class TestTimelines:
    def test_they_are_made_on_demand(self, arenas):
        assert arenas[1].run(TrialSpec(policy="hpa")).timeline is None

    def test_they_tell_the_same_as_the_row(self, arenas):
        trial = arenas[3].run(TrialSpec(policy="utilisation", with_timeline=True))
        row, course = trial.row, trial.timeline
        assert course.step_s == TIMELINE_STEP_S
        assert len(course.requested) == math.ceil(MINUTES / 5)
        assert sum(course.violations) == row.violations
        lengths_s = [300.0, 300.0, 300.0, 60.0]
        assert np.dot(lengths_s, course.requested) == pytest.approx(
            3600.0 * row.allocation_hours, abs=1.0
        )
