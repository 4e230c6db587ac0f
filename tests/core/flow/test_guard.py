"""No change leaves the bounds of its rule, and none decreases anything on damaged statistics."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from autoscaler.core.decision import Mode, OutcomeKind, SetAllocations, SetBounds, Start, Stop
from autoscaler.core.flow.constraints import BURST_HOLD_S
from autoscaler.core.flow.feedback import apply_outcomes
from autoscaler.core.flow.guard import limits_of, within_limits
from autoscaler.core.flow.planning import plan
from autoscaler.core.flow.release import release_change, released_start
from autoscaler.core.selection import OnExit, ScaleToZero, ZeroMethod, bounds_of
from autoscaler.core.state import State, StoppedDeployment
from autoscaler.core.values import AdaptiveAllocations, Cluster, NodeCapacity, Reason, Schedule
from tests.observations import deployment, loading, node, observation, outcome, policy, rule

POLL_S = 10.0


def adaptive(minimum, maximum, *, enabled=True):
    return AdaptiveAllocations(enabled=enabled, minimum=minimum, maximum=maximum)


def decided(*polls, governed):
    """The last decision after these statistics, ten seconds apart."""
    state = State()
    for count, stats in enumerate(polls):
        planned, state = plan(state, observation(count * POLL_S, stats), policy(governed))
    (decision,) = planned.decisions
    return decision


class TestFieldCases:
    def test_a_take_over_above_the_maximum_waits_for_the_decrease(self):
        """A node is loading, so nothing is decreased; 19 is not sent under a rule of 1..12."""
        stats = deployment(
            node(allocations=10), loading(), allocations=19, adaptive=adaptive(1, None)
        )
        governed = rule(take_over=True, min_allocations=1, max_allocations=12)
        assert decided(stats, stats, stats, governed=governed).change is None
        settled = deployment(node(allocations=19), adaptive=adaptive(1, None))
        decision = decided(settled, settled, governed=replace(governed, stabilisation_window_s=0.0))
        assert decision.change.take_over
        assert decision.change.allocations <= 12

    @pytest.mark.parametrize("minimum", [0, 1, None])
    def test_bounds_are_not_set_on_contradictory_statistics(self, minimum):
        """12 allocations are requested and run, and the target is 3."""
        stats = deployment(
            node(allocations=12), target_allocations=3, adaptive=adaptive(minimum, 20)
        )
        governed = rule(mode=Mode.BOUNDS, min_allocations=2, max_allocations=4)
        assert decided(stats, stats, stats, governed=governed).change is None


counts = st.integers(1, 24)
optional = st.none() | counts


@st.composite
def rules(draw):
    minimum, maximum = sorted((draw(counts), draw(counts)))
    mode = draw(st.sampled_from(Mode))
    methods = [ZeroMethod.STOP] + ([ZeroMethod.ADAPTIVE] if mode is Mode.BOUNDS else [])
    schedules = [
        Schedule(
            name=str(index),
            cron="* * * * *",
            timezone="UTC",
            length_s=60.0,
            min_allocations=draw(optional),
            max_allocations=draw(optional),
        )
        for index in range(draw(st.integers(0, 2)))
    ]
    return rule(
        mode=mode,
        take_over=mode is Mode.DIRECT and draw(st.booleans()),
        min_allocations=minimum,
        max_allocations=maximum,
        burst_max_allocations=draw(optional),
        schedules=tuple(schedules),
        zero=draw(st.none() | st.sampled_from([ScaleToZero(20.0, each) for each in methods])),
        stabilisation_window_s=draw(st.sampled_from([0.0, 60.0])),
        external_change_hold_s=draw(st.sampled_from([0.0, 20.0])),
        safe_allocations=draw(st.integers(minimum, maximum)),
    )


@st.composite
def statistics(draw):
    """Statistics that need not make sense."""
    allocations = draw(st.none() | st.integers(0, 30))
    nodes = tuple(
        node(
            f"n{index}",
            allocations=draw(st.none() | st.integers(0, 12)),
            completed=draw(st.sampled_from([0, 10, 400, 100_000])),
            pending=draw(st.sampled_from([0, 0, 50])),
        )
        if draw(st.booleans())
        else loading(f"n{index}")
        for index in range(draw(st.integers(0, 2)))
    )
    scaler = adaptive(draw(st.none() | st.integers(0, 24)), draw(optional))
    return deployment(
        *nodes,
        allocations=allocations,
        running_allocations=draw(st.none() | st.just(allocations) | st.integers(0, 30)),
        state=draw(st.sampled_from(["started", "started", "started", "starting", ""])),
        adaptive=draw(st.none() | st.just(scaler) | st.just(replace(scaler, enabled=False))),
        server_created_at=draw(st.sampled_from([900.0, 900.0, 1_000.0])),
    )


def is_scarce(decision):
    return any(step.reason in {Reason.FIT, Reason.CAPACITY} for step in decision.steps)


def check(decision, stats, governed, above_burst_s):
    """The property, for one decision."""
    low, high = bounds_of(governed)
    change, issues = decision.change, decision.sample.issues
    least = 0 if is_scarce(decision) else low
    ceiling = governed.burst_max_allocations
    match change:
        case SetAllocations(allocations=allocations):
            assert max(1, least) <= allocations <= high
            if ceiling is not None and (above_burst_s or 0.0) < BURST_HOLD_S:
                assert allocations <= max(ceiling, stats.allocations, low)
            if issues:
                assert allocations >= max(stats.allocations, stats.running_allocations or 0)
        case SetBounds(minimum=minimum, maximum=maximum):
            to_zero = minimum == 0 and decision.steps[-1].reason is Reason.IDLE
            assert to_zero or minimum >= least
            assert minimum <= maximum <= high
            if issues:
                before = stats.adaptive
                if before is not None and before.enabled:
                    assert minimum >= (before.minimum or 0)
                assert maximum >= max(stats.allocations, stats.running_allocations or 0)
        case Stop():
            assert governed.zero.via is ZeroMethod.STOP
            assert not issues
        case Start(allocations=allocations):
            assert max(1, least) <= allocations <= high
            if change.adaptive is not None and change.adaptive.enabled:
                assert least <= change.adaptive.minimum <= change.adaptive.maximum <= high


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    rules(),
    st.lists(
        st.tuples(st.none() | statistics(), st.sampled_from(OutcomeKind)), min_size=2, max_size=8
    ),
    st.none() | st.integers(1, 40),
)
def test_no_change_leaves_the_bounds_and_none_decreases_on_damaged_statistics(
    governed, polls, cores
):
    hardware = None
    if cores is not None:
        machine = NodeCapacity(node_id="n0", name="n0", version="9.4.0", processors=float(cores))
        hardware = Cluster(nodes=(machine,))
    state, at = State(), 1_000_000.0
    for stats, kind in polls:
        at += POLL_S
        reported = () if stats is None else (stats,)
        planned, state = plan(
            state,
            observation(at, *reported, cluster=hardware),
            policy(governed),
            governed.schedules,
        )
        for decision in planned.decisions:
            known = state.deployments.get(decision.deployment_id)
            check(decision, stats, governed, None if known is None else known.above_burst_s)
        outcomes = [outcome(each, kind, at=at) for each in planned.decisions if each.changes]
        state = apply_outcomes(state, outcomes)


@settings(max_examples=100, deadline=None)
@given(rules(), statistics(), st.sampled_from(OnExit), st.booleans())
def test_no_release_leaves_the_bounds(governed, stats, to, certain):
    low, high = governed.min_allocations, governed.max_allocations
    match release_change(governed, stats, to, certain=certain):
        case SetAllocations(allocations=allocations):
            assert low <= allocations <= high
            assert certain or allocations >= stats.allocations
        case SetBounds(minimum=minimum, maximum=maximum):
            assert low <= minimum <= maximum <= high
            assert certain or maximum >= stats.allocations
    start = released_start(StoppedDeployment(stats=stats, since=0.0), governed, to)
    assert low <= start.allocations <= high


def test_a_stop_needs_certain_statistics_and_a_rule_that_allows_it():
    zero = rule(zero=ScaleToZero(60.0, ZeroMethod.STOP))
    stats = deployment(node())
    assert within_limits(Stop(), limits_of(zero, certain=True, zero=True), stats) == Stop()
    assert within_limits(Stop(), limits_of(zero, certain=False, zero=True), stats) is None
    assert within_limits(Stop(), limits_of(zero, certain=True), stats) is None
    assert within_limits(Stop(), limits_of(rule(), certain=True, zero=True), stats) is None
