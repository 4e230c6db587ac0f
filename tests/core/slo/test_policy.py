"""The policy `slo` poll by poll: its recommendations, its recomputations and its inputs."""

from itertools import pairwise

import numpy as np
import pytest
from msgspec.structs import replace

from autoscaler.core.policies import MAX_ALLOCATIONS, Situation
from autoscaler.core.slo.objective import SloObjective
from autoscaler.core.slo.policy import MAX_RECOMPUTE_INTERVAL_S, SloPolicy
from autoscaler.core.values import Callers, LoadEstimate, NodeStats, Reason, Sample

SERVICE_S = 0.1
POLL_S = 10.0
MINUTE_S = 60.0


class Watch:
    """A deployment polled every ten seconds; a test sets its nodes and counts."""

    def __init__(
        self,
        *allocations,
        free=None,
        interval_s=POLL_S,
        service_time_s=SERVICE_S,
        max_allocations=MAX_ALLOCATIONS,
        **slo,
    ):
        self.max_allocations = max_allocations
        self.policy = SloPolicy(**slo)
        self.memory = self.policy.begin()
        self.nodes = list(allocations or (2,))
        self.requested = sum(self.nodes)
        self.free = free if free is not None else {"n1": 64}
        self.interval_s, self.service_time_s, self.at = interval_s, service_time_s, 0.0
        self.in_flight = 0
        self.callers = Callers.UNKNOWN

    def poll(self, arrivals=0, *, hits=0, failed=0, timeouts=0, in_flight=0, threads=1, **given):
        """The step after an interval with these arrivals; `in_flight` requests are left."""
        self.at += self.interval_s
        completed = arrivals - failed - (in_flight - self.in_flight)
        self.in_flight = in_flight
        timed = completed - hits
        queues = [in_flight // len(self.nodes)] * len(self.nodes)
        sample = Sample(
            at=self.at,
            interval_s=self.interval_s,
            completed=completed,
            cache_hits=hits,
            failed=failed,
            timeouts=timeouts,
            queue_growth=arrivals - failed - completed,
            busy_s=timed * self.service_time_s,
            timed=timed,
            timed_busy_s=timed * (self.service_time_s - 0.0005),
            in_flight=in_flight,
        )
        load = LoadEstimate(
            arrival_rate_per_s=arrivals / self.interval_s,
            throughput_per_s=completed / self.interval_s,
            service_time_s=self.service_time_s if timed else None,
            cache_hit_fraction=hits / completed if completed else 0.0,
            in_flight=in_flight,
            window_s=60.0,
        )
        self.situation = Situation(
            at=self.at,
            current=self.requested,
            running=sum(self.nodes),
            sample=sample,
            load=load,
            in_flight=(in_flight,),
            nodes=tuple(
                NodeStats(f"n{place}", "started", allocations=allocations, pending=queue)
                for place, (allocations, queue) in enumerate(
                    zip(self.nodes, queues, strict=True), start=1
                )
            ),
            threads=threads,
            max_allocations=self.max_allocations,
            free_threads=self.free,
            callers=self.callers,
            **given,
        )
        self.step, self.memory = self.policy.recommend(self.situation, self.memory)
        return self.step

    def polls(self, count, arrivals=0, **given):
        return [self.poll(arrivals, **given) for _ in range(count)]

    def scale(self, *nodes):
        """Sets the requested and running allocations of each node."""
        self.nodes, self.requested = list(nodes), sum(nodes)

    def settle(self, arrivals, polls=30):
        """Polls with one node, whose allocations follow the recommendation."""
        for _ in range(polls):
            self.scale(max(1, self.poll(arrivals).after))
        return self.requested


class TestPreventableViolations:
    """A higher weight prevents only violations for which more allocations could have been ready."""

    def flash(self, watch, queued):
        """A queue that a poll shows, and that passes at once."""
        before = watch.step.inputs["violation_weight"]
        watch.scale(max(1, watch.poll(100 + queued, in_flight=queued).after))
        watch.scale(max(1, watch.poll(100).after))
        watch.settle(100, polls=3)
        return before, watch.step

    def watch(self):
        watch = Watch(2)
        watch.settle(100, polls=360)
        return watch

    def test_those_of_a_first_flash_are_not(self):
        before, step = self.flash(self.watch(), queued=2000)
        assert step.inputs["slo_attainment"] < 1.0
        assert step.inputs["preventable_fraction"] < 0.5
        assert step.inputs["violation_weight"] < 20.0 * before

    def test_those_of_a_queue_at_a_steady_load_are(self):
        watch = self.watch()
        before = watch.step.inputs["violation_weight"]
        for _ in range(6):
            watch.poll(100, in_flight=30)
        assert watch.step.inputs["preventable_fraction"] > 0.9
        assert watch.step.inputs["violation_weight"] > 2.0 * before


class TestBacklogs:
    def test_requests_beyond_the_caller_timeout_do_not_count(self):
        steps = []
        for timeout_s in (10.0, 1000.0):
            watch = Watch(4, caller_timeout_s=timeout_s)
            watch.polls(30, 300)
            steps.append(watch.poll(300, in_flight=3000))
        patient, impatient = steps[1], steps[0]
        assert impatient.inputs["backlog_requests"] == pytest.approx(300, rel=0.05)
        assert patient.inputs["backlog_requests"] == 2996.0
        assert patient.after > impatient.after

    def test_the_allocations_that_drain_it_are_an_input(self):
        watch = Watch(4, caller_timeout_s=1000.0)
        watch.polls(30, 300)
        step = watch.poll(300, in_flight=2000)
        assert step.inputs["backlog_allocations"] == step.after
        assert step.after == pytest.approx(3.0 + 1996 * SERVICE_S / 30.0, abs=1.0)

    def test_it_takes_more_allocations_the_less_time_is_left(self):
        watch = Watch(4, caller_timeout_s=1000.0)
        watch.polls(30, 300)
        counts = [watch.poll(300, in_flight=2000).after for _ in range(3)]
        assert counts == sorted(set(counts))

    def test_a_few_queued_requests_are_not_a_backlog(self):
        watch = Watch(4)
        watch.polls(30, 300)
        assert "backlog_requests" not in watch.poll(300, in_flight=5).inputs


class TestSlo:
    def test_it_is_among_the_inputs(self):
        watch = Watch(objective=SloObjective(target=0.95, wait_s=0.3))
        inputs = watch.polls(3, 100)[-1].inputs
        assert (inputs["slo_target"], inputs["max_queue_wait_s"]) == (0.95, 0.3)
        assert inputs["offered_load"] == pytest.approx(1.0, rel=0.1)
        assert inputs["slo_attainment"] == 1.0

    def test_a_latency_leaves_a_max_queue_wait(self):
        watch = Watch(objective=SloObjective(target=0.95, latency_s=0.6))
        assert 0.1 < watch.polls(3, 100)[-1].inputs["max_queue_wait_s"] < 0.5

    def test_a_latency_below_the_service_time_is_unreachable(self):
        """The cost still limits the queue wait."""
        watch = Watch(objective=SloObjective(latency_s=0.05))
        step = watch.polls(3, 100)[-1]
        assert step.reason is Reason.SLO
        assert step.inputs["max_queue_wait_s"] == 0.0
        assert str(step.inputs["slo_unreachable"]).startswith("unreachable")
        assert 2 <= step.after <= 10

    def test_a_latency_that_can_be_met_is_not(self):
        assert "slo_unreachable" not in Watch().polls(3, 100)[-1].inputs

    def test_a_higher_target_takes_more_allocations(self):
        targets = (0.9, 0.99, 0.999)
        counts = [Watch(objective=SloObjective(target=p)).settle(800) for p in targets]
        assert counts == sorted(counts)
        assert counts[0] < counts[-1]

    def test_a_longer_max_queue_wait_takes_fewer(self):
        waits_s = (0.05, 0.2, 2.0)
        counts = [Watch(16, objective=SloObjective(wait_s=w)).settle(800) for w in waits_s]
        assert counts == sorted(set(counts), reverse=True)


class TestRecomputation:
    def test_while_arrivals_match_the_prediction_the_step_is_repeated(self):
        watch = Watch(4)
        watch.settle(300)
        steps = watch.polls(60, 300)
        times = sum(later is not earlier for earlier, later in pairwise(steps))
        assert abs(times - 600.0 / MAX_RECOMPUTE_INTERVAL_S) <= 1

    @pytest.mark.parametrize("arrivals", [150, 600, 3000])
    def test_an_unexpected_count_is_recomputed_at_once(self, arrivals):
        watch = Watch(4)
        watch.settle(300)
        watch.polls(2, 300)
        before = watch.poll(300)
        assert watch.poll(300) is before
        step = watch.poll(arrivals)
        assert step is not before
        assert step.inputs["offered_load"] == pytest.approx(arrivals * SERVICE_S / POLL_S, rel=0.2)

    @pytest.mark.parametrize(
        "given", [{"failed": 3}, {"in_flight": 30}], ids=["failures", "a queue"]
    )
    def test_so_are_failures_and_a_queue(self, given):
        watch = Watch(4)
        watch.settle(300)
        watch.polls(2, 300)
        before = watch.poll(300)
        assert watch.poll(300) is before
        assert watch.poll(300, **given) is not before

    def test_so_are_other_allocations(self):
        watch = Watch(4)
        watch.settle(300)
        watch.polls(2, 300)
        before = watch.poll(300)
        watch.scale(watch.requested + 1)
        assert watch.poll(300) is not before

    def test_samples_without_a_recomputation_count_in_the_next_one(self):
        """Their requests as well as their violations."""
        watch = Watch(4)
        watch.settle(300, polls=120)
        drifted = [watch.poll(round(300 + poll / 2)) for poll in range(60)]
        assert drifted[-1].inputs["offered_load"] == pytest.approx(3.25, rel=0.05)

    @pytest.mark.parametrize("seconds", [1.0, 3.0, 9.0])
    def test_a_load_jump_is_sized_from_the_queue(self, seconds):
        """However late in the interval it began: all allocations have been busy since."""
        watch = Watch(4)
        watch.settle(10)
        watch.scale(4)
        watch.polls(30, 10)
        arrived, served = round(10 + 300 * seconds), round(10 + 40 * seconds)
        step = watch.poll(arrived, in_flight=arrived - served)
        assert step.inputs["offered_load"] == pytest.approx(30.0, rel=0.15)

    def test_without_a_queue_a_load_jump_lasted_the_whole_interval(self):
        watch = Watch(4)
        watch.settle(100)
        watch.scale(4)
        watch.polls(30, 100)
        step = watch.poll(300, in_flight=3)
        assert step.inputs["offered_load"] == pytest.approx(3.0, rel=0.15)

    def test_so_did_one_on_busy_allocations(self):
        """They were saturated during the whole interval."""
        watch = Watch(4)
        watch.polls(30, 300)
        step = watch.poll(800, in_flight=400)
        assert step.inputs["offered_load"] == pytest.approx(8.0, rel=0.15)

    def test_the_same_samples_give_the_same_steps(self):
        def steps():
            rng = np.random.default_rng(3)
            watch = Watch(4)
            return [
                watch.poll(int(count), in_flight=int(count) % 7) for count in rng.poisson(200, 99)
            ]

        assert steps() == steps()


class TestNodes:
    def test_it_first_fills_the_node_in_use_and_then_adds_one(self):
        watch = Watch(2, free={"n1": 2, "n2": 8})
        watch.polls(30, 80)
        assert watch.poll(600).after == 4, "what fits at once"
        watch.scale(4)
        watch.free = {"n1": 0, "n2": 8}
        assert watch.poll(600).after > 6, "what the load needs"

    def test_a_deployment_on_more_nodes_gets_more(self):
        pooled, spread = Watch(12), Watch(3, 3, 3, 3, free={f"n{n}": 9 for n in range(1, 5)})
        for watch in (pooled, spread):
            watch.polls(30, 800)
        assert spread.poll(800).after > pooled.poll(800).after

    def test_free_threads_are_divided_by_the_threads_of_an_allocation(self):
        watch = Watch(2, free={"n1": 4, "n2": 32})
        watch.polls(30, 80, threads=2)
        assert watch.poll(800, threads=2).after == 4

    def test_without_a_report_about_the_nodes_there_is_no_limit(self):
        watch = Watch(2, free={})
        watch.polls(30, 80)
        assert watch.poll(800).after > 8


class TestForecasts:
    def test_accuracy_and_coverage_are_stated_after_three_hours(self):
        """And no forecast, which is trusted after a day at the earliest."""
        watch = Watch(4, interval_s=60.0, free={"n1": 64, "n2": 64})
        first = watch.poll(600)
        step = watch.polls(180, 600)[-1]
        assert not {"forecast_accuracy", "forecast_coverage"} & set(first.inputs)
        assert 0.9 < step.inputs["forecast_coverage"] <= 1.0
        assert "forecast_accuracy" in step.inputs
        assert "forecast_load" not in step.inputs


class TestCandidates:
    @pytest.mark.parametrize("arrivals", [5, 50, 300, 2000])
    def test_they_include_the_choice_its_neighbours_and_the_current_allocations(self, arrivals):
        watch = Watch(5)
        for _ in range(40):
            step = watch.poll(arrivals)
            shown = {each.allocations for each in step.candidates}
            assert shown >= {step.after, step.after + 1, step.before}
            assert step.after == 1 or step.after - 1 in shown
            watch.scale(step.after)

    @pytest.mark.parametrize("arrivals", [5, 50, 300, 2000])
    def test_the_choice_is_the_cheapest_unless_a_change_saves_too_little(self, arrivals):
        rng = np.random.default_rng(arrivals)
        watch = Watch(5)
        for count in rng.poisson(arrivals, 200):
            step = watch.poll(int(count))
            costs = {each.allocations: each.cost for each in step.candidates}
            if step.after != step.before:
                assert costs[step.after] == min(costs.values())
            else:
                # No candidate saves more than the threshold of a change.
                assert costs[step.after] - min(costs.values()) < 0.1 + 20.0 / MINUTE_S * 6.0
            watch.scale(step.after)

    def test_a_backlog_leads_to_a_costlier_one(self):
        watch = Watch(4, caller_timeout_s=1000.0)
        watch.polls(30, 300)
        step = watch.poll(300, in_flight=2000)
        costs = {each.allocations: each.cost for each in step.candidates}
        assert costs[step.after] > min(costs.values())
        assert step.inputs["backlog_allocations"] == step.after

    def test_violations_and_waits_fall_with_the_allocations(self):
        watch = Watch(5)
        found = watch.polls(10, 380)[-1].candidates
        assert [each.allocations for each in found] == sorted(each.allocations for each in found)
        for field in ("violation_fraction", "queue_wait_s"):
            values = [getattr(each, field) for each in found]
            assert values == sorted(values, reverse=True)


class TestMeasuring:
    def test_before_a_service_time_is_measured_the_allocations_are_held(self):
        step = Watch(4).poll(0)
        assert (step.reason, step.after) == (Reason.NOT_MEASURED, 4)

    def test_after_the_first_interval_there_is_a_recommendation(self):
        step = Watch(4).poll(200)
        assert step.reason is Reason.SLO
        assert 3 <= step.after <= 6

    def test_an_interval_of_zero_seconds_changes_nothing(self):
        watch = Watch(4)
        watch.polls(10, 300)
        now = watch.situation
        sample = replace(now.sample, interval_s=0.0)
        step, memory = watch.policy.recommend(replace(now, sample=sample), watch.memory)
        assert (step.reason, step.after) == (Reason.NOT_MEASURED, 4)
        assert memory is watch.memory

    def test_cache_hits_need_no_allocation(self):
        half, all_of_them = Watch(4), Watch(4)
        half.polls(30, 1000, hits=700)
        all_of_them.polls(30, 300)
        assert half.step.after == all_of_them.step.after
        assert half.step.inputs["offered_load"] == pytest.approx(3.0, rel=0.05)

    def test_without_requests_one_is_recommended(self):
        watch = Watch(4)
        watch.polls(10, 300)
        assert watch.polls(400)[-1].after == 1

    def test_the_load_does_not_depend_on_the_poll_interval(self):
        often, seldom = Watch(4, interval_s=5.0), Watch(4, interval_s=30.0)
        assert often.polls(120, 150)[-1].inputs["offered_load"] == pytest.approx(
            seldom.polls(20, 900)[-1].inputs["offered_load"], rel=0.05
        )


class TestViolationWeight:
    def test_it_rises_while_too_many_are_late(self):
        watch = Watch(4)
        watch.polls(30, 300)
        before = watch.step.inputs["violation_weight"]
        watch.polls(180, 300, in_flight=40)
        assert watch.step.inputs["violation_weight"] > 1.5 * before
        assert watch.step.inputs["slo_attainment"] < 0.99

    def test_it_falls_without_violations(self):
        watch = Watch(4)
        watch.polls(30, 300)
        before = watch.step.inputs["violation_weight"]
        watch.polls(1080, 300)
        assert watch.step.inputs["violation_weight"] < 0.5 * before

    def test_failed_requests_are_violations(self):
        watch = Watch(4)
        watch.polls(30, 300)
        watch.polls(30, 300, failed=30)
        assert watch.step.inputs["slo_attainment"] == pytest.approx(0.95, abs=0.01)


class TestCostCurve:
    def test_it_is_what_the_candidates_were_compared_by(self):
        watch = Watch(4)
        watch.settle(300)
        step = watch.poll(900)
        curve = watch.policy.cost_curve(watch.situation, watch.memory)
        assert [curve(each.allocations) for each in step.candidates] == pytest.approx(
            [each.cost for each in step.candidates], rel=1e-6
        )

    def test_there_is_none_before_anything_was_measured(self):
        watch = Watch(4)
        watch.poll(0)
        assert watch.policy.cost_curve(watch.situation, watch.memory) is None


def test_allocations_added_within_the_interval_of_a_jump_do_not_raise_the_load():
    """They have worked for a part of it only, so the work done does not show when it began."""
    loads = []
    for added in (1, 4):
        watch = Watch(1, max_allocations=24)
        watch.polls(30, 2)
        watch.poll(2)
        watch.scale(added)
        step = watch.poll(200, in_flight=110)  # 90 completed: one allocation was busy
        loads.append(step.inputs["offered_load"])
    assert loads[1] == pytest.approx(loads[0], rel=0.1)
    assert loads[1] < 2.5
