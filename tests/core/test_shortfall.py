"""Why fewer allocations run than are requested."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.core.explanation import reported_text
from autoscaler.core.shortfall import (
    STARTING_LIMIT_S,
    RouteStatus,
    ShortfallCause,
    reported_status,
    shortfall_of,
)
from autoscaler.core.values import DeploymentStats, NodeStats


def stats(requested, running, **more):
    fields = {"state": "started", "allocations": requested, "running_allocations": running} | more
    return DeploymentStats(deployment_id="elser", model_id="elser", **fields)


def route(name, state="started", reason="", node_id=None):
    return NodeStats(
        node_id=node_id or f"id-of-{name}", name=name, routing_state=state, routing_reason=reason
    )


def played(*observations, every_s=10.0):
    """The shortfall after each observation."""
    found, before, ran = [], None, None
    for index, each in enumerate(observations):
        before = shortfall_of(before, ran, each, index * every_s)
        ran = ran if each.running_allocations is None else each.running_allocations
        found.append(before)
    return found


def causes(*observations, **settings):
    return [None if each is None else each.cause for each in played(*observations, **settings)]


class TestCause:
    def test_a_rollout_is_starting_until_all_run(self):
        found = causes(stats(16, 16), stats(24, 16), stats(24, 20), stats(24, 24))
        assert found == [None, ShortfallCause.STARTING, ShortfallCause.STARTING, None]

    def test_what_ran_before_is_lost_until_all_run_again(self):
        found = played(stats(24, 24), stats(24, 16), stats(24, 22), stats(24, 24))
        assert [each and (each.cause, each.lost, each.missing) for each in found] == [
            None,
            (ShortfallCause.LOST, 8, 8),
            (ShortfallCause.LOST, 2, 2),
            None,
        ]

    def test_all_can_be_lost(self):
        *_, last = played(stats(24, 24), stats(24, 0, state="starting"))
        assert (last.cause, last.lost, last.running) == (ShortfallCause.LOST, 24, 0)

    def test_a_node_that_is_lost_during_a_rollout_is_lost(self):
        *_, last = played(stats(16, 16), stats(24, 16), stats(24, 8))
        assert (last.cause, last.lost, last.missing) == (ShortfallCause.LOST, 8, 16)

    def test_what_was_given_up_by_a_decrease_is_not_lost(self):
        assert causes(stats(24, 24), stats(16, 16)) == [None, None]
        *_, last = played(stats(24, 24), stats(16, 12))
        assert last.lost == 4

    def test_an_update_that_is_in_progress_when_the_daemon_starts_is_not_lost(self):
        assert causes(stats(24, 16)) == [ShortfallCause.STARTING]

    def test_the_reason_of_the_cluster_means_that_they_cannot_be_placed(self):
        assert causes(stats(24, 16, reason="no room")) == [ShortfallCause.UNPLACED]
        failed = (route("ml-1"), route("ml-2", "failed", "no memory"))
        assert causes(stats(24, 16, nodes=failed)) == [ShortfallCause.UNPLACED]

    def test_while_a_node_loads_the_model_they_are_starting(self):
        loading = (route("ml-1"), route("ml-2", "starting"))
        found = causes(stats(24, 16, reason="no room on ml-1", nodes=loading))
        assert found == [ShortfallCause.STARTING]

    def test_without_progress_they_are_overdue(self):
        waiting = [stats(24, 16)] * 3
        found = causes(*waiting, every_s=0.7 * STARTING_LIMIT_S)
        assert found == [ShortfallCause.STARTING, ShortfallCause.STARTING, ShortfallCause.OVERDUE]

    def test_each_allocation_that_starts_is_progress(self):
        climbing = [stats(24, running) for running in range(8, 24)]
        assert set(causes(*climbing, every_s=500.0)) == {ShortfallCause.STARTING}

    def test_a_deployment_that_is_being_stopped_lacks_nothing(self):
        assert causes(stats(24, 24), stats(24, 8, state="stopping")) == [None, None]


class TestUnknown:
    def test_unknown_allocations_neither_begin_nor_end_a_shortfall(self):
        found = played(
            stats(24, 24), stats(24, None), stats(24, 16), stats(24, None), stats(24, 16)
        )
        assert found[1] is None
        assert found[3] is found[2]
        assert (found[4].since, found[4].lost) == (20.0, 8)

    def test_where_the_requested_number_is_missing_the_target_counts(self):
        found = played(stats(None, 2, target_allocations=4))
        assert found[0].missing == 2


numbers = st.one_of(st.none(), st.integers(0, 30))


@given(st.lists(st.tuples(numbers, numbers), max_size=20))
def test_its_figures_agree_with_the_statistics(pairs):
    observed = [stats(requested, running) for requested, running in pairs]
    for each, found in zip(observed, played(*observed), strict=True):
        if each.allocations is None or each.running_allocations is None:
            continue
        missing = each.allocations - each.running_allocations
        assert (found is None) == (missing <= 0)
        if found is not None:
            assert found.missing == missing
            assert 0 <= found.lost <= missing
            assert found.since <= found.progress_at


class TestReportedStatus:
    def test_a_deployment_that_is_simply_started_has_none(self):
        assert reported_status(stats(2, 2, nodes=(route("ml-1"),))) is None
        assert reported_status(stats(2, 2, state="", nodes=(route("ml-1"),))) is None

    @pytest.mark.parametrize(
        "changed",
        [
            {"state": "failed"},
            {"reason": "no room"},
            {"nodes": (route("ml-1", "failed"),)},
            {"nodes": (route("ml-1", reason="odd"),)},
        ],
        ids=["state", "reason", "route", "reason-of-a-route"],
    )
    def test_everything_that_the_cluster_reports_is_kept(self, changed):
        found = reported_status(stats(2, 2, **changed))
        assert found.state == changed.get("state", "started")
        assert found.reason == changed.get("reason", "")
        routes = changed.get("nodes", ())
        assert [(r.state, r.reason) for r in found.routes] == [
            (r.routing_state, r.routing_reason) for r in routes
        ]

    def test_routes_that_are_started_are_left_out(self):
        found = reported_status(stats(2, 2, nodes=(route("ml-1"), route("ml-2", "starting"))))
        assert found.routes == (RouteStatus(node="ml-2", state="starting", reason=""),)

    def test_nodes_of_one_name_are_distinguished_by_their_ids(self):
        nodes = (route("es-1", "failed", node_id="a"), route("es-1", node_id="b"))
        assert [each.node for each in reported_status(stats(2, 2, nodes=nodes)).routes] == ["a"]


def test_a_route_without_a_state_has_an_unknown_one():
    found = stats(2, 2, nodes=(route("a"), route("b", state="")))
    assert reported_text(reported_status(found)) == "b in an unknown state"
