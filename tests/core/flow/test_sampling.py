"""Two observations become a sample, with the data-quality issues that it has."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.core.flow.sampling import sample
from autoscaler.core.values import DataIssue
from tests.observations import deployment, loading, node


def between(before, after, interval_s=10.0):
    return sample(before, after, at=100.0, interval_s=interval_s)


def test_a_saturated_deployment_reports_arrivals_and_not_throughput():
    measured = between(
        deployment(node()), deployment(node(completed=200, pending=400)), interval_s=10.0
    )
    assert (measured.arrivals, measured.completed, measured.issues) == (600, 200, ())


def test_a_draining_queue_is_not_load():
    measured = between(
        deployment(node(completed=100, pending=90)), deployment(node(completed=200, pending=0))
    )
    assert measured.arrivals == 10


def test_failures_are_arrivals():
    measured = between(
        deployment(node()), deployment(node(completed=5, errors=1, timeouts=2, rejections=3))
    )
    assert (measured.arrivals, measured.failed) == (11, 6)


def test_busy_time_is_exact_although_only_a_lifetime_mean_is_reported():
    before = node(completed=1000, mean_inference_s=0.100)
    after = node(completed=1100, mean_inference_s=(1000 * 0.100 + 100 * 0.040) / 1100)
    assert between(deployment(before), deployment(after)).busy_s == pytest.approx(4.0)


def test_service_time_leaves_out_cache_hits():
    after = node(completed=100, cache_hits=60, mean_inference_s=0.4 * 0.05)
    measured = between(deployment(node()), deployment(after))
    assert measured.timed == 40
    assert measured.timed_busy_s / measured.timed == pytest.approx(0.05)


def test_the_service_time_of_young_processes_alone_leaves_out_cache_hits():
    young = {"server_started_at": 4_970.0, "server_last_access_at": 5_000.0}
    before = node(completed=50, cache_hits=20, busy_s=1.5, **young)
    after = node(completed=150, cache_hits=80, busy_s=3.5, **young)
    measured = between(deployment(before), deployment(after))
    assert (measured.completed, measured.cache_hits, measured.timed) == (100, 60, 40)
    assert measured.timed_busy_s / measured.timed == pytest.approx(0.05)


def test_full_queues_on_several_nodes_are_plausible():
    names = ("n1", "n2", "n3")
    before = deployment(*[node(name) for name in names])
    after = deployment(*[node(name, completed=10, pending=1024) for name in names])
    assert between(before, after).issues == ()


@pytest.mark.parametrize("last_access_at", [5_000.0, None])
def test_a_young_process_is_not_timed_while_an_older_one_is(last_access_at):
    """Nor one of an unknown age."""
    old = node("old", server_started_at=1_000.0, server_last_access_at=5_000.0)
    young = node("young", server_started_at=4_970.0, server_last_access_at=last_access_at)
    after = deployment(
        node("old", completed=100, mean_inference_s=0.04),
        node(
            "young",
            server_started_at=4_970.0,
            server_last_access_at=last_access_at,
            completed=50,
            mean_inference_s=0.2,
        ),
    )
    measured = between(deployment(old, young), after)
    assert (measured.timed, measured.completed) == (100, 150)
    assert measured.timed_busy_s == pytest.approx(4.0)


def test_a_node_that_was_loading_counts_from_its_beginning():
    before = deployment(node(), loading("n2"), allocations=2)
    after = deployment(node(completed=10), node("n2", completed=7))
    measured = between(before, after)
    assert (measured.completed, measured.issues) == (17, ())


ISSUES = {
    "a node never seen before has totals of unknown age": (
        deployment(node()),
        deployment(node(completed=10), node("n2", completed=900)),
        DataIssue.NEW_NODE,
    ),
    "a restarted process took its totals with it": (
        deployment(node(completed=900)),
        deployment(node(completed=3, server_started_at=4_999.0)),
        DataIssue.COUNTER_RESET,
    ),
    "a process that is loading again has lost its totals": (
        deployment(node(), node("n2", completed=900)),
        deployment(node(), loading("n2")),
        DataIssue.COUNTER_RESET,
    ),
    "a node that left took its last requests with it": (
        deployment(node(), node("n2")),
        deployment(node()),
        DataIssue.COUNTER_RESET,
    ),
    "a node missing from one response still serves": (
        deployment(node(), node("n2")),
        deployment(node(), allocations=2, running_allocations=2),
        DataIssue.INCOMPLETE,
    ),
    "a started route has no totals": (
        deployment(node(), node("n2")),
        deployment(node(), node("n2", server_started_at=None, allocations=None)),
        DataIssue.INCOMPLETE,
    ),
    "no allocation status": (
        deployment(node()),
        deployment(node(), running_allocations=None),
        DataIssue.INCOMPLETE,
    ),
    "a deployment that is not started": (
        deployment(node()),
        deployment(node(), state="stopping"),
        DataIssue.NOT_STARTED,
    ),
    "totals that fell": (
        deployment(node(completed=900)),
        deployment(node(completed=800)),
        DataIssue.COUNTER_DECREASED,
    ),
    "a mean that fell so far that busy time fell": (
        deployment(node(completed=900, mean_inference_s=0.1)),
        deployment(node(completed=901, mean_inference_s=0.05)),
        DataIssue.COUNTER_DECREASED,
    ),
    "more cache hits than completions": (
        deployment(node()),
        deployment(node(completed=5, cache_hits=6)),
        DataIssue.COUNTER_DECREASED,
    ),
    "more work than the allocations have time for": (
        deployment(node()),
        deployment(node(completed=1_000_000)),
        DataIssue.IMPLAUSIBLE,
    ),
    "a queue longer than its capacity": (
        deployment(node()),
        deployment(node(completed=1, pending=50_000)),
        DataIssue.IMPLAUSIBLE,
    ),
    "a queue that has been longer than its capacity for long": (
        deployment(node(pending=50_000)),
        deployment(node(completed=100, pending=50_000)),
        DataIssue.IMPLAUSIBLE,
    ),
    "waiting requests, and none comes or goes": (
        deployment(node(pending=4)),
        deployment(node(pending=4)),
        DataIssue.STALLED,
    ),
    "requested allocations are not reported": (
        deployment(node()),
        deployment(node(), allocations=None),
        DataIssue.NOT_REPORTED,
    ),
    "target allocations are not reported": (
        deployment(node()),
        deployment(node(), target_allocations=None),
        DataIssue.NOT_REPORTED,
    ),
    "the state is not reported": (
        deployment(node()),
        deployment(node(), state=""),
        DataIssue.NOT_REPORTED,
    ),
    "a process does not report its allocations": (
        deployment(node()),
        deployment(node(allocations=None), allocations=1, running_allocations=1),
        DataIssue.INCOMPLETE,
    ),
    "requested and target allocations differ": (
        deployment(node()),
        deployment(node(), target_allocations=7),
        DataIssue.INCONSISTENT,
    ),
    "a sum that is not the sum": (
        deployment(node()),
        deployment(node(completed=10), completed=11),
        DataIssue.INCONSISTENT,
    ),
    "a request has completed, and no total has grown": (
        deployment(node(completed=10)),
        deployment(node(completed=10, server_last_access_at=5_007.0)),
        DataIssue.INCONSISTENT,
    ),
    "the same node twice, of which only one has a past": (
        deployment(node()),
        deployment(node(), node()),
        DataIssue.NEW_NODE,
    ),
}


@pytest.mark.parametrize(("before", "after", "issue"), ISSUES.values(), ids=ISSUES)
def test_a_data_quality_issue_says_what_is_wrong(before, after, issue):
    assert issue in between(before, after).issues


UNKNOWN = {
    "that nothing comes or goes, while a node does not respond": (
        deployment(node(pending=4), node("n2")),
        deployment(node(pending=4), node("n2", server_started_at=None, allocations=None)),
        DataIssue.STALLED,
    ),
    "that it is too much work, for an unknown number of allocations": (
        deployment(node(allocations=None)),
        deployment(node(allocations=None, completed=1_000), allocations=4),
        DataIssue.IMPLAUSIBLE,
    ),
}


@pytest.mark.parametrize(("before", "after", "issue"), UNKNOWN.values(), ids=UNKNOWN)
def test_what_cannot_be_known_is_not_claimed(before, after, issue):
    assert issue not in between(before, after).issues


def test_time_that_stands_still_measures_nothing():
    measured = between(deployment(node()), deployment(node(completed=5)), interval_s=0.0)
    assert measured.issues == (DataIssue.CLOCK,)


def test_an_idle_deployment_is_measured_as_idle():
    measured = between(deployment(node(completed=5)), deployment(node(completed=5)))
    assert (measured.arrivals, measured.issues) == (0, ())


@given(
    st.lists(
        st.tuples(st.integers(0, 10**6), st.integers(0, 200), st.integers(0, 50)),
        min_size=1,
        max_size=4,
    ),
    st.integers(0, 300),
)
def test_arrivals_are_completions_failures_and_queue_growth(history, pending_after):
    """Everything before the interval cancels out."""
    before = deployment(
        *[node(f"n{i}", completed=c, pending=p) for i, (c, p, _) in enumerate(history)]
    )
    after = deployment(
        *[
            node(f"n{i}", completed=c + more, pending=pending_after)
            for i, (c, _, more) in enumerate(history)
        ]
    )
    measured = between(before, after)
    came_out = sum(more for _, _, more in history)
    stayed_in = pending_after * len(history) - sum(p for _, p, _ in history)
    assert measured.arrivals == max(0, came_out + stayed_in)
