"""Several deployments and one free capacity: the grants, and the messages about them."""

import math
from functools import cache
from typing import Any, ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import field
from msgspec.structs import replace

from autoscaler.core.decision import Mode, OutcomeKind, SetAllocations, SetBounds, Start
from autoscaler.core.explanation import explain
from autoscaler.core.flow.arbitration import MAX_COSTS, MAX_NAMED
from autoscaler.core.flow.feedback import apply_outcomes
from autoscaler.core.flow.planning import plan
from autoscaler.core.flow.update_rate import MAX_UPDATES
from autoscaler.core.policies import UtilisationPolicy
from autoscaler.core.selection import ScaleToZero, ZeroMethod
from autoscaler.core.slo.policy import SloPolicy
from autoscaler.core.state import (
    BackOff,
    CapacityRefusal,
    ClusterCapacity,
    State,
    StoppedDeployment,
)
from autoscaler.core.values import (
    AdaptiveAllocations,
    Cluster,
    NodeCapacity,
    NodeStats,
    Reason,
    Schedule,
    Step,
    Value,
)
from tests.observations import deployment, loading, node, observation, outcome, policy, rule

MIB = 2**20
GIB = 2**30
ELSER = ".elser_model_2"  # whose memory does not depend on its allocations


class Recommending(Value, frozen=True, kw_only=True):
    """A policy that recommends a given count, with given costs."""

    name: ClassVar[str] = "recommending"
    load_window_s: ClassVar[float] = 60.0

    allocations: int
    costs: tuple[float, ...] = ()  # of 1, 2, ... allocations
    evaluated: list[int] = field(default_factory=list)

    def begin(self):
        return "memory"

    def recommend(self, situation, memory):
        return Step(Reason.RECOMMENDATION, situation.current, self.allocations), memory

    def cost_curve(self, situation, memory):
        if not self.costs:
            return None

        def cost(allocations):
            self.evaluated.append(allocations)
            return self.costs[allocations - 1]

        return cost


def machine(node_id="n1", processors=6, memory=64 * GIB, free=None):
    return NodeCapacity(
        node_id=node_id,
        name=node_id,
        version="9.3.0",
        processors=float(processors),
        ml_memory_bytes=memory,
        free_ml_memory_bytes=memory if free is None else free,
    )


def recommended(name, allocations, *, costs=(), **given):
    """A rule under which this many allocations are recommended for one deployment."""
    return rule(
        name=name,
        deployments=(name,),
        policy=Recommending(allocations=allocations, costs=costs),
        stabilisation_window_s=0.0,
        **given,
    )


def running(name, allocations=1, *, on="n1", **given):
    return deployment(node(on, allocations=allocations), deployment_id=name, **given)


def decided(rules, *deployments, nodes=None, growable=False, state=None, open_schedules=()):
    """The decisions after two observations of the same deployments, by deployment id."""
    cluster = Cluster(nodes=tuple(nodes or [machine()]), growable=growable)
    state = state or State()
    for at in (0.0, 10.0):
        seen = observation(at, *deployments, cluster=cluster)
        planned, state = plan(state, seen, policy(*rules), open_schedules)
    return {decision.deployment_id: decision for decision in planned.decisions}


def desired(decisions):
    return {name: decision.desired for name, decision in decisions.items()}


def words(decisions, name):
    return explain(decisions[name])


class TestGrants:
    def test_two_busy_deployments_on_a_node_with_four_free_cores(self):
        """Each is recommended 5, and each alone would be granted all of them."""
        busy = (recommended("e4", 5), recommended("e5", 5))
        decisions = decided(busy, running("e4"), running("e5"))
        assert desired(decisions) == {"e4": 3, "e5": 3}
        assert words(decisions, "e4").endswith(
            "3 of 5 granted, as free threads were granted to e5 (2)"
        )
        assert [each.reason for each in decisions.values()] == [Reason.FIT, Reason.FIT]

    def test_alone_each_is_granted_all(self):
        assert desired(decided((recommended("e4", 5),), running("e4"), running("e5"))) == {"e4": 5}

    def test_claims_that_fit_together_are_granted_in_full_and_no_cost_is_evaluated(self):
        rules = (recommended("e4", 3, costs=(9.0, 5.0, 3.0)), recommended("e5", 3))
        decisions = decided(rules, running("e4"), running("e5"))
        assert desired(decisions) == {"e4": 3, "e5": 3}
        assert rules[0].policy.evaluated == []
        assert {each.reason for each in decisions.values()} == {Reason.RECOMMENDATION}

    def test_the_cost_saved_for_each_thread_decides(self):
        rules = (
            recommended("costly", 5, costs=(90.0, 60.0, 40.0, 30.0, 25.0)),
            recommended("cheap", 5, costs=(9.0, 6.0, 4.0, 3.0, 2.5)),
        )
        decisions = decided(rules, running("costly"), running("cheap"))
        assert desired(decisions) == {"costly": 5, "cheap": 1}
        assert words(decisions, "cheap").endswith(
            "1 of 5 granted, as free threads were granted to costly (4)"
        )

    def test_equal_savings_are_shared(self):
        """Overloaded alike, each further allocation saves the same."""
        costs = (50.0, 40.0, 30.0, 20.0, 10.0)
        rules = (recommended("e4", 5, costs=costs), recommended("e5", 5, costs=costs))
        decisions = decided(rules, running("e4"), running("e5"))
        assert desired(decisions) == {"e4": 3, "e5": 3}

    def test_an_allocation_of_several_threads_has_to_save_more(self):
        costs = (9.0, 6.0, 4.0, 3.0, 2.5)
        rules = (recommended("wide", 5, costs=costs), recommended("narrow", 5, costs=costs))
        wide = running("wide", threads_per_allocation=2)
        decisions = decided(rules, wide, running("narrow"), nodes=[machine(processors=7)])
        assert desired(decisions) == {"wide": 2, "narrow": 3}

    def test_several_that_save_only_together_count_with_their_mean(self):
        rules = (
            recommended("together", 4, costs=(10.0, 10.5, 10.0, 1.0)),  # 3 each
            recommended("singly", 4, costs=(10.0, 8.0, 7.0, 6.5)),
        )
        decisions = decided(rules, running("together"), running("singly"))
        assert desired(decisions) == {"singly": 2, "together": 4}

    def test_without_costs_the_larger_shortfall_counts_also_of_what_does_not_fit(self):
        rules = (recommended("far", 19), recommended("near", 5))
        decisions = decided(rules, running("far"), running("near"))
        assert desired(decisions) == {"far": 4, "near": 2}

    def test_the_minimum_comes_before_any_saving(self):
        rules = (
            recommended("costly", 5, costs=(90.0, 60.0, 40.0, 30.0, 25.0)),
            recommended("small", 1, min_allocations=4),
        )
        decisions = decided(rules, running("costly"), running("small"))
        assert desired(decisions) == {"costly": 2, "small": 4}

    def test_so_does_the_minimum_of_an_open_schedule(self):
        day = Schedule(
            name="day", cron="0 8 * * *", timezone="UTC", length_s=3600.0, min_allocations=4
        )
        rules = (
            recommended("costly", 5, costs=(90.0, 60.0, 40.0, 30.0, 25.0)),
            recommended("small", 1, schedules=(day,)),
        )
        decisions = decided(rules, running("costly"), running("small"), open_schedules=(day,))
        assert desired(decisions) == {"costly": 2, "small": 4}

    def test_a_schedule_minimum_above_max_allocations_counts_as_what_is_claimed(self):
        day = Schedule(
            name="day", cron="0 8 * * *", timezone="UTC", length_s=3600.0, min_allocations=40
        )
        rules = (
            recommended("capped", 1, schedules=(day,), max_allocations=5),
            recommended("small", 1, min_allocations=5),
        )
        decisions = decided(rules, running("capped"), running("small"), open_schedules=(day,))
        assert desired(decisions) == {"capped": 3, "small": 3}

    def test_no_more_deployments_are_named_than_a_line_can_hold(self):
        names = [f"d{number}" for number in range(MAX_NAMED + 3)]
        rules = [recommended(name, 5) for name in names]
        machines = [machine(processors=2 * len(names))]
        decisions = decided(rules, *[running(name) for name in names], nodes=machines)
        assert sum(desired(decisions).values()) == 2 * len(names)
        assert words(decisions, "d0").endswith("(1), d2 (1), d3 (1), 2 more")

    @pytest.mark.parametrize("growable", [True, None])
    def test_nothing_is_cut_where_the_hardware_may_grow(self, growable):
        busy = (recommended("e4", 5), recommended("e5", 5))
        decisions = decided(busy, running("e4"), running("e5"), growable=growable)
        assert desired(decisions) == {"e4": 5, "e5": 5}

    def test_a_decrease_in_the_same_cycle_frees_nothing_yet(self):
        rules = (recommended("up", 5), recommended("down", 1, shrink_factor=10.0))
        decisions = decided(rules, running("up"), running("down", 5))
        assert desired(decisions) == {"up": 1, "down": 1}
        assert words(decisions, "up").endswith("no more than 1 fit on the nodes")


class Broken(Recommending, frozen=True, kw_only=True):
    """Its cost curve does what the test wants."""

    curve: Any

    def cost_curve(self, situation, memory):
        return self.curve() if self.curve is not None else 1 / 0


def broken(name, allocations, curve):
    chosen = Broken(allocations=allocations, curve=curve)
    return rule(name=name, deployments=(name,), policy=chosen, stabilisation_window_s=0.0)


class TestBrokenCostCurves:
    """The shortfall counts in their place, no other deployment is affected, and it is said."""

    @pytest.mark.parametrize(
        ("curve", "error"),
        [
            (None, "ZeroDivisionError('division by zero') (test_arbitration.py:"),
            (lambda: lambda _: 1 / 0, "ZeroDivisionError('division by zero')"),
            (lambda: lambda _: math.nan, "ValueError('the cost curve returned nan for 1')"),
            (lambda: lambda n: n if n < 5 else math.inf, "the cost curve returned inf for 5"),
            (lambda: lambda _: "cheap", "TypeError('must be real number, not str')"),
            (lambda: lambda _: None, "TypeError('must be real number, not NoneType')"),
            (lambda: lambda _: 10**400, "OverflowError("),
            (lambda: 7, "TypeError("),
        ],
    )
    def test_it_counts_as_none(self, curve, error):
        rules = (broken("broken", 5, curve), recommended("e5", 5))
        decisions = decided(rules, running("broken"), running("e5"))
        assert desired(decisions) == {"broken": 3, "e5": 3}
        said = decisions["broken"].steps[-1].inputs["cost_curve_error"]
        assert error in said
        assert words(decisions, "broken").endswith(
            f"granted to e5 (2) (the cost curve of the policy failed: {said})"
        )
        assert "cost_curve_error" not in decisions["e5"].steps[-1].inputs

    def test_a_curve_of_enormous_costs_is_compared(self):
        costs = (1.7e308, -1.7e308, 1.7e308, -1.7e308, 0.0)
        rules = (recommended("huge", 5, costs=costs), recommended("e5", 5))
        assert sum(desired(decided(rules, running("huge"), running("e5"))).values()) == 6


class TestManyAllocations:
    def test_a_bounded_number_of_costs_is_evaluated(self):
        many = 3000
        rules = [
            recommended(name, many, costs=tuple(range(many, 0, -1)), max_allocations=many,
                        growth_factor=1e6)
            for name in ("e4", "e5")
        ]  # fmt: skip
        nodes = [machine(processors=many)]
        decisions = decided(rules, running("e4"), running("e5"), nodes=nodes)
        assert sum(desired(decisions).values()) == many
        for each in rules:
            evaluated = each.policy.evaluated
            assert len(evaluated) <= MAX_COSTS
            assert evaluated == sorted(set(evaluated))
            assert (evaluated[0], evaluated[-1]) == (1, many - 1)


class TestBelowTheMinimum:
    """Neither the bounds nor a schedule can be met then, and the step says so."""

    def test_because_others_were_granted_the_threads(self):
        rules = (recommended("e4", 5, min_allocations=4), recommended("e5", 5, min_allocations=4))
        decisions = decided(rules, running("e4"), running("e5"))
        assert desired(decisions) == {"e4": 3, "e5": 3}
        assert words(decisions, "e4").endswith(
            "3 of 5 granted, below min_allocations 4, as free threads were granted to e5 (2)"
        )

    def test_because_no_more_fit(self):
        decisions = decided((recommended("e4", 5, min_allocations=8),), running("e4"))
        assert words(decisions, "e4").endswith(
            "no more than 6 fit on the nodes, below min_allocations 8"
        )

    def test_because_of_an_open_schedule(self):
        day = Schedule(
            name="day", cron="0 8 * * *", timezone="UTC", length_s=3600.0, min_allocations=8
        )
        rules = (recommended("e4", 5, schedules=(day,)),)
        decisions = decided(rules, running("e4"), open_schedules=(day,))
        assert words(decisions, "e4").endswith("below min_allocations 8")

    def test_it_is_not_said_where_the_minimum_is_granted(self):
        rules = (recommended("e4", 5, min_allocations=3), recommended("e5", 5))
        decisions = decided(rules, running("e4"), running("e5"))
        assert "min_allocations" not in words(decisions, "e4")


class TestUnmanagedDeployments:
    """The cluster places what is requested of them before any later request."""

    @staticmethod
    def beside(**given):
        fields = {"allocations": 4, "running_allocations": 1, "deployment_id": "other", **given}
        other = deployment(node("n1"), **fields)
        return decided((recommended("e4", 5),), running("e4"), other)["e4"]

    def test_what_is_requested_of_them_and_not_placed_yet_is_not_free(self):
        decision = self.beside()
        assert decision.desired == 2, "one of four free threads"
        assert explain(decision).endswith("as free threads were granted to other (3)")

    def test_what_runs_is_debited_once(self):
        runs = running("other", 4)
        assert desired(decided((recommended("e4", 5),), running("e4"), runs)) == {"e4": 2}

    @pytest.mark.parametrize("state", ["stopping", "failed"])
    def test_nothing_is_placed_for_one_that_ends(self, state):
        assert self.beside(state=state).desired == 5

    def test_nor_where_its_model_fails_to_load(self):
        failed = NodeStats(node_id="n1", routing_state="failed")
        other = deployment(failed, deployment_id="other", allocations=4)
        assert desired(decided((recommended("e4", 5),), running("e4"), other)) == {"e4": 5}

    def test_a_number_that_is_not_reported_takes_nothing(self):
        assert self.beside(allocations=None).desired == 5


class TestClaims:
    def test_bounds_that_are_raised_claim_what_adaptive_allocations_do_not_have_yet(self):
        on = AdaptiveAllocations(enabled=True, minimum=1, maximum=20)
        rules = (recommended("bounds", 9, mode=Mode.BOUNDS), recommended("direct", 3))
        decisions = decided(rules, running("bounds", 3, adaptive=on), running("direct"))
        assert desired(decisions) == {"bounds": 4, "direct": 2}
        assert decisions["bounds"].change == SetBounds(4, 4), "they must not try for more"

    def test_bounds_below_what_runs_claim_nothing(self):
        on = AdaptiveAllocations(enabled=True, minimum=1, maximum=20)
        rules = (recommended("bounds", 3, mode=Mode.BOUNDS), recommended("direct", 9))
        decisions = decided(rules, running("bounds", 3, adaptive=on), running("direct"))
        assert desired(decisions) == {"bounds": 3, "direct": 3}

    def test_what_an_earlier_cycle_has_requested_is_placed_first(self):
        """Its process has not reported the new allocations yet."""
        rules = (recommended("first", 4), recommended("second", 5))
        first = running("first", allocations=1)
        first = replace(first, allocations=4, target_allocations=4)
        decisions = decided(rules, first, running("second"))
        assert desired(decisions)["second"] == 2
        assert words(decisions, "second").endswith("as free threads were granted to first (3)")

    def test_what_has_not_started_for_long_is_no_longer_expected(self):
        rules = (recommended("first", 4), recommended("second", 5))
        first = replace(running("first", allocations=1), allocations=4, target_allocations=4)
        cluster, state, wanted = Cluster(nodes=(machine(),), growable=False), State(), []
        for poll in range(65):
            seen = observation(10.0 * poll, first, running("second"), cluster=cluster)
            planned, state = plan(state, seen, policy(*rules))
            wanted.append(planned.decisions[1].desired)
        assert set(wanted[1:60]) == {2}
        assert wanted[-1] == 5

    def test_a_further_node_is_shared_only_as_far_as_its_memory_goes(self):
        nodes = [machine("n1", 2, free=0), machine("n2", 8, 5000 * MIB, 3000 * MIB)]
        elser = {"model_id": ELSER, "required_memory_bytes": 2000 * MIB}
        rules = (
            recommended("first", 3, costs=(9.0, 5.0, 4.0)),
            recommended("second", 3, costs=(9.0, 6.0, 4.5)),
        )
        decisions = decided(rules, running("first", **elser), running("second", **elser),
                            nodes=nodes)  # fmt: skip
        assert desired(decisions) == {"first": 3, "second": 1}
        assert words(decisions, "second").endswith(
            "1 of 3 granted, as free threads were granted to first (2)"
        )

    def test_a_deployment_in_a_back_off_claims_nothing(self):
        held = recommended("held", 5)
        free = recommended("free", 5)
        back_off = BackOff(times=1, until=1000.0, reason="invalid")
        _, state = plan(State(), observation(-10.0, running("held")), policy(held))
        known = replace(state.deployments["held"], back_off=back_off)
        state = replace(state, deployments={"held": known})
        decisions = decided((held, free), running("held"), running("free"), state=state)
        assert desired(decisions) == {"free": 5, "held": 1}

    def test_a_deployment_with_too_many_updates_claims_nothing(self):
        held, free = recommended("held", 5), recommended("free", 5)
        _, state = plan(State(), observation(-10.0, running("held")), policy(held))
        recent_updates = (1 << MAX_UPDATES) - 1
        known = replace(state.deployments["held"], recent_updates=recent_updates)
        state = replace(state, deployments={"held": known})
        decisions = decided((held, free), running("held"), running("free"), state=state)
        assert desired(decisions) == {"free": 5, "held": 1}
        assert decisions["held"].reason is Reason.UPDATE_RATE

    def test_after_a_refusal_only_half_of_the_way_is_claimed(self):
        refused = CapacityRefusal(
            allocations=5, capacity=ClusterCapacity(frozenset(["n1"]), 6.0, 1),
            hold_s=300.0, until=1000.0,
        )  # fmt: skip
        searching, other = recommended("searching", 5), recommended("other", 3)
        _, state = plan(State(), observation(-10.0, running("searching")), policy(searching))
        known = replace(state.deployments["searching"], infeasible=refused)
        state = replace(state, deployments={"searching": known})
        rules = (searching, other)
        decisions = decided(rules, running("searching"), running("other"), state=state)
        assert desired(decisions) == {"other": 3, "searching": 3}
        assert decisions["searching"].reason is Reason.CAPACITY

    def test_a_minimum_that_is_lowered_to_what_may_fit_leaves_the_rest_to_others(self):
        """Adaptive allocations will request what it is lowered to, and request nothing yet."""
        refused = CapacityRefusal(
            allocations=5, capacity=ClusterCapacity(frozenset(["n1"]), 6.0, 1),
            hold_s=300.0, until=1000.0,
        )  # fmt: skip
        searching = recommended("searching", 5, mode=Mode.BOUNDS)
        adaptive = AdaptiveAllocations(enabled=True, minimum=5, maximum=5)
        seen = running("searching", adaptive=adaptive)
        _, state = plan(State(), observation(-10.0, seen), policy(searching))
        known = replace(state.deployments["searching"], infeasible=refused)
        state = replace(state, deployments={"searching": known})
        rules = (searching, recommended("other", 5))
        decisions = decided(rules, seen, running("other"), state=state)
        assert desired(decisions) == {"other": 3, "searching": 3}
        assert decisions["searching"].reason is Reason.CAPACITY

    def test_a_dry_run_takes_nothing_from_the_others_and_sees_what_is_left(self):
        rules = (recommended("dry", 5, dry_run=True), recommended("real", 4))
        decisions = decided(rules, running("dry"), running("real"))
        assert desired(decisions) == {"real": 4, "dry": 2}
        assert "granted to real (3)" in words(decisions, "dry")

    def test_dry_runs_are_told_which_of_them_would_be_granted_the_threads(self):
        rules = (recommended("e4", 5, dry_run=True), recommended("e5", 5, dry_run=True))
        decisions = decided(rules, running("e4"), running("e5"))
        assert desired(decisions) == {"e4": 3, "e5": 3}
        assert words(decisions, "e4").endswith(
            "3 of 5 granted, as free threads were granted to e5 (2)"
        )

    @pytest.mark.parametrize(
        ("given", "adaptive"),
        [
            ({"take_over": True}, AdaptiveAllocations(enabled=True, minimum=0, maximum=8)),
            ({"mode": Mode.BOUNDS}, None),
        ],
    )
    def test_a_change_of_the_mode_that_has_to_wait_takes_nothing(self, given, adaptive):
        """It is not requested while the statistics of a node are missing, which may last."""
        rules = (recommended("waits", 5, min_allocations=4, **given), recommended("busy", 5))
        nodes = (node(), node("n2", server_started_at=None, allocations=None))
        waits = deployment(*nodes, deployment_id="waits", adaptive=adaptive)
        machines = [machine(), machine("n2", 0)]
        decisions = decided(rules, waits, running("busy"), nodes=machines)
        assert decisions["waits"].change is None
        assert decisions["busy"].change == SetAllocations(5)

    def test_a_minimum_that_adaptive_allocations_have_not_reached_yet_is_placed_first(self):
        """They run every ten seconds, so that the next cycle may not show the increase yet."""
        raised = recommended("raised", 5, mode=Mode.BOUNDS)
        cluster, state = Cluster(nodes=(machine(),), growable=False), State()
        for at, minimum, wanted in ((0.0, 1, 1), (10.0, 1, 1), (20.0, 5, 5)):
            adaptive = AdaptiveAllocations(enabled=True, minimum=minimum, maximum=20)
            seen = observation(
                at, running("raised", adaptive=adaptive), running("late"), cluster=cluster
            )
            planned, state = plan(state, seen, policy(raised, recommended("late", wanted)))
            accepted = [
                outcome(decision, OutcomeKind.ACCEPTED)
                for decision in planned.decisions
                if decision.change is not None
            ]
            state = apply_outcomes(state, accepted)
        late, _ = planned.decisions
        assert late.desired == 1
        assert explain(late).endswith("1 of 5 granted, as free threads were granted to raised (4)")

    def test_low_priority_takes_no_threads(self):
        low = running("low", priority="low")
        rules = (recommended("low", 2, low_priority=True), recommended("normal", 6))
        assert desired(decided(rules, low, running("normal"))) == {"low": 2, "normal": 6}

    def test_without_any_capacity_adaptive_allocations_are_not_taken_over(self):
        on = AdaptiveAllocations(enabled=True, minimum=0, maximum=4)
        rules = (recommended("zero", 3, take_over=True),)
        stats = deployment(deployment_id="zero", adaptive=on, allocations=0)
        full = running("full", 6)
        decisions = decided(rules, stats, full)
        assert (decisions["zero"].desired, decisions["zero"].change) == (0, None)


def stopped(name, allocations=2, **given):
    stats = running(name, allocations, **given)
    return StoppedDeployment(stats=stats, since=-10_000.0)


class TestStarts:
    def resumed(self, rules, *deployments, nodes=None, **stopped_deployments):
        state = State(stopped=stopped_deployments, resume_requested=frozenset(stopped_deployments))
        return decided(rules, *deployments, nodes=nodes, state=state)

    def stop_when_idle(self, name, **given):
        return recommended(name, 1, zero=ScaleToZero(1800.0, ZeroMethod.STOP), **given)

    def test_a_start_claims_its_allocations_before_any_increase_above_a_minimum(self):
        rules = (self.stop_when_idle("idle", min_allocations=2), recommended("busy", 6))
        decisions = self.resumed(rules, running("busy"), idle=stopped("idle"))
        assert desired(decisions) == {"busy": 4, "idle": 2}
        assert isinstance(decisions["idle"].change, Start)

    def test_it_is_started_with_what_there_is(self):
        rules = (self.stop_when_idle("idle", min_allocations=4),)
        decisions = self.resumed(rules, running("full", 4), idle=stopped("idle"))
        assert decisions["idle"].change.allocations == 2
        assert words(decisions, "idle").endswith(
            "no more than 2 fit on the nodes, below min_allocations 4"
        )

    def test_the_minimum_of_adaptive_allocations_comes_down_with_it(self):
        on = AdaptiveAllocations(enabled=True, minimum=3, maximum=8)
        rules = (self.stop_when_idle("idle", min_allocations=3, mode=Mode.BOUNDS),)
        given = stopped("idle", adaptive=on)
        decisions = self.resumed(rules, running("full", 4), idle=given)
        assert decisions["idle"].change.adaptive == replace(on, minimum=2)

    def test_a_former_minimum_above_that_of_the_rule_is_claimed_and_its_cut_is_explained(self):
        on = AdaptiveAllocations(enabled=True, minimum=4, maximum=8)
        rules = (self.stop_when_idle("idle", mode=Mode.BOUNDS),)
        given = stopped("idle", adaptive=on)
        decisions = self.resumed(rules, running("full", 4), idle=given)
        assert decisions["idle"].change.adaptive == replace(on, minimum=2)
        assert decisions["idle"].desired == 2
        assert words(decisions, "idle").endswith("no more than 2 fit on the nodes")

    def test_it_claims_nothing_while_it_is_still_stopping(self):
        """Its start is refused until it is gone."""
        rules = (self.stop_when_idle("idle", min_allocations=2), recommended("busy", 6))
        stopping = deployment(deployment_id="idle", state="stopping", allocations=2)
        decisions = self.resumed(rules, running("busy"), stopping, idle=stopped("idle"))
        assert decisions["busy"].desired == 6

    def test_it_stays_stopped_where_there_is_nothing(self):
        rules = (self.stop_when_idle("idle"),)
        decisions = self.resumed(rules, running("full", 6), idle=stopped("idle"))
        assert (decisions["idle"].change, decisions["idle"].desired) == (None, 0)
        assert decisions["idle"].reason is Reason.FIT

    def test_low_priority_needs_memory_only(self):
        rules = (self.stop_when_idle("idle", low_priority=True),)
        elser = {"model_id": ELSER, "required_memory_bytes": 2000 * MIB, "priority": "low"}
        for free, expected in ((1999 * MIB, 0), (2000 * MIB, 1)):
            nodes = [machine(processors=6, memory=8 * GIB, free=free)]
            given = stopped("idle", 1, **elser)
            decisions = self.resumed(rules, running("full", 6), nodes=nodes, idle=given)
            assert desired(decisions) == {"idle": expected}


POLICIES = {
    "slo": SloPolicy(),
    "utilisation": UtilisationPolicy(target=0.7, load_window_s=60.0),
}


@st.composite
def pools(draw):
    """Nodes, rules, running deployments with their loads, and stopped deployments."""
    machines = []
    for place in range(draw(st.integers(1, 3))):
        free_memory = draw(st.sampled_from([0, 500, 1000, 1930, 2000, 4000])) * MIB
        memory = draw(st.sampled_from([free_memory, 16 * GIB]))  # the first: nothing runs there
        machines.append(machine(f"n{place}", draw(st.integers(1, 12)), memory, free_memory))
    if draw(st.integers(0, 3)) == 0:
        machines[0] = replace(machines[0], free_ml_memory_bytes=None)
    free = {each.node_id: int(each.processors) for each in machines}
    rules, deployments, rates, idle = [], [], {}, {}
    for number in range(draw(st.integers(2, 4))):
        name = f"d{number}"
        threads = draw(st.sampled_from([1, 1, 1, 2, 4]))
        given = {
            "model_id": f"{ELSER}-{name}",
            "required_memory_bytes": draw(st.sampled_from([400, 900, 1900])) * MIB,
            "threads_per_allocation": threads,
        }
        mode = draw(st.sampled_from([Mode.DIRECT, Mode.DIRECT, Mode.BOUNDS]))
        zero = ScaleToZero(1800.0, ZeroMethod.STOP) if draw(st.booleans()) else None
        rules.append(
            rule(
                name=name,
                deployments=(name,),
                policy=POLICIES[draw(st.sampled_from(sorted(POLICIES)))],
                mode=mode,
                zero=zero,
                min_allocations=draw(st.integers(1, 3)),
                growth_factor=draw(st.sampled_from([2.0, 100.0])),
                dry_run=draw(st.sampled_from([False, False, False, True])),
            )
        )
        if zero is not None and draw(st.booleans()):
            idle[name] = stopped(name, draw(st.integers(1, 3)), **given)
            continue
        nodes = []
        for node_id in draw(st.sets(st.sampled_from(sorted(free)), min_size=1, max_size=2)):
            most = free[node_id] // threads
            if most > 0:
                allocations = draw(st.integers(1, min(most, 2)))
                free[node_id] -= allocations * threads
                nodes.append((node_id, allocations))
        if nodes:
            unplaced = draw(st.sampled_from([0, 0, 0, 1, 2]))
            if mode is Mode.BOUNDS:
                given["adaptive"] = AdaptiveAllocations(
                    enabled=True, minimum=draw(st.integers(0, 3)), maximum=20
                )
            deployments.append((name, nodes, unplaced, given))
            rates[name] = draw(st.integers(0, 400))
    return machines, rules, deployments, rates, idle


def observed(at, pool, growable=False):
    machines, _, deployments, rates, _ = pool
    stats = []
    for name, nodes, unplaced, fields in deployments:
        completed = int(at * rates[name] / len(nodes))
        serving = [node(i, allocations=n, completed=completed, pending=0) for i, n in nodes]
        requested = sum(n for _, n in nodes) + unplaced
        stats.append(deployment(*serving, deployment_id=name, allocations=requested, **fields))
    cluster = Cluster(nodes=tuple(machines), growable=growable)
    return observation(at, *stats, cluster=cluster)


def claimed_of(planned, seen, idle):
    """(threads, further allocations, nodes with the model, memory for another) of each claim."""
    claims = []
    for decision in planned.decisions:
        stats = seen.deployments.get(decision.deployment_id)
        if decision.dry_run or not decision.changes or decision.desired <= decision.current:
            continue
        if stats is None:
            stats = idle[decision.deployment_id].stats
            placed = {}
        else:
            placed = {each.node_id: each.allocations for each in stats.nodes}
        further = decision.desired - sum(placed.values())
        if further > 0:
            claims.append(
                (
                    stats.threads_per_allocation,
                    further,
                    frozenset(placed),
                    stats.required_memory_bytes,
                )
            )
    return tuple(claims)


def can_be_placed(claims, machines, seen):
    """Whether there is any way to place all claims at once; every one is tried."""
    threads = {each.node_id: int(each.processors) for each in machines}
    for stats in seen.deployments.values():
        for each in stats.nodes:
            threads[each.node_id] -= each.allocations * stats.threads_per_allocation
    names = tuple(sorted(threads))
    totals = {each.node_id: each.ml_memory_bytes for each in machines}

    @cache
    def possible(number, place, further, free, memory):
        if number == len(claims):
            return True
        needed, _, has_model, model_bytes = claims[number]
        if place == len(names):
            if further:
                return False
            following = claims[number + 1][1] if number + 1 < len(claims) else 0
            return possible(number + 1, 0, following, free, memory)
        for here in range(min(further, free[place] // needed), -1, -1):
            left = memory[place]
            if here and names[place] not in has_model and left is not None:
                overhead = 30 * MIB if left == totals[names[place]] else 0
                left -= model_bytes + overhead
                if left < 0:
                    continue
            after = (*free[:place], free[place] - here * needed, *free[place + 1 :])
            kept = (*memory[:place], left, *memory[place + 1 :])
            if possible(number, place + 1, further - here, after, kept):
                return True
        return False

    free = tuple(threads[name] for name in names)
    memory = {each.node_id: each.free_ml_memory_bytes for each in machines}
    first = claims[0][1] if claims else 0
    return possible(0, 0, first, free, tuple(memory[name] for name in names))


@settings(deadline=None, max_examples=200)
@given(pools())
def test_no_cycle_claims_more_threads_or_memory_than_there_is_and_every_cut_is_explained(pool):
    machines, rules, _, _, idle = pool
    state = State(stopped=idle, resume_requested=frozenset(idle))
    for at in (0.0, 10.0, 20.0):
        seen = observed(at, pool)
        planned, after = plan(state, seen, policy(*rules))
        without_limit, _ = plan(state, observed(at, pool, growable=True), policy(*rules))
        state = after
        assert can_be_placed(claimed_of(planned, seen, idle), machines, seen)
        for decision, unlimited in zip(planned.decisions, without_limit.decisions, strict=True):
            cuts = [step for step in decision.steps if step.reason is Reason.FIT]
            if decision.desired == unlimited.desired:
                continue
            assert decision.desired < unlimited.desired
            (cut,) = cuts
            assert cut.after == decision.desired
            text = explain(decision)
            if "granted_to" in cut.inputs:
                others = set(seen.deployments) | set(idle) - {decision.deployment_id}
                assert any(f"{other} (" in text for other in others)
            else:
                assert f"no more than {cut.inputs['fits']} fit on the nodes" in text


def test_a_node_that_loads_the_model_is_counted_with_what_it_will_run():
    rules = (recommended("loads", 3), recommended("other", 9))
    stats = deployment(node("n1"), loading("n2"), deployment_id="loads", allocations=3)
    nodes = [machine("n1", 2), machine("n2", 3)]
    decisions = decided(rules, stats, running("other", on="n1"), nodes=nodes)
    assert desired(decisions) == {"loads": 3, "other": 2}
    assert decisions["other"].change == SetAllocations(2)


def busy(name, rate, at):
    """One allocation under this many requests a second of 40 ms, as many as it can serve, and the
    rest queued."""
    served = min(rate, 20)
    serving = node(completed=int(served * at), pending=int((rate - served) * at))
    return deployment(serving, deployment_id=name, queue_capacity=100_000)


def test_under_slo_threads_go_where_they_save_late_requests():
    """With all of the free threads, the heavy one would still be overloaded, and its requests late.
    The other one needs four to serve nearly all of them."""
    slo = rule(policy=SloPolicy(), stabilisation_window_s=0.0, growth_factor=100.0)
    state, cluster = State(), Cluster(nodes=(machine(),), growable=False)
    for at in (0.0, 10.0, 20.0):
        seen = observation(at, busy("light", 60, at), busy("heavy", 200, at), cluster=cluster)
        planned, state = plan(state, seen, policy(slo))
    granted = {each.deployment_id: each.desired for each in planned.decisions}
    assert sum(granted.values()) == 6
    assert granted["light"] >= 4
    assert "granted, as free threads were granted to light" in explain(planned.decisions[0])


@pytest.mark.parametrize("costs", [(), tuple(1e6 - 0.5 * n for n in range(20_000))])
def test_contested_claims_of_any_size_are_granted_all_there_is(costs):
    """In a few steps, whatever is claimed and whatever the nodes report."""
    rules = [
        recommended(name, 10**9, costs=costs, max_allocations=10**9, growth_factor=1e9)
        for name in ("e4", "e5", "e6")
    ]
    nodes = [machine(f"n{number}", 4096) for number in (1, 2, 3)]
    decisions = decided(rules, running("e4"), running("e5"), running("e6"), nodes=nodes)
    assert sum(desired(decisions).values()) == 3 * 4096
    assert max(desired(decisions).values()) - min(desired(decisions).values()) <= 3 * 4096 / 100
