"""The policy `slo` look by look: what it recommends, when it thinks, and what it says."""

from itertools import pairwise

import numpy as np
import pytest
from msgspec.structs import replace

from autoscaler.core.policies import Situation
from autoscaler.core.slo.objective import SloObjective
from autoscaler.core.slo.policy import MAX_RECOMPUTE_INTERVAL_S, SloPolicy
from autoscaler.core.values import LoadEstimate, NodeStats, Reason, Sample

SERVICE_S = 0.1
POLL_S = 10.0
MINUTE_S = 60.0


class Watch:
    """A deployment whose nodes and counts a test says, looked at every ten seconds."""

    def __init__(self, *allocations, free=None, interval_s=POLL_S, service_time_s=SERVICE_S, **slo):
        self.policy = SloPolicy(**slo)
        self.memory = self.policy.begin()
        self.nodes = list(allocations or (2,))
        self.requested = sum(self.nodes)
        self.free = free if free is not None else {"n1": 64}
        self.interval_s, self.service_time_s, self.at = interval_s, service_time_s, 0.0
        self.pending = 0

    def look(self, arrivals=0, *, hits=0, failed=0, pending=0, threads=1, **given):
        """A step, after so many requests, of which `pending` are here still."""
        self.at += self.interval_s
        completed = arrivals - failed - (pending - self.pending)
        self.pending = pending
        timed = completed - hits
        shares = [pending // len(self.nodes)] * len(self.nodes)
        sample = Sample(
            at=self.at,
            interval_s=self.interval_s,
            completed=completed,
            cache_hits=hits,
            failed=failed,
            queue_growth=arrivals - failed - completed,
            busy_s=timed * self.service_time_s,
            timed=timed,
            timed_busy_s=timed * (self.service_time_s - 0.0005),
            in_flight=pending,
        )
        load = LoadEstimate(
            arrival_rate_per_s=arrivals / self.interval_s,
            throughput_per_s=completed / self.interval_s,
            service_time_s=self.service_time_s if timed else None,
            cache_hit_fraction=hits / completed if completed else 0.0,
            in_flight=pending,
            window_s=60.0,
        )
        self.situation = Situation(
            at=self.at,
            current=self.requested,
            running=sum(self.nodes),
            sample=sample,
            load=load,
            in_flight=(pending,),
            nodes=tuple(
                NodeStats(f"n{place}", "started", allocations=allocations, pending=share)
                for place, (allocations, share) in enumerate(
                    zip(self.nodes, shares, strict=True), start=1
                )
            ),
            threads=threads,
            free_threads=self.free,
            **given,
        )
        self.step, self.memory = self.policy.recommend(self.situation, self.memory)
        return self.step

    def looks(self, count, arrivals=0, **given):
        return [self.look(arrivals, **given) for _ in range(count)]

    def scale(self, *nodes):
        """So many are requested, and serve, on each node."""
        self.nodes, self.requested = list(nodes), sum(nodes)

    def settle(self, arrivals, looks=30):
        """On one node that takes whatever is recommended."""
        for _ in range(looks):
            self.scale(max(1, self.look(arrivals).after))
        return self.requested


class TestBacklogs:
    def test_what_callers_have_given_up_on_is_not_worth_serving(self):
        steps = []
        for timeout_s in (10.0, 1000.0):
            watch = Watch(4, caller_timeout_s=timeout_s)
            watch.looks(30, 300)
            steps.append(watch.look(300, pending=3000))
        patient, impatient = steps[1], steps[0]
        assert impatient.inputs["backlog_requests"] == pytest.approx(300, rel=0.05)
        assert patient.inputs["backlog_requests"] == 2996.0
        assert patient.after > impatient.after

    def test_it_says_what_it_takes_to_clear_them(self):
        watch = Watch(4, caller_timeout_s=1000.0)
        watch.looks(30, 300)
        step = watch.look(300, pending=2000)
        assert step.inputs["backlog_allocations"] == step.after
        assert step.after == pytest.approx(3.0 + 1996 * SERVICE_S / 30.0, abs=1.0)

    def test_the_less_time_is_left_the_more_it_takes(self):
        watch = Watch(4, caller_timeout_s=1000.0)
        watch.looks(30, 300)
        numbers = [watch.look(300, pending=2000).after for _ in range(3)]
        assert numbers == sorted(set(numbers))

    def test_a_few_that_wait_are_none(self):
        watch = Watch(4)
        watch.looks(30, 300)
        assert "backlog_requests" not in watch.look(300, pending=5).inputs


class TestObjectives:
    def test_it_says_what_is_promised(self):
        watch = Watch(objective=SloObjective(target=0.95, wait_s=0.3))
        because = watch.looks(3, 100)[-1].inputs
        assert (because["slo_target"], because["max_queue_wait_s"]) == (0.95, 0.3)
        assert because["offered_load"] == pytest.approx(1.0, rel=0.1)
        assert because["slo_attainment"] == 1.0

    def test_what_is_promised_of_the_latency_leaves_so_much_for_waiting(self):
        watch = Watch(objective=SloObjective(target=0.95, latency_s=0.6))
        assert 0.1 < watch.looks(3, 100)[-1].inputs["max_queue_wait_s"] < 0.5

    def test_a_latency_that_service_alone_exceeds_is_said_to_be_out_of_reach(self):
        """As little waiting as pays is all that can be done."""
        watch = Watch(objective=SloObjective(latency_s=0.05))
        step = watch.looks(3, 100)[-1]
        assert step.reason is Reason.SLO
        assert step.inputs["max_queue_wait_s"] == 0.0
        assert str(step.inputs["slo_unreachable"]).startswith("out of reach")
        assert 2 <= step.after <= 10

    def test_one_that_can_be_kept_is_not(self):
        assert "slo_unreachable" not in Watch().looks(3, 100)[-1].inputs

    def test_a_stricter_one_takes_more(self):
        shares = (0.9, 0.99, 0.999)
        numbers = [Watch(objective=SloObjective(target=p)).settle(800) for p in shares]
        assert numbers == sorted(numbers)
        assert numbers[0] < numbers[-1]

    def test_longer_waits_take_fewer(self):
        waits_s = (0.05, 0.2, 2.0)
        numbers = [Watch(16, objective=SloObjective(wait_s=w)).settle(800) for w in waits_s]
        assert numbers == sorted(set(numbers), reverse=True)


class TestThinking:
    def test_while_nothing_happens_it_repeats_itself(self):
        watch = Watch(4)
        watch.settle(300)
        steps = watch.looks(60, 300)
        times = sum(later is not earlier for earlier, later in pairwise(steps))
        assert abs(times - 600.0 / MAX_RECOMPUTE_INTERVAL_S) <= 1

    @pytest.mark.parametrize("arrivals", [150, 600, 3000])
    def test_a_surprise_makes_it_think_at_once(self, arrivals):
        watch = Watch(4)
        watch.settle(300)
        watch.looks(2, 300)
        before = watch.look(300)
        assert watch.look(300) is before
        step = watch.look(arrivals)
        assert step is not before
        assert step.inputs["offered_load"] == pytest.approx(arrivals * SERVICE_S / POLL_S, rel=0.2)

    @pytest.mark.parametrize("given", [{"failed": 3}, {"pending": 30}], ids=["failures", "a queue"])
    def test_so_does_trouble(self, given):
        watch = Watch(4)
        watch.settle(300)
        watch.looks(2, 300)
        before = watch.look(300)
        assert watch.look(300) is before
        assert watch.look(300, **given) is not before

    def test_so_does_another_number(self):
        watch = Watch(4)
        watch.settle(300)
        watch.looks(2, 300)
        before = watch.look(300)
        watch.scale(watch.requested + 1)
        assert watch.look(300) is not before

    def test_what_was_seen_quietly_is_not_lost(self):
        """Neither requests, nor those among them that were late."""
        watch = Watch(4)
        watch.settle(300, looks=120)
        drifted = [watch.look(round(300 + look / 2)) for look in range(60)]
        assert drifted[-1].inputs["offered_load"] == pytest.approx(3.25, rel=0.05)

    @pytest.mark.parametrize("seconds", [1.0, 3.0, 9.0])
    def test_a_leap_is_as_high_as_it_is_however_late_in_the_interval_it_came(self, seconds):
        """It filled the queue of allocations that were busy for so long."""
        watch = Watch(4)
        watch.settle(10)
        watch.scale(4)
        watch.looks(30, 10)
        came, served = round(10 + 300 * seconds), round(10 + 40 * seconds)
        step = watch.look(came, pending=came - served)
        assert step.inputs["offered_load"] == pytest.approx(30.0, rel=0.15)

    def test_twice_the_load_is_no_leap_while_allocations_are_idle(self):
        watch = Watch(4)
        watch.settle(100)
        watch.scale(4)
        watch.looks(30, 100)
        step = watch.look(300, pending=3)
        assert step.inputs["offered_load"] == pytest.approx(3.0, rel=0.15)

    def test_nor_is_what_allocations_that_were_busy_before_leave_waiting(self):
        """They did all they could in the whole interval, and it was not enough."""
        watch = Watch(4)
        watch.looks(30, 300)
        step = watch.look(800, pending=400)
        assert step.inputs["offered_load"] == pytest.approx(8.0, rel=0.15)

    def test_the_same_looks_have_the_same_consequences(self):
        def steps():
            rng = np.random.default_rng(3)
            watch = Watch(4)
            return [
                watch.look(int(count), pending=int(count) % 7) for count in rng.poisson(200, 99)
            ]

        assert steps() == steps()


class TestNodes:
    def test_it_first_fills_the_node_in_use_and_then_asks_for_a_further_one(self):
        watch = Watch(2, free={"n1": 2, "n2": 8})
        watch.looks(30, 80)
        assert watch.look(600).after == 4, "what fits at once"
        watch.scale(4)
        watch.free = {"n1": 0, "n2": 8}
        assert watch.look(600).after > 6, "what the load needs"

    def test_a_split_deployment_gets_more_than_a_pooled_one(self):
        pooled, split = Watch(12), Watch(3, 3, 3, 3, free={f"n{n}": 9 for n in range(1, 5)})
        for watch in (pooled, split):
            watch.looks(30, 800)
        assert split.look(800).after > pooled.look(800).after

    def test_room_is_counted_in_allocations_of_several_threads(self):
        watch = Watch(2, free={"n1": 4, "n2": 32})
        watch.looks(30, 80, threads=2)
        assert watch.look(800, threads=2).after == 4

    def test_what_the_cluster_has_not_told_is_no_limit(self):
        watch = Watch(2, free={})
        watch.looks(30, 80)
        assert watch.look(800).after > 8


class TestCandidates:
    @pytest.mark.parametrize("arrivals", [5, 50, 300, 2000])
    def test_the_choice_its_neighbours_and_the_present_number_are_shown(self, arrivals):
        watch = Watch(5)
        for _ in range(40):
            step = watch.look(arrivals)
            shown = {each.allocations for each in step.candidates}
            assert shown >= {step.after, step.after + 1, step.before}
            assert step.after == 1 or step.after - 1 in shown
            watch.scale(step.after)

    @pytest.mark.parametrize("arrivals", [5, 50, 300, 2000])
    def test_the_choice_is_the_cheapest_of_them_unless_a_change_would_not_pay(self, arrivals):
        rng = np.random.default_rng(arrivals)
        watch = Watch(5)
        for count in rng.poisson(arrivals, 200):
            step = watch.look(int(count))
            costs = {each.allocations: each.cost for each in step.candidates}
            if step.after != step.before:
                assert costs[step.after] == min(costs.values())
            else:
                # Nothing saves as much as a change itself costs while the load lasts.
                assert costs[step.after] - min(costs.values()) < 0.1 + 20.0 / MINUTE_S * 6.0
            watch.scale(step.after)

    def test_a_backlog_is_a_reason_for_a_dearer_one(self):
        watch = Watch(4, caller_timeout_s=1000.0)
        watch.looks(30, 300)
        step = watch.look(300, pending=2000)
        costs = {each.allocations: each.cost for each in step.candidates}
        assert costs[step.after] > min(costs.values())
        assert step.inputs["backlog_allocations"] == step.after

    def test_more_allocations_make_fewer_late_and_shorter_waits(self):
        watch = Watch(5)
        told = watch.looks(10, 380)[-1].candidates
        assert [each.allocations for each in told] == sorted(each.allocations for each in told)
        for figure in ("violation_fraction", "queue_wait_s"):
            figures = [getattr(each, figure) for each in told]
            assert figures == sorted(figures, reverse=True)


class TestBeginnings:
    def test_before_a_request_was_timed_the_number_is_kept(self):
        step = Watch(4).look(0)
        assert (step.reason, step.after) == (Reason.NOT_MEASURED, 4)

    def test_after_the_first_interval_it_has_an_opinion(self):
        step = Watch(4).look(200)
        assert step.reason is Reason.SLO
        assert 3 <= step.after <= 6

    def test_an_interval_of_no_length_teaches_nothing(self):
        watch = Watch(4)
        watch.looks(10, 300)
        now = watch.situation
        sample = replace(now.sample, interval_s=0.0)
        step, memory = watch.policy.recommend(replace(now, sample=sample), watch.memory)
        assert (step.reason, step.after) == (Reason.NOT_MEASURED, 4)
        assert memory is watch.memory

    def test_requests_that_the_cache_answers_need_no_allocation(self):
        half, all_of_them = Watch(4), Watch(4)
        half.looks(30, 1000, hits=700)
        all_of_them.looks(30, 300)
        assert half.step.after == all_of_them.step.after
        assert half.step.inputs["offered_load"] == pytest.approx(3.0, rel=0.05)

    def test_one_is_enough_for_nothing(self):
        watch = Watch(4)
        watch.looks(10, 300)
        assert watch.looks(400)[-1].after == 1

    def test_longer_polls_are_no_other_load(self):
        often, seldom = Watch(4, interval_s=5.0), Watch(4, interval_s=30.0)
        assert often.looks(120, 150)[-1].inputs["offered_load"] == pytest.approx(
            seldom.looks(20, 900)[-1].inputs["offered_load"], rel=0.05
        )


class TestPrices:
    def test_as_long_as_too_many_are_late_the_price_rises(self):
        watch = Watch(4)
        watch.looks(30, 300)
        before = watch.step.inputs["violation_weight"]
        watch.looks(180, 300, pending=40)
        assert watch.step.inputs["violation_weight"] > 1.5 * before
        assert watch.step.inputs["slo_attainment"] < 0.99

    def test_as_long_as_nobody_is_it_falls(self):
        watch = Watch(4)
        watch.looks(30, 300)
        before = watch.step.inputs["violation_weight"]
        watch.looks(1080, 300)
        assert watch.step.inputs["violation_weight"] < 0.5 * before

    def test_failed_requests_are_late_ones(self):
        watch = Watch(4)
        watch.looks(30, 300)
        watch.looks(30, 300, failed=30)
        assert watch.step.inputs["slo_attainment"] == pytest.approx(0.95, abs=0.01)


class TestCostCurve:
    def test_it_is_what_the_candidates_were_compared_by(self):
        watch = Watch(4)
        watch.settle(300)
        step = watch.look(900)
        curve = watch.policy.cost_curve(watch.situation, watch.memory)
        assert [curve(each.allocations) for each in step.candidates] == pytest.approx(
            [each.cost for each in step.candidates], rel=1e-6
        )

    def test_there_is_none_before_anything_was_measured(self):
        watch = Watch(4)
        watch.look(0)
        assert watch.policy.cost_curve(watch.situation, watch.memory) is None
