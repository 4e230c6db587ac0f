"""What the latest late requests change: the SLO attainment and the error budget."""

from collections.abc import Callable

from autoscaler.core.policies import Situation
from autoscaler.core.slo.error_budget import (
    Attainment,
    ErrorBudget,
    WeightSettings,
    after_interval,
)
from autoscaler.core.slo.memory import SloMemory, Unforeseen
from autoscaler.core.slo.new_node import new_node_s
from autoscaler.core.slo.violations import preventable_fraction, unforeseen_after
from autoscaler.core.values import Value


class Accounts(Value, frozen=True, kw_only=True):
    """The late requests up to a poll."""

    unforeseen: Unforeseen | None
    attainment: Attainment  # of the running allocations
    budget: ErrorBudget  # of the recommended ones
    expected_until: float  # until when the violations of the budget are expected, not measured


def accounts_after(
    situation: Situation,
    seen: SloMemory,
    jumped: float,
    expected: Callable[[], float],
    *,
    drain_s: float,
    allowed: float,
    settings: WeightSettings,
) -> Accounts:
    """The accounts after the samples since the last recomputation.

    Args:
        jumped: the probability that the load has jumped since the last poll, and nothing had
            announced it.
        expected: the late requests that the recommended allocations would have led to.
        allowed: fraction of the requests that may be late, in (0, 1).
    """
    at, before = situation.at, seen.estimate
    all_run_at = at + new_node_s(situation) + drain_s
    unforeseen = unforeseen_after(before.unforeseen, seen.queue, at, jumped, all_run_at)
    # The last failures are those of the jump that the same poll shows.
    preventable = seen.preventable - situation.sample.failed * (
        preventable_fraction(before.unforeseen, at) - preventable_fraction(unforeseen, at)
    )
    # After a dry run, the violations remain expected until the first allocations have been added,
    # and the queue that the dry run has left has been served.
    expected_until = before.expected_until if situation.carried_out else all_run_at
    violations, counted = seen.violations, preventable
    if at <= expected_until:
        violations = counted = expected()
    return Accounts(
        unforeseen=unforeseen,
        attainment=before.attainment.after(
            seen.requests, seen.violations, preventable, seen.time_s
        ),
        budget=after_interval(
            before.budget, seen.requests, violations, counted, seen.time_s, allowed, settings
        ),
        expected_until=expected_until,
    )
