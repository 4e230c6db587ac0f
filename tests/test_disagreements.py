"""Counts that need not agree: a lasting difference is accepted, named, and measured with."""

import pytest
from msgspec.structs import replace

from autoscaler.core.decision import OutcomeKind
from autoscaler.core.explanation import explain
from autoscaler.core.flow.cycle import begin_cycle, end_cycle
from autoscaler.core.policies import UtilisationPolicy
from autoscaler.core.slo.policy import SloPolicy
from autoscaler.core.state import State
from autoscaler.core.values import Cluster, DataIssue, NodeCapacity
from tests.observations import deployment, node, observation, outcome, policy, rule

POLICIES = {
    "utilisation": UtilisationPolicy(target=0.7, load_window_s=60.0),
    "slo": SloPolicy(),
}
both = pytest.mark.parametrize("name", list(POLICIES))


class Daemon:
    def __init__(self, name, **given):
        self.rules = policy(rule(policy=POLICIES[name], **given))
        self.state, self.at = State(), 0.0

    def see(self, stats, cluster=None):
        seen = observation(self.at, stats, cluster=cluster)
        cycle = begin_cycle(self.state, seen, self.rules)
        accepted = {
            each.deployment_id: outcome(each, OutcomeKind.ACCEPTED) for each in cycle.updates
        }
        _, self.state = end_cycle(cycle.plan, accepted, cycle.state)
        self.at += 10.0
        return cycle.plan.decisions[0]

    def run(self, seconds, stats_at, cluster=None):
        """The decisions of some seconds; `stats_at` returns the statistics at an instant."""
        return [self.see(stats_at(self.at), cluster) for _ in range(round(seconds / 10.0))]


def process(at, rate, *, node_id="n1", allocations=4, pending=0):
    return node(
        node_id,
        name=f"es-{node_id[1:]}",
        allocations=allocations,
        completed=1_000 + round(rate * at),
        pending=pending,
    )


def clamped(rate, *, assigned=8, growth=0.0):
    """A node that acknowledges 4 of `assigned` allocations."""

    def stats_at(at):
        one = process(at, rate, pending=round(growth * at))
        return deployment(one, allocations=assigned, running_allocations=assigned)

    return stats_at


class TestClampedNode:
    @both
    def test_it_is_measured_and_named_after_a_minute(self, name):
        seen = Daemon(name).run(200.0, clamped(60.0))
        assert DataIssue.INCOMPLETE in seen[3].sample.issues
        for decision in seen[7:]:
            assert decision.sample.issues == ()
            assert decision.sample.unacknowledged == 4
            assert decision.running == 4
            assert "node es-1 runs 4 of 8 assigned allocations" in explain(decision)

    @both
    def test_it_is_scaled_up_by_what_does_not_work(self, name):
        seen = Daemon(name).run(200.0, clamped(95.0, growth=5.0))
        assert any(decision.desired > 8 for decision in seen)

    @both
    def test_and_down_when_less_is_needed(self, name):
        daemon, assigned = Daemon(name, stabilisation_window_s=60.0), 8
        for _ in range(120):
            assigned = daemon.see(clamped(20.0, assigned=assigned)(daemon.at)).desired
        assert 1 < assigned < 4

    @both
    def test_allocations_that_work_are_not_taken_away(self, name):
        """8 of 12 work, and 7 erlangs need them all."""

        def stats_at(at):
            nodes = [process(at, 87.5), process(at, 87.5, node_id="n2")]
            return deployment(*nodes, allocations=12, running_allocations=12)

        for decision in Daemon(name).run(600.0, stats_at):
            assert decision.desired >= 12

    def test_an_increase_of_the_difference_is_a_new_one(self):
        daemon = Daemon("utilisation")
        daemon.run(100.0, clamped(60.0))
        seen = daemon.run(100.0, clamped(60.0, assigned=10))
        assert DataIssue.INCOMPLETE in seen[0].sample.issues
        assert seen[-1].sample.unacknowledged == 6

    def test_when_it_ends_nothing_remains(self):
        daemon = Daemon("utilisation")
        daemon.run(100.0, clamped(60.0))
        after = daemon.see(clamped(60.0, assigned=4)(daemon.at))
        assert (after.sample.issues, after.sample.unacknowledged) == ((), 0)
        assert daemon.state.deployments["elser"].disagreement is None


class TestMissingNode:
    """A serving node that is left out of the response makes the same difference."""

    @staticmethod
    def stats_at(*missing):
        def at_instant(at):
            nodes = [process(at, 60.0), process(at, 60.0, node_id="n2")]
            present = [each for each in nodes if each.node_id not in missing]
            return deployment(*present, allocations=8, running_allocations=8)

        return at_instant

    @both
    def test_its_load_is_never_taken_for_gone(self, name):
        daemon = Daemon(name)
        before = daemon.run(200.0, self.stats_at())
        for decision in daemon.run(1_200.0, self.stats_at("n2")):
            assert decision.desired == before[-1].current == 8
            assert DataIssue.INCOMPLETE in decision.sample.issues

    def test_not_if_the_cluster_still_has_the_node(self):
        daemon = Daemon("utilisation")
        nodes = tuple(NodeCapacity(node_id=each, name=each) for each in ("n1", "n2"))
        daemon.run(200.0, self.stats_at(), Cluster(nodes=nodes))
        seen = daemon.run(300.0, self.stats_at("n2"), Cluster(nodes=nodes))
        assert DataIssue.INCOMPLETE in seen[-1].sample.issues

    def test_a_node_that_left_the_cluster_is_not_awaited(self):
        daemon = Daemon("utilisation")
        nodes = tuple(NodeCapacity(node_id=each, name=each) for each in ("n1", "n2"))
        daemon.run(200.0, self.stats_at(), Cluster(nodes=nodes))
        seen = daemon.run(300.0, self.stats_at("n2"), Cluster(nodes=nodes[:1]))
        assert seen[-1].sample.unacknowledged == 4

    def test_a_silent_route_is_never_accepted(self):
        def stats_at(at):
            silent = node("n2", server_started_at=None, allocations=None)
            return deployment(process(at, 60.0), silent, allocations=8, running_allocations=8)

        for decision in Daemon("utilisation").run(600.0, stats_at):
            assert DataIssue.INCOMPLETE in decision.sample.issues


@both
@pytest.mark.parametrize(
    "odd", [{"target_allocations": 5}, {"completed": 7}, {"errors": 3}, {"timeouts": 4}], ids=str
)
def test_a_lasting_contradiction_is_accepted(name, odd):
    def stats_at(at):
        return replace(deployment(process(at, 20.0), running_allocations=4), **odd)

    seen = Daemon(name).run(1_200.0, stats_at)
    assert DataIssue.INCONSISTENT in seen[2].sample.issues
    assert seen[-1].sample.issues == ()
    assert any(decision.desired < decision.current for decision in seen)


def test_counts_that_grow_faster_than_a_node_can_serve_are_damaged():
    def stats_at(at):
        errors = 2**31 - 1 if at >= 100.0 else 0
        return deployment(replace(process(at, 60.0), errors=errors))

    daemon = Daemon("utilisation")
    daemon.run(100.0, stats_at)
    decision = daemon.see(stats_at(100.0))
    assert DataIssue.IMPLAUSIBLE in decision.sample.issues
    assert decision.desired == decision.current
