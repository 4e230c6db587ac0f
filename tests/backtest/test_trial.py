"""Every policy can be run, and the result is a row."""

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
from tests.backtest.workloads import scenario, workload

MINUTES = 16
STATIC = ("static-peak", "static-mean")

every_policy = pytest.mark.parametrize("name", POLICY_SPECS)


def rising(erlangs, minutes=MINUTES, *, seed=1, history=None):
    """From idle to twice this load in erlangs and back, in requests of half a second."""
    seconds = 60.0 * minutes
    rng = np.random.default_rng(seed)
    candidates = np.sort(rng.random(rng.poisson(4.0 * erlangs * seconds)) * seconds)
    kept = rng.random(len(candidates)) < np.sin(np.pi * candidates / seconds) ** 2
    at = candidates[kept]
    work_s = rng.lognormal(math.log(0.5) - 0.2, 0.63, len(at))
    return workload(at, work_s, duration_s=seconds, seed=seed, history=history)


def scene(nodes=1, **given):
    """Twelve processors on `nodes` nodes."""
    size = 12 // nodes
    fields = {"service_time_s": 0.5, "slo_wait_s": 1.0, "retry_share": 0.5, "load_s": 20.0}
    fields |= {"nodes": nodes, "processors": size, "physical_cores": size, "max_allocations": 12}
    return scenario(**fields | given)


def fresh_runner(nodes):
    return TrialRunner(scene(nodes), rising(3.0), seed=4)


@pytest.fixture(scope="module")
def runners():
    return {nodes: fresh_runner(nodes) for nodes in (1, 3)}


@pytest.fixture(params=[1, 3], ids=["one node", "three nodes"], scope="module")
def nodes(request):
    return request.param


@pytest.fixture
def runner(runners, nodes):
    return runners[nodes]


def row_of(runner, name, value=None):
    return runner.run(TrialSpec(policy=name, value=value)).row


@every_policy
def test_every_policy_has_a_row_of_figures(runner, name):
    spec = POLICY_SPECS[name]
    row = row_of(runner, name)
    results = Results(program="p", command="c", made_at="now", scenarios={}, rows=(row,))
    written = msgspec.json.decode(to_json(results))
    assert written["rows"] == [msgspec.to_builtins(replace(row, elapsed_s=0.0))]
    assert (row.trace, row.scenario, row.policy, row.seed) == ("made", scene().name, name, 4)
    assert row.default
    assert row.setting == spec.setting(spec.default)
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


@every_policy
def test_a_repeated_run_is_identical(nodes, runner, name):
    """Earlier runs have no influence, neither of other policies nor of the same one."""
    rows = [row_of(each, name) for each in (runner, runner, fresh_runner(nodes))]
    one, other, separate = (replace(row, elapsed_s=0.0) for row in rows)
    assert one == other == separate


@pytest.mark.parametrize("name", STATIC)
@pytest.mark.parametrize("multiple", [0.6, 1.0, 1.6])
def test_fixed_allocations_never_change(runner, name, multiple):
    row = row_of(runner, name, multiple)
    assert (row.changes, row.reversals, row.refused_updates) == (0, 0, 0)
    allocations = row.allocation_hours / (MINUTES / 60.0)
    assert allocations == pytest.approx(round(allocations))
    assert row.running_allocation_hours == row.allocation_hours


@pytest.mark.parametrize("name", [name for name in POLICY_SPECS if name not in STATIC])
def test_all_other_policies_react_to_a_changing_load(runner, name):
    assert row_of(runner, name).changes > 0


class TestOracle:
    @pytest.mark.parametrize("target", [0.95, 0.99, 0.999])
    def test_it_meets_every_target_that_fixed_allocations_meet(self, nodes, target):
        """All processors throughout would be enough for any of these."""
        assert row_of(fresh_runner(nodes), "static-peak", 9.0).violation_fraction < 0.001
        row = row_of(fresh_runner(nodes), "oracle", target)
        assert row.violation_fraction <= 1.0 - target
        assert row.setting == f"slo_target={target:g}"
        assert row.default == (target == 0.99)

    def test_a_lower_target_does_not_cost_more(self, nodes):
        """Within a few per cent of the optimum."""
        targets = (0.95, 0.98, 0.99, 0.995)
        hours = [row_of(fresh_runner(nodes), "oracle", each).allocation_hours for each in targets]
        for less, more in pairwise(hours):
            assert less <= 1.02 * more

    def test_earlier_searches_do_not_matter(self, nodes):
        alone, after = fresh_runner(nodes), fresh_runner(nodes)
        row_of(after, "oracle", 0.95)
        rows = [replace(row_of(runner, "oracle"), elapsed_s=0.0) for runner in (alone, after)]
        assert rows[0] == rows[1]

    def test_no_policy_that_meets_the_target_costs_less(self, runner):
        rows = [row_of(runner, name) for name in POLICY_SPECS]
        meeting = {
            row.policy: row.allocation_hours for row in rows if row.violation_fraction <= 0.01
        }
        assert min(meeting, key=meeting.__getitem__) == "oracle"

    def test_its_default_is_the_target_of_the_scenario(self):
        row = row_of(TrialRunner(scene(slo_target=0.9), rising(3.0), seed=1), "oracle")
        assert 0.01 < row.violation_fraction <= 0.1
        assert row.default
        assert row.setting == "slo_target=0.9"


class TestSettings:
    def test_a_setting_is_in_the_row_and_is_no_default(self, runners):
        row = row_of(runners[1], "hpa", 0.4)
        assert (row.setting, row.default) == ("target=0.4", False)
        assert row.allocation_hours > row_of(runners[1], "hpa").allocation_hours

    def test_the_default_by_its_value_is_the_default(self, runners):
        row, default = row_of(runners[1], "utilisation", 0.7), row_of(runners[1], "utilisation")
        assert replace(row, elapsed_s=0.0) == replace(default, elapsed_s=0.0)

    @pytest.mark.parametrize("name", ["adaptive-8.16", "adaptive-9"])
    def test_a_policy_without_parameter_has_no_setting(self, runners, name):
        assert row_of(runners[1], name).setting == ""


class TestInitialAllocations:
    """Ten minutes at three erlangs make 3 / 0.7 allocations."""

    LOAD = workload(np.arange(0.0, 900.0, 0.25), 0.75, duration_s=900.0)

    def initial(self, policy, **given):
        """The allocations of a run without a second poll."""
        row = row_of(TrialRunner(scene(poll_interval_s=3600.0, **given), self.LOAD, seed=1), policy)
        assert row.changes == 0
        return round(row.allocation_hours * 4.0)

    def test_they_suit_the_load(self):
        assert self.initial("utilisation") == 5

    def test_they_are_within_the_limits(self):
        assert self.initial("utilisation", max_allocations=3) == 3
        assert self.initial("utilisation", min_allocations=8) == 8
        assert self.initial("static-peak", max_allocations=2) == 2


WITH_HISTORY = ("aws-predictive", "gcp-predictive", "predictive-hpa-holt-winters")


@pytest.fixture(scope="module")
def runner_without_and_with():
    """A quiet quarter of an hour, without and with five days in which this hour was busy.

    The run begins at midnight, and so does the history.
    """
    hour = np.arange(5 * 1440) % 1440 // 60
    arrivals = np.where(hour == 0, 8.0, 1.0) * 60.0 / 0.5
    history = LoadHistory(step_s=60.0, arrivals=arrivals.astype(np.int64), service_time_s=0.5)
    return [TrialRunner(scene(), rising(1.0, history=each), seed=1) for each in (None, history)]


class TestHistory:
    @pytest.mark.parametrize("name", WITH_HISTORY)
    def test_a_policy_with_the_history_expects_it_again(self, runner_without_and_with, name):
        without, with_history = (row_of(runner, name) for runner in runner_without_and_with)
        assert with_history.allocation_hours > 1.5 * without.allocation_hours

    @pytest.mark.parametrize("name", [name for name in POLICY_SPECS if name not in WITH_HISTORY])
    def test_other_policies_do_not_use_it(self, runner_without_and_with, name):
        without, with_history = (
            replace(row_of(runner, name), elapsed_s=0.0) for runner in runner_without_and_with
        )
        assert with_history == without


class TestTimelines:
    def test_they_are_made_on_request(self, runners):
        assert runners[1].run(TrialSpec(policy="hpa")).timeline is None

    def test_they_agree_with_the_row(self, runners):
        trial = runners[3].run(TrialSpec(policy="utilisation", with_timeline=True))
        row, timeline = trial.row, trial.timeline
        assert timeline.step_s == TIMELINE_STEP_S
        assert len(timeline.requested) == math.ceil(MINUTES / 5)
        assert sum(timeline.violations) == row.violations
        lengths_s = [300.0, 300.0, 300.0, 60.0]
        assert np.dot(lengths_s, timeline.requested) == pytest.approx(
            3600.0 * row.allocation_hours, abs=1.0
        )
