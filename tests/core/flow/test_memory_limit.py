"""No raise takes a node over its memory, by what processes really use."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from autoscaler.core.decision import Mode, SetAllocations, SetBounds, Start
from autoscaler.core.explanation import explain
from autoscaler.core.flow.planning import plan
from autoscaler.core.process_memory import FALL, ProcessCost, observed_memory
from autoscaler.core.selection import ScaleToZero, ZeroMethod
from autoscaler.core.state import State, StoppedDeployment
from autoscaler.core.values import AdaptiveAllocations, Cluster, NodeCapacity, Reason
from tests.core.flow.memory_world import GIB, MIB, Recommending, run
from tests.observations import deployment, loading, node, observation, policy, rule

ELSER = ".elser_model_2_linux-x86_64"
REQUIRED = 2004 * MIB


def machine(node_id="n1", memory=6.5, *, processors=16.0, taken=REQUIRED + 30 * MIB, **given):
    total = round(memory * GIB)
    fields = {"ml_memory_bytes": total, "free_ml_memory_bytes": max(0, total - taken)}
    return NodeCapacity(
        node_id=node_id, name=f"ml-{node_id}", processors=processors, **{**fields, **given}
    )


def process(node_id="n1", *, allocations=4, gib=6.2, at=0.0, completed=1000, **given):
    """A process that serves a hundred requests a second."""
    return node(
        node_id,
        allocations=allocations,
        completed=completed + int(100 * at),
        memory_bytes=None if gib is None else round(gib * GIB),
        **given,
    )


def elser(*nodes, **given):
    fields = {"model_id": ELSER, "required_memory_bytes": REQUIRED}
    return deployment(*nodes, **{**fields, **given})


def wants(allocations, **given):
    return rule(policy=Recommending(allocations=allocations), stabilisation_window_s=0.0, **given)


def decided(stats_at, *, rules=None, cluster=None, times=2, state=None):
    """The last decisions, by deployment id, of one plan after the other.

    Args:
        stats_at: the deployments at an instant.
    """
    cluster = cluster or Cluster(nodes=(machine(),), growable=False)
    state = state or State()
    for number in range(times):
        seen = observation(10.0 * number, *stats_at(10.0 * number), cluster=cluster)
        planned, state = plan(state, seen, policy(*(rules or [wants(8)])))
    return {decision.deployment_id: decision for decision in planned.decisions}


def one(stats_at, **given):
    return decided(lambda at: (stats_at(at),), **given)["elser"]


class TestTheElserCase:
    """Four allocations use 6.2 of 6.5 GiB, and the planner reserves 2 GiB for any number."""

    @staticmethod
    def stats(at):
        return elser(process(at=at))

    def test_it_is_held_with_the_figures(self):
        decision = one(self.stats)
        assert (decision.change, decision.desired) == (None, 4)
        step = decision.steps[-1]
        assert (step.reason, step.before, step.after) == (Reason.FIT, 8, 4)
        assert explain(decision) == (
            "elser stays at 4: the policy recommends 8; no more than 4 fit: elser uses 1.5 GiB for "
            "each allocation, and node ml-n1 has 6.5 GiB for machine learning, 6.2 GiB in use"
        )

    @pytest.mark.parametrize("growable", [True, False, None])
    def test_on_any_hardware(self, growable):
        """The planner fills the node that runs the model before it takes a new one."""
        cluster = Cluster(nodes=(machine(), machine("n2", 32.0, taken=0)), growable=growable)
        assert one(self.stats, cluster=cluster).change is None

    def test_below_the_minimum_of_the_rule(self):
        decision = one(self.stats, rules=[wants(8, min_allocations=6)])
        assert decision.change is None
        assert "below min_allocations 6" in explain(decision)

    def test_in_a_dry_run(self):
        decision = one(self.stats, rules=[wants(8, dry_run=True)])
        assert decision.change is None

    def test_as_many_are_added_as_fit(self):
        decision = one(lambda at: elser(process(at=at, gib=4.0)))
        assert decision.change == SetAllocations(6), "4.0 GiB, and one more for each"

    def test_no_limit_where_memory_is_not_reported(self):
        assert one(lambda at: elser(process(at=at, gib=None))).change == SetAllocations(8)

    def test_a_decrease_is_never_limited(self):
        decision = one(lambda at: elser(process(at=at, gib=7.0)), rules=[wants(2)])
        assert decision.change == SetAllocations(2)

    def test_beyond_its_memory_already_nothing_is_added_and_nothing_forced(self):
        decision = one(lambda at: elser(process(at=at, gib=7.0)))
        assert decision.change is None
        assert "has 6.5 GiB for machine learning, 7.0 GiB in use" in explain(decision)

    def test_when_it_is_taken_over_from_adaptive_allocations(self):
        adaptive = AdaptiveAllocations(enabled=True, minimum=1, maximum=8)
        decision = one(
            lambda at: elser(process(at=at), adaptive=adaptive), rules=[wants(8, take_over=True)]
        )
        assert decision.change == SetAllocations(4, take_over=True)

    @pytest.mark.parametrize("taken", ["runtime_memory_bytes", "peak_runtime_memory_bytes"])
    def test_by_the_figures_of_the_model(self, taken):
        figures = {taken: round(6.2 * GIB)}
        assert one(lambda at: elser(process(at=at, gib=None), **figures)).change is None

    def test_the_peak_counts_although_less_is_used_now(self):
        figures = {
            "runtime_memory_bytes": round(3.1 * GIB),
            "peak_runtime_memory_bytes": round(6.2 * GIB),
        }
        assert one(lambda at: elser(process(at=at, gib=3.1), **figures)).change is None

    def test_what_its_only_process_uses_counts_although_the_model_reports_less(self):
        figures = {"peak_runtime_memory_bytes": round(3.1 * GIB)}
        assert one(lambda at: elser(process(at=at, gib=6.2), **figures)).change is None


class TestAdaptiveAllocations:
    """The cluster scales itself up to the maximum, whatever memory is left."""

    RULES = (wants(4, mode=Mode.BOUNDS),)

    @staticmethod
    def bounded(minimum, maximum, *, allocations=4, gib=4.0):
        adaptive = AdaptiveAllocations(enabled=True, minimum=minimum, maximum=maximum)
        return lambda at: elser(process(at=at, allocations=allocations, gib=gib), adaptive=adaptive)

    def test_the_maximum_is_cut(self):
        decision = one(self.bounded(2, 20), rules=self.RULES)
        assert decision.change == SetBounds(4, 6)
        assert "adaptive allocations may have no more than 6: elser uses 1.0 GiB" in explain(
            decision
        )

    def test_so_is_it_where_nothing_else_changes(self):
        decision = one(self.bounded(4, 20), rules=self.RULES)
        assert decision.change == SetBounds(4, 6)
        assert one(self.bounded(4, 6), rules=self.RULES).change is None

    def test_they_are_not_forced_to_give_up_what_they_have(self):
        rules = (wants(1, mode=Mode.BOUNDS),)
        assert one(self.bounded(1, 20, gib=6.6), rules=rules).change == SetBounds(1, 4)

    def test_without_reported_memory_the_maximum_is_that_of_the_rule(self):
        assert one(self.bounded(2, 20, gib=None), rules=self.RULES).change == SetBounds(4, 20)


class TestOtherMemory:
    def test_processes_of_other_deployments(self):
        def both(at):
            yield elser(process(at=at, allocations=1, gib=1.5))
            yield elser(process(at=at, allocations=2, gib=3.0), deployment_id="other")

        rules = [wants(8, deployments=("elser",)), wants(2)]
        decision = decided(both, rules=rules)["elser"]
        assert decision.change == SetAllocations(2), "1.9 GiB are free for 1.5 each"

    def test_what_the_planner_has_reserved_for_them_counts_if_it_is_more(self):
        def both(at):
            yield elser(process(at=at, allocations=2, gib=2.0))
            yield elser(
                process(at=at, allocations=1, gib=None),
                deployment_id="other",
                model_id="other",
                required_memory_bytes=3 * GIB,
            )

        assert decided(both)["elser"].change == SetAllocations(3)

    @pytest.mark.parametrize(("reserved", "desired"), [({}, 6), ({"job_memory_bytes": 2 * GIB}, 4)])
    def test_reservations_of_other_jobs(self, reserved, desired):
        cluster = Cluster(nodes=(machine(**reserved),), growable=False)
        decision = one(lambda at: elser(process(at=at, allocations=3, gib=3.0)), cluster=cluster)
        assert decision.desired == desired

    def test_reservations_that_can_only_be_those_of_other_jobs(self):
        cluster = Cluster(nodes=(machine(taken=REQUIRED + 30 * MIB + 2 * GIB),), growable=False)
        decision = one(lambda at: elser(process(at=at, allocations=3, gib=3.0)), cluster=cluster)
        assert decision.desired == 4

    def test_two_claims_are_granted_the_same_memory_once(self):
        def both(at):
            for name in ("elser", "other"):
                yield elser(process(at=at, allocations=1, gib=1.0), deployment_id=name)

        decisions = decided(both, rules=[wants(4)])
        cluster_bytes = sum(decision.desired for decision in decisions.values()) * GIB
        assert cluster_bytes <= 6.5 * GIB
        assert decisions["elser"].desired > 1 or decisions["other"].desired > 1

    def test_allocations_that_are_still_missing_come_first(self):
        """A raise to five was accepted, and only four are acknowledged."""
        decision = one(lambda at: elser(process(at=at, gib=4.0), allocations=5), rules=[wants(8)])
        assert decision.desired == 6


class TestNodes:
    @staticmethod
    def scattered(at):
        return elser(
            process("n1", at=at, allocations=4, gib=6.2), process("n2", at=at, allocations=1, gib=2)
        )

    def test_the_planner_may_choose_the_full_node(self):
        cluster = Cluster(nodes=(machine("n1"), machine("n2")), growable=False)
        assert one(self.scattered, cluster=cluster).change is None

    def test_not_without_free_processors_there(self):
        full = machine("n1", processors=4.0)
        cluster = Cluster(nodes=(full, machine("n2")), growable=False)
        decision = one(self.scattered, cluster=cluster, rules=[wants(12)])
        assert decision.desired == 8, "four on each"

    @pytest.mark.parametrize(("wanted", "desired"), [(4, 8), (2, 5)])
    def test_but_with_those_that_a_decrease_may_free_there(self, wanted, desired):
        def beside(at):
            other = process("n1", at=at, allocations=4, gib=None)
            return self.scattered(at), deployment(other, deployment_id="other", model_id="other")

        rules = [wants(12, name="elser"), wants(wanted, name="other")]
        rules = [replace(each, deployments=(each.name,)) for each in rules]
        cluster = Cluster(nodes=(machine("n1", processors=8.0), machine("n2")), growable=False)
        assert decided(beside, cluster=cluster, rules=rules)["elser"].desired == desired

    @pytest.mark.parametrize(("memory", "desired"), [(6.5, 8), (1.5, 4)])
    def test_a_further_node_needs_memory_for_a_whole_process(self, memory, desired):
        nodes = (machine(processors=4.0), machine("n2", memory, taken=0))
        cluster = Cluster(nodes=nodes, growable=None)
        unreserved = {"required_memory_bytes": None}
        decision = one(lambda at: elser(process(at=at), **unreserved), cluster=cluster)
        assert decision.desired == desired

    def test_a_node_that_is_added_is_as_large_as_the_largest(self):
        def full(at):
            yield elser(process(at=at))
            yield deployment(process(at=at, allocations=12, gib=None), deployment_id="other")

        cluster = Cluster(nodes=(machine(),), growable=True)
        decision = decided(full, cluster=cluster, rules=[wants(16)])["elser"]
        assert decision.desired == 8
        assert "a new node would have 6.5 GiB" in explain(decision)

    def test_a_node_that_is_added_takes_no_more_than_its_processors(self):
        """Four of eight further allocations, which fit; nothing is known of a second node."""
        cluster = Cluster(nodes=(machine(),), growable=True)
        decision = one(
            lambda at: elser(process(at=at, threads_per_allocation=4), threads_per_allocation=4),
            cluster=cluster,
            rules=[wants(12)],
        )
        assert decision.desired == 12

    def test_the_memory_of_the_machine_is_the_most_that_is_possible(self):
        """`GET _ml/memory/_stats` failed, and `GET _nodes` did not."""
        unknown = machine(
            ml_memory_bytes=None, free_ml_memory_bytes=None, max_ml_memory_bytes=round(6.5 * GIB)
        )
        decision = one(lambda at: elser(process(at=at)), cluster=Cluster(nodes=(unknown,)))
        assert decision.change is None
        assert "node ml-n1 has at most 6.5 GiB for machine learning" in explain(decision)

    @pytest.mark.parametrize("cluster", [Cluster(nodes=()), Cluster(nodes=(machine("n9"),))])
    def test_a_node_of_unknown_memory_limits_nothing(self, cluster):
        assert one(lambda at: elser(process(at=at)), cluster=cluster).desired == 8

    def test_a_node_that_loads_the_model(self):
        nodes = (machine("n1", 32.0), machine("n2", 3.5))
        decision = one(
            lambda at: elser(process("n1", at=at, gib=4.0), loading("n2"), allocations=5),
            cluster=Cluster(nodes=nodes, growable=False),
        )
        assert decision.desired < 8

    def test_two_nodes_of_one_name_are_distinguished(self):
        nodes = (replace(machine(), name="same"), replace(machine("n2"), name="same"))
        decision = one(lambda at: elser(process(at=at)), cluster=Cluster(nodes=nodes))
        assert "node n1 has" in explain(decision)


class TestResuming:
    def resumed(self, gib, **given):
        stats = elser(process(allocations=4, gib=gib), **given)
        stopped = {"elser": StoppedDeployment(stats=stats, since=0.0)}
        state = State(stopped=stopped, resume_requested=frozenset(stopped))
        zero = ScaleToZero(after_s=60.0, via=ZeroMethod.STOP)
        rules = [wants(4, min_allocations=4, zero=zero)]
        cluster = Cluster(nodes=(machine(taken=0),), growable=False)
        decisions = decided(lambda _: (), state=state, rules=rules, cluster=cluster, times=1)
        return decisions["elser"]

    def test_it_is_started_with_what_fits(self):
        assert isinstance(self.resumed(4.0).change, Start)
        assert self.resumed(4.0).change.allocations == 4
        assert self.resumed(8.0).change.allocations == 2, "its fixed part is not known"

    def test_with_a_maximum_of_adaptive_allocations_that_fits(self):
        adaptive = AdaptiveAllocations(enabled=True, minimum=1, maximum=20)
        change = self.resumed(4.0, adaptive=adaptive).change
        assert isinstance(change, Start)
        assert (change.adaptive.minimum, change.adaptive.maximum) == (4, 6)


class TestTheEstimate:
    @staticmethod
    def follow(*reports, nodes=None):
        """The estimates in GiB after each report of (allocations, GiB)."""
        use, estimates = None, []
        for number, (allocations, gib) in enumerate(reports):
            stats = elser(process(allocations=allocations, gib=gib, at=10.0 * number))
            use = observed_memory(use, stats, nodes or {})
            estimates.append(None if use is None else use.allocation_bytes / GIB)
        return estimates

    def test_it_follows_a_rise_at_once_and_a_fall_by_a_tenth_of_the_gap(self):
        assert self.follow((4, 4.0), (4, 6.0), (4, 4.0), (4, 4.0)) == pytest.approx(
            [1.0, 1.5, 1.5 - FALL * 0.5, 1.0 + 0.9**2 * 0.5]
        )

    def test_memory_kept_after_a_decrease_belongs_to_the_former_allocations(self):
        assert self.follow((4, 6.0), (2, 6.0), (2, 6.0)) == pytest.approx([1.5, 1.5, 1.5])

    def test_a_process_that_reports_its_memory_shows_more_than_a_busier_one_that_does_not(self):
        stats = elser(
            process("n1", allocations=4, gib=None),
            process("n2", allocations=2, gib=3.0),
            runtime_memory_bytes=2 * GIB,
        )
        assert observed_memory(None, stats, {}).allocation_bytes == pytest.approx(1.5 * GIB)

    def test_an_idle_process_shows_nothing(self):
        busy, idle = (elser(node(memory_bytes=g * GIB, completed=500)) for g in (2, 1))
        use = observed_memory(observed_memory(None, busy, {}), idle, {})
        assert use.allocation_bytes == 2 * GIB

    @pytest.mark.parametrize("absurd", [0, 1, 6348, 6_500_000, 2**40, 2**53])
    def test_a_figure_that_cannot_be_true_is_unknown(self, absurd):
        nodes = {"n1": machine(machine_memory_bytes=16 * GIB)}
        stats = elser(node(memory_bytes=absurd))
        assert observed_memory(None, stats, nodes) is None
        use = observed_memory(None, elser(process(allocations=1, gib=2.0)), nodes)
        assert observed_memory(use, stats, nodes).allocation_bytes == 2 * GIB

    def test_one_high_figure_is_forgotten(self):
        reports = [(4, 4.0), (4, 30.0), *[(4, 4.0)] * 60]
        assert self.follow(*reports)[-1] == pytest.approx(1.0, rel=0.02)

    def test_a_young_process_counts_with_what_the_planner_expects(self):
        young = one(lambda at: elser(process(allocations=1, gib=0.6, completed=0, at=at / 100.0)))
        assert young.desired == 3, "1.96 GiB each until it has served enough"

    def test_of_several_processes_the_busiest_counts(self):
        stats = elser(process("n1", allocations=1, gib=2.0), process("n2", gib=5.0))
        assert observed_memory(None, stats, {}).allocation_bytes == 1.25 * GIB


@given(
    st.floats(1.0, 8.0),
    st.floats(0.0, 30.0),
    st.integers(0, 20),
    st.integers(1, 20),
    st.one_of(st.none(), st.floats(0.5, 4.0)),
    st.floats(0.0, 40.0),
)
def test_what_fits_is_the_most_that_does_not_exceed_the_limit(each, used, now, most, fixed, limit):
    cost = ProcessCost(each, used if now else 0.0, now, most, fixed)
    more = cost.most_more(limit)
    assert more == 0 or cost.with_more(more) <= limit * (1 + 1e-6)
    assert cost.with_more(more + 1) > limit * (1 - 1e-6)


def outcome_of(seeds, **given):
    runs = [run(seed, **given) for seed in seeds]
    exceeded = [text for each in runs for text in each.exceeded]
    granted, refused = (sum(each[part] for each in runs) for part in (1, 2))
    return exceeded, refused / (granted + refused)


@pytest.mark.parametrize("scattered", [False, True])
def test_no_raise_takes_a_node_over_its_memory(scattered):
    exceeded, refused = outcome_of(range(20), scattered=scattered)
    assert exceeded == []
    assert refused <= 0.05


@pytest.mark.deep
@pytest.mark.untraced
@pytest.mark.parametrize("scattered", [False, True])
@pytest.mark.parametrize("first", range(0, 6000, 1000))
def test_no_raise_in_many_runs_takes_a_node_over_its_memory(first, scattered):
    exceeded, refused = outcome_of(range(first, first + 1000), scattered=scattered)
    assert exceeded == []
    assert refused <= 0.05
