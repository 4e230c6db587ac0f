"""What every plan in every story and every end-to-end test has to keep."""

from autoscaler.core.explanation import explain
from autoscaler.core.values import (
    STARTED,
    Decision,
    DeploymentStats,
    Fate,
    Observation,
    Outcome,
    Plan,
)

NOT_SENT = frozenset({Fate.UNCHANGED, Fate.DRY_RUN, Fate.WITHHELD})


def check(observation: Observation, plan: Plan, outcomes: tuple[Outcome, ...]) -> None:
    """Raise AssertionError, naming the decision, if a plan breaks a promise."""
    decided = [decision.deployment_id for decision in plan.decisions]
    assert decided == sorted(set(decided)), "one decision a deployment, in order"
    assert not set(decided) & set(plan.unmanaged), "managed or not, never both"
    assert {*decided, *plan.unmanaged} == set(observation.deployments), "nobody is passed over"
    assert [outcome.decision for outcome in outcomes] == list(plan.decisions), (
        "each decision has its outcome"
    )
    for decision in plan.decisions:
        _check_decision(decision, observation.deployments[decision.deployment_id])
    for outcome in outcomes:
        assert outcome.decision.changes or outcome.fate is Fate.UNCHANGED, outcome
        assert not outcome.decision.dry_run or outcome.fate in NOT_SENT, outcome


def _check_decision(decision: Decision, stats: DeploymentStats) -> None:
    number = decision.current
    for step in decision.steps:
        assert step.before == number, f"a gap in the trail: {decision}"
        number = step.after
    words = explain(decision)
    change = f"{decision.current} -> {number}" if decision.changes else f"stays at {number}"
    assert words.startswith(f"{decision.deployment_id} {change}: "), words
    if not decision.changes:
        return
    assert 1 <= decision.minimum <= number <= decision.maximum, f"out of bounds: {words}"
    assert any(step.changed for step in decision.steps), f"changed without a reason: {words}"
    assert decision.current == stats.allocations, f"from a number it does not have: {words}"
    assert stats.state == STARTED, f"changed while {stats.state}: {words}"
    assert stats.native is None or not stats.native.enabled, f"fights the cluster: {words}"
    if number < decision.current:
        assert not decision.sample.flaws, f"down on damaged statistics: {words}"
