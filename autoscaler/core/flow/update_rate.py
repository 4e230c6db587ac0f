"""How many updates a deployment is sent in a number of cycles.

Each update makes the cluster plan the allocations of all deployments again. A recommendation that
goes up and down, whatever policy, setting or load is the reason, must not lead to an update in each
cycle. An increase that is needed must not wait for that: after many updates the decreases wait, and
without a decrease there is no further increase to undo it.

The updates are a number, of which bit n says that one was sent n cycles ago. Cycles without an
observation of the deployment do not count, so that it is never too few that are counted.
"""

from autoscaler.core.flow.constraint_context import ConstraintContext
from autoscaler.core.values import Reason, Step

CYCLES = 20
"""Cycles in which updates are counted, the present one included."""

MAX_UPDATES = 12
"""Maximum number of updates in that many cycles. 12: a load that grows for as many cycles in a row
has outgrown any step limit but the smallest."""

MAX_UPDATES_BEFORE_DECREASE = 10
"""Updates in that many cycles after which no decrease is sent. 10, so that two increases in a row
are possible at any time, and because `slo` does not come to as many."""


def in_next_cycle(recent_updates: int) -> int:
    """The updates, a cycle later."""
    return (recent_updates << 1) & ((1 << CYCLES) - 1)


def with_update(recent_updates: int) -> int:
    """The updates, with one that was sent in the present cycle."""
    return recent_updates | 1


def limit_update_rate(proposed: int, context: ConstraintContext) -> Step | None:
    """Hold the allocations while there have been many updates; decreases sooner than increases."""
    if proposed == context.current:
        return None
    return update_rate_step(
        proposed,
        context.current,
        context.known.recent_updates,
        overridden=context.override is not None,
    )


def update_rate_step(
    proposed: int, current: int, recent_updates: int, *, overridden: bool
) -> Step | None:
    """A step that holds the current allocations; None if an update may be sent.

    Args:
        proposed: the current allocations where anything else is changed, as the control mode.
        overridden: whether an operator has set the number.
    """
    updates = recent_updates.bit_count()
    may_wait = proposed <= current and not overridden
    limit = MAX_UPDATES_BEFORE_DECREASE if may_wait else MAX_UPDATES
    if updates < limit:
        return None
    inputs = {"updates": updates, "cycles": CYCLES, "limit": limit}
    return Step(Reason.UPDATE_RATE, proposed, current, inputs)


def is_used_up(recent_updates: int) -> bool:
    """Whether no update of any kind may be sent."""
    return recent_updates.bit_count() >= MAX_UPDATES
