"""A deployment at zero, scaled by adaptive allocations or stopped by the daemon."""

import pytest

from autoscaler.adapters.calendar import CronCalendar
from autoscaler.backtest.bounds_driver import BoundsDriver
from autoscaler.backtest.drivers import PlanDriver, drive
from autoscaler.backtest.world.kernel import COMPLETED, LOST, REJECTED, TIMED_OUT
from autoscaler.backtest.world.plant import Plant
from autoscaler.config.document import ScaleToZeroTable, ScalingTable, ScheduleTable
from autoscaler.config.rules import build_rule
from autoscaler.core.flow.planning import MAX_INTERVAL_POLLS, Ruleset
from autoscaler.core.policies import UtilisationPolicy
from autoscaler.core.values import AdaptiveAllocations
from autoscaler.simulation.adaptive_allocations_service import TICK_S
from autoscaler.simulation.errors import SimulatedApiError
from tests.backtest.workloads import scenario, workload

VERSION = "8.16.0"  # scales to zero after 15 minutes


ONE_O_CLOCK = ScheduleTable(
    name="day", cron="0 1 * * *", timezone="UTC", length="1h", min_allocations=1
)


def spans(plant):
    """The requested and the running allocations, by seconds since the start."""
    start, _ = plant.span
    return [(round(at - start, 6), *counts) for at, *counts in plant.allocation_spans[1:]]


def at_zero(requests, **given):
    """A plant whose adaptive allocations have removed the only allocation."""
    scene = scenario(version=VERSION, **given)
    plant = Plant(scene, requests, allocations=1)
    plant.enable_adaptive_allocations(0, 4)
    while plant.requested:
        plant.advance(plant.now + TICK_S)
        plant.run_adaptive_scaler()
    plant.advance(plant.now + 1.0)
    assert plant.running == 0
    return plant


class TestAdaptive:
    RESUMED = 1100.0  # after scale to zero

    def test_the_first_request_scales_up_and_waits_for_the_process(self):
        requests = workload([0.0, self.RESUMED, self.RESUMED + 5.0], 0.5, duration_s=2000.0)
        plant = at_zero(requests, load_s=20.0, timeout_s=60.0)
        plant.advance(plant.span[0] + self.RESUMED + 100.0)
        assert spans(plant)[-2:] == [(self.RESUMED, 1, 0), (self.RESUMED + 20.0, 1, 1)]
        plant.finish()
        assert plant.fleet.outcomes.tolist() == [COMPLETED] * 3
        assert plant.fleet.waits_s.tolist() == pytest.approx([0.0, 20.0, 15.5])

    def test_requests_time_out_while_the_model_loads(self):
        requests = workload([0.0, self.RESUMED, self.RESUMED + 15.0], 0.5, duration_s=2000.0)
        plant = at_zero(requests, load_s=20.0, timeout_s=10.0)
        plant.finish()
        assert plant.fleet.outcomes.tolist() == [COMPLETED, TIMED_OUT, COMPLETED]
        # The process never sees the request that timed out before it was ready.
        assert sum(node.timeouts for node in plant.statistics().nodes) == 0

    def test_at_most_99_requests_wait(self):
        """Those that gave up do not count: of each 110 within ten seconds, 99 may wait."""
        burst = [self.RESUMED + 0.01 * number for number in range(110)]
        again = [at + 15.0 for at in burst]
        requests = workload([0.0, *burst, *again], 0.001, duration_s=2000.0)
        plant = at_zero(requests, load_s=20.0, timeout_s=10.0)
        plant.finish()
        outcomes = plant.fleet.outcomes.tolist()
        assert outcomes[1:111] == [TIMED_OUT] * 99 + [REJECTED] * 11
        assert outcomes[111:] == [COMPLETED] * 99 + [REJECTED] * 11

    def test_a_retry_scales_up_too(self):
        requests = workload([0.0, self.RESUMED], 0.5, duration_s=2000.0, retry_draw=[1.0, 0.0])
        plant = at_zero(requests, load_s=20.0, timeout_s=15.0, retry_share=1.0, retry_after_s=1.0)
        plant.finish()
        assert plant.fleet.outcomes.tolist() == [COMPLETED, TIMED_OUT]
        assert plant.fleet.retries == 1
        assert plant.totals().completed == 2

    def test_without_a_minimum_of_zero_requests_fail_until_the_process_is_ready(self):
        requests = workload([0.0, self.RESUMED + 5.0, self.RESUMED + 30.0], 0.5, duration_s=2000.0)
        plant = at_zero(requests, load_s=20.0, timeout_s=60.0)
        plant.advance(plant.span[0] + self.RESUMED)
        plant.enable_adaptive_allocations(1, 4)
        plant.set_allocations(1)
        plant.finish()
        assert plant.fleet.outcomes.tolist() == [COMPLETED, LOST, COMPLETED]

    def test_a_second_time(self):
        requests = workload([0.0, self.RESUMED, 3 * self.RESUMED], 0.5, duration_s=4000.0)
        plant = at_zero(requests, load_s=20.0, timeout_s=60.0)
        while plant.now < plant.span[1]:
            plant.advance(plant.now + TICK_S)
            plant.run_adaptive_scaler()
        plant.finish()
        assert plant.fleet.outcomes.tolist() == [COMPLETED] * 3
        assert [span[1:] for span in spans(plant)].count((0, 0)) == 2


class TestStop:
    def test_requests_fail_until_it_is_started_again(self):
        requests = workload([1.0, 9.9, 20.0, 70.0, 95.0], 0.5, duration_s=200.0)
        plant = Plant(scenario(load_s=20.0), requests, allocations=2)
        start, _ = plant.span
        plant.advance(start + 10.0)
        plant.stop()
        assert plant.observation().deployments == {}
        assert (plant.requested, plant.running) == (0, 0)
        plant.advance(start + 60.0)
        plant.start(3, AdaptiveAllocations(enabled=True, minimum=1, maximum=4))
        assert plant.statistics().adaptive.maximum == 4
        plant.finish()
        assert plant.fleet.outcomes.tolist() == [COMPLETED, LOST, LOST, LOST, COMPLETED]
        assert spans(plant) == [(10.0, 0, 0), (60.0, 3, 0), (80.0, 3, 3)]

    def test_a_start_that_does_not_fit_leaves_it_stopped(self):
        plant = Plant(scenario(), workload([0.0], 0.1, duration_s=100.0), allocations=1)
        plant.stop()
        with pytest.raises(SimulatedApiError):
            plant.start(99, None)
        assert (plant.requested, plant.observation().deployments) == (0, {})


class TestTheDaemon:
    def ruleset(self, via, **given):
        zero = ScaleToZeroTable(after="5m", via=via)
        scaling = ScalingTable(scale_to_zero=zero, max_allocations=4, **given)
        policy = UtilisationPolicy(target=0.7, load_window_s=60.0)
        rule = build_rule(scaling, policy, name="zero")
        return Ruleset(rules=(rule,), max_interval_s=MAX_INTERVAL_POLLS * 10.0)

    def test_stops_an_idle_deployment_and_starts_it_when_a_schedule_opens(self):
        requests = workload([0.0, 1800.0, 4200.0], 0.5, duration_s=5000.0)
        plant = Plant(scenario(load_s=20.0), requests, allocations=1)
        ruleset = self.ruleset("stop", schedules=[ONE_O_CLOCK])
        driver = PlanDriver(ruleset, 10.0, CronCalendar().open_at)
        drive(plant, driver)
        assert plant.fleet.outcomes.tolist() == [COMPLETED, LOST, COMPLETED]
        stopped, started, ready = [at for at, *_ in spans(plant)]
        assert 300.0 <= stopped < 400.0
        assert (started, ready) == (3600.0, 3620.0)
        assert driver.refused == 0

    def test_lets_adaptive_allocations_scale_to_zero(self):
        # They do so after a day in 9.4, the first minor in which every patch keeps what is at zero.
        requests = workload([0.0, 88_000.0], 0.5, duration_s=89_000.0)
        plant = Plant(
            scenario(version="9.4.0", load_s=20.0, timeout_s=60.0), requests, allocations=1
        )
        driver = BoundsDriver(self.ruleset("adaptive", mode="bounds"), 10.0, minimum=1, maximum=4)
        drive(plant, driver)
        assert (0, 0) in [span[1:] for span in spans(plant)]
        assert plant.fleet.outcomes.tolist() == [COMPLETED, COMPLETED]
        assert plant.fleet.waits_s[1] == pytest.approx(20.0)
