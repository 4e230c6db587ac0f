"""Which decisions have had a line of the log."""

from autoscaler.core.decision import Decision, OutcomeKind
from autoscaler.core.values import Reason

REPEAT_AFTER_S = 600.0
"""Seconds after which a reason that returns has a line again. 10 min: a cluster whose responses are
now and then too slow would otherwise fill the log, with two lines in each minute for each
deployment."""


class LoggedDecisions:
    """The last decisions that had a line, by deployment.

    A decision is new if its numbers or its outcome are not those of the one before, or if its
    reason is new. Reasons that alternate while the numbers stay are not.
    """

    def __init__(self) -> None:
        self._numbers: dict[str, tuple[int, int, OutcomeKind]] = {}
        self._reason: dict[str, Reason] = {}
        self._logged_at: dict[str, dict[Reason, float]] = {}  # since the numbers last changed

    def is_new(self, decision: Decision, kind: OutcomeKind) -> bool:
        """Whether this decision has a line. If so, it is remembered."""
        name, at = decision.deployment_id, decision.at
        numbers, reason = (decision.current, decision.desired, kind), _reason(decision)
        same_numbers = self._numbers.get(name) == numbers
        if same_numbers and self._reason.get(name) is reason:
            return False
        self._numbers[name], self._reason[name] = numbers, reason
        logged_at = self._logged_at.setdefault(name, {})
        if not same_numbers:
            logged_at.clear()
        elif reason in logged_at and at - logged_at[reason] < REPEAT_AFTER_S:
            return False
        logged_at[reason] = at
        return True

    def forget(self, deployment_id: str) -> None:
        """Forget a deployment that is no longer reported."""
        for each in (self._numbers, self._reason, self._logged_at):
            each.pop(deployment_id, None)


def _reason(decision: Decision) -> Reason:
    """The reason, with stabilisation counted as target tracking while nothing changes.

    At steady load the recommendation alternates between the current allocations and slightly
    fewer, which the stabilisation window holds. Not even the first alternation is worth a line.
    """
    if not decision.changes and decision.reason is Reason.STABILISATION:
        return Reason.TARGET_TRACKING
    return decision.reason
