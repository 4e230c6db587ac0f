"""The invariants of every plan in the scenarios and the end-to-end tests."""

from autoscaler.core.decision import (
    Decision,
    Outcome,
    OutcomeKind,
    Plan,
    SetAllocations,
    SetBounds,
    Start,
    Stop,
)
from autoscaler.core.explanation import explain
from autoscaler.core.values import STARTED, DataIssue, DeploymentStats, Observation, Reason

NOT_SENT = frozenset(
    {
        OutcomeKind.UNCHANGED,
        OutcomeKind.DRY_RUN,
        OutcomeKind.OBSERVE_ONLY,
        OutcomeKind.WITHHELD,
        OutcomeKind.OUTDATED,
    }
)


def check(observation: Observation, plan: Plan, outcomes: tuple[Outcome, ...]) -> None:
    """Raise AssertionError, naming the decision, if a plan violates an invariant."""
    decided = [decision.deployment_id for decision in plan.decisions]
    assert decided == sorted(set(decided)), "one decision for each deployment, in order"
    assert not set(decided) & set(plan.unmanaged), "managed or not, never both"
    stopped = {d.deployment_id for d in plan.decisions if d.steps[0].reason is Reason.STOPPED}
    assert {*decided, *plan.unmanaged} == {*observation.deployments, *stopped}, (
        "every deployment is decided or unmanaged"
    )
    assert [outcome.decision for outcome in outcomes] == list(plan.decisions), (
        "each decision has its outcome"
    )
    for decision in plan.decisions:
        _check_steps(decision)
        if decision.deployment_id in stopped:
            _check_stopped(decision, observation)
        else:
            _check_running(decision, observation.deployments[decision.deployment_id], observation)
    for outcome in outcomes:
        assert outcome.decision.changes or outcome.kind is OutcomeKind.UNCHANGED, outcome
        assert not outcome.decision.dry_run or outcome.kind in NOT_SENT, outcome


def _check_steps(decision: Decision) -> None:
    allocations = decision.current
    for step in decision.steps:
        assert step.before == allocations, f"a gap between the steps: {decision}"
        allocations = step.after
    text = explain(decision)
    assert text.startswith(f"{decision.deployment_id} "), text
    assert "\n" not in text, text
    # A control mode that is not in effect yet waits for a sample without data-quality issues.
    waits = decision.steps[0].reason is Reason.DATA_QUALITY
    assert decision.changes or waits or allocations == decision.current, f"no change: {text}"


def _check_stopped(decision: Decision, observation: Observation) -> None:
    text = explain(decision)
    stats = observation.deployments.get(decision.deployment_id)
    assert stats is None or stats.state == "stopping", f"stopped, and reported: {text}"
    if decision.changes:
        assert isinstance(decision.change, Start), text
        assert decision.change.allocations >= 1, text


def _check_running(decision: Decision, stats: DeploymentStats, observation: Observation) -> None:
    text = explain(decision)
    if not decision.changes:
        return
    assert stats.state == STARTED, f"changed while {stats.state}: {text}"
    assert not decision.externally_controlled, f"externally controlled: {text}"
    match decision.change:
        case SetAllocations():
            _check_allocations(decision, decision.change, stats, text)
        case SetBounds():
            _check_bounds(decision, decision.change, text)
        case Stop():
            assert decision.steps[-1].reason is Reason.IDLE, text
            assert not decision.sample.issues, f"stopped in spite of data-quality issues: {text}"
            assert decision.deployment_id not in observation.owned, (
                f"stopped in spite of its owner: {text}"
            )
        case _:
            raise AssertionError(f"started though it runs: {text}")


def _check_allocations(
    decision: Decision, change: SetAllocations, stats: DeploymentStats, text: str
) -> None:
    allocations = change.allocations
    adaptive = stats.adaptive is not None and stats.adaptive.enabled
    assert _lowest(decision) <= allocations <= decision.max_allocations, f"out of bounds: {text}"
    assert allocations == max(decision.desired, 1), f"other allocations than decided: {text}"
    assert decision.current == stats.allocations, f"from allocations it does not have: {text}"
    assert adaptive == change.take_over, f"take_over does not match: {text}"
    # A take-over may leave the number as it is after a slow response.
    slow = change.take_over and decision.sample.issues == (DataIssue.SLOW_RESPONSE,)
    least = decision.current if slow else decision.current + 1
    assert allocations >= least or not decision.sample.issues, (
        f"decreased in spite of data-quality issues: {text}"
    )
    if not adaptive:
        assert any(step.changed for step in decision.steps), f"no step changed it: {text}"
        assert f" {decision.current} -> {allocations}: " in text, text


def _check_bounds(decision: Decision, change: SetBounds, text: str) -> None:
    to_zero = decision.steps[-1].reason is Reason.IDLE and change.minimum == 0
    # What ran before a gradual rollout returns as it was: from 0 on, or without a maximum.
    returns = decision.rollout is not None and not decision.rollout.active
    lowest = 0 if returns and decision.min_allocations == 0 else _lowest(decision)
    assert to_zero or lowest <= change.minimum, f"out of bounds: {text}"
    if not (returns and change.maximum == 0):
        assert change.minimum <= change.maximum <= decision.max_allocations, (
            f"out of bounds: {text}"
        )
    assert change.minimum == decision.desired, f"another minimum than decided: {text}"
    assert change.minimum >= decision.current or not decision.sample.issues, (
        f"decreased in spite of data-quality issues: {text}"
    )


def _lowest(decision: Decision) -> int:
    """The minimum of the rule, or fewer if no more fit on the nodes."""
    is_cut = any(step.reason is Reason.FIT and step.changed for step in decision.steps)
    return 1 if is_cut else max(1, decision.min_allocations)
