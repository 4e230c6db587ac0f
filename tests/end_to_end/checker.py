"""What every plan in every story and every end-to-end test has to keep."""

from autoscaler.core.explanation import explain
from autoscaler.core.values import (
    STARTED,
    Decision,
    DeploymentStats,
    Observation,
    Outcome,
    OutcomeKind,
    Plan,
    Reason,
    SetAllocations,
    SetBounds,
    Start,
    Stop,
)

NOT_SENT = frozenset({OutcomeKind.UNCHANGED, OutcomeKind.DRY_RUN, OutcomeKind.WITHHELD})


def check(observation: Observation, plan: Plan, outcomes: tuple[Outcome, ...]) -> None:
    """Raise AssertionError, naming the decision, if a plan breaks a promise."""
    decided = [decision.deployment_id for decision in plan.decisions]
    assert decided == sorted(set(decided)), "one decision a deployment, in order"
    assert not set(decided) & set(plan.unmanaged), "managed or not, never both"
    asleep = {d.deployment_id for d in plan.decisions if d.steps[0].reason is Reason.STOPPED}
    assert {*decided, *plan.unmanaged} == {*observation.deployments, *asleep}, "each has its word"
    assert [outcome.decision for outcome in outcomes] == list(plan.decisions), (
        "each decision has its outcome"
    )
    for decision in plan.decisions:
        _check_trail(decision)
        if decision.deployment_id in asleep:
            _check_asleep(decision, observation)
        else:
            _check_awake(decision, observation.deployments[decision.deployment_id], observation)
    for outcome in outcomes:
        assert outcome.decision.changes or outcome.kind is OutcomeKind.UNCHANGED, outcome
        assert not outcome.decision.dry_run or outcome.kind in NOT_SENT, outcome


def _check_trail(decision: Decision) -> None:
    number = decision.current
    for step in decision.steps:
        assert step.before == number, f"a gap in the trail: {decision}"
        number = step.after
    words = explain(decision)
    assert words.startswith(f"{decision.deployment_id} "), words
    assert "\n" not in words, words
    # A lever that is not in place yet waits for statistics that can be trusted.
    waits = decision.steps[0].reason is Reason.DATA_QUALITY
    assert decision.changes or waits or number == decision.current, f"nothing asked: {words}"


def _check_asleep(decision: Decision, observation: Observation) -> None:
    words = explain(decision)
    stats = observation.deployments.get(decision.deployment_id)
    assert stats is None or stats.state == "stopping", f"asleep, and runs: {words}"
    if decision.changes:
        assert isinstance(decision.change, Start), words
        assert decision.change.allocations >= 1, words


def _check_awake(decision: Decision, stats: DeploymentStats, observation: Observation) -> None:
    words = explain(decision)
    if not decision.changes:
        return
    assert stats.state == STARTED, f"changed while {stats.state}: {words}"
    assert not decision.externally_controlled, f"fights: {words}"
    match decision.change:
        case SetAllocations():
            _check_number(decision, decision.change, stats, words)
        case SetBounds():
            _check_bounds(decision, decision.change, words)
        case Stop():
            assert decision.steps[-1].reason is Reason.IDLE, words
            assert not decision.sample.issues, f"stopped on damaged statistics: {words}"
            assert decision.deployment_id not in observation.owned, f"not ours to stop: {words}"
        case _:
            raise AssertionError(f"it runs already: {words}")


def _check_number(
    decision: Decision, change: SetAllocations, stats: DeploymentStats, words: str
) -> None:
    number, native = change.allocations, stats.adaptive is not None and stats.adaptive.enabled
    assert 1 <= decision.min_allocations <= number <= decision.max_allocations, (
        f"out of bounds: {words}"
    )
    assert number == max(decision.desired, 1), f"another number than was decided: {words}"
    assert decision.current == stats.allocations, f"from a number it does not have: {words}"
    assert native == change.take_over, f"fights the cluster: {words}"
    assert number > decision.current or not decision.sample.issues, f"damaged, down: {words}"
    if not native:
        assert any(step.changed for step in decision.steps), f"without a reason: {words}"
        assert f" {decision.current} -> {number}: " in words, words


def _check_bounds(decision: Decision, change: SetBounds, words: str) -> None:
    to_zero = decision.steps[-1].reason is Reason.IDLE and change.minimum == 0
    assert to_zero or decision.min_allocations <= change.minimum, f"out of bounds: {words}"
    assert change.minimum <= change.maximum <= decision.max_allocations, f"out of bounds: {words}"
    assert change.minimum == decision.desired, f"another floor than was decided: {words}"
    assert change.minimum >= decision.current or not decision.sample.issues, f"damaged: {words}"
