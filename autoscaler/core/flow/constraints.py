"""What we may ask for: rules that take a proposed number and return a Step.

The order is written once, in `RULES`. Bounds come after everything that shapes the number: they
are the operator's word. After them come the reasons to leave things as they are, which only ever
lead back towards the present number, never past a bound.
"""

import math
from collections.abc import Callable, Mapping

from autoscaler.core.capacity import FreeCapacity, max_allocations_that_fit
from autoscaler.core.selection import Rule, ZeroMethod
from autoscaler.core.state import BackOff, DeploymentState
from autoscaler.core.values import (
    STARTED,
    DataIssue,
    DeploymentStats,
    Reason,
    Sample,
    Step,
    Value,
)


class ConstraintContext(Value, frozen=True, kw_only=True):
    """What a rule may look at besides the proposed number."""

    at: float
    current: int
    stats: DeploymentStats
    sample: Sample
    rule: Rule  # with those of its schedules that are open now
    known: DeploymentState  # by now
    room: FreeCapacity
    maintenance: str  # what goes on in the cluster; empty: nothing
    refused: BackOff | None  # the refusal that is to be waited for the longest
    zero_unsafe: str = ""  # why nothing is never enough here; empty: it may be
    usual_soon: bool = False  # whether it is about to be used, as on past days


Constraint = Callable[[int, ConstraintContext], Step | None]
"""Returns None where the rule has nothing to say about the number."""

SETTLING_LIMIT_S = 600.0
"""What has not come within this time will not come soon; waiting for it no longer holds a number.

On hardware that may grow, an unsatisfied number is one that is going to be paid for.
"""

BURST_HOLD_S = 60.0
"""How long more than `burst_maximum` must have been wanted before it is granted.

As long as the load is measured over as shipped: what has not lasted longer may be one bad count.
"""


BOUNDS_COOLDOWN_S = 60.0
"""Between two steps down of the bounds of the cluster's own scaler, or up and down."""


def stabilise(proposed: int, context: ConstraintContext) -> Step | None:
    """Scale down only to the highest recommendation of the stabilisation window."""
    if proposed >= context.current:
        return None
    peaks = context.known.peaks
    highest = peaks[0][1] if peaks else proposed
    after = min(max(proposed, highest), context.current)
    inputs = {"window_s": context.rule.stabilisation_window_s, "highest": highest}
    return Step(Reason.STABILISATION, proposed, after, inputs) if after != proposed else None


def limit_step(proposed: int, context: ConstraintContext) -> Step | None:
    """Multiply or divide by no more than the step limits at once.

    The largest step is rounded away from the present number, so that 1 can become 2 and 2 can
    become 1 whatever the factor.
    """
    current = context.current
    if proposed == current:
        return None
    if proposed > current:
        furthest = max(math.ceil(max(current, 1) * context.rule.growth_factor), current + 1)
        after = min(proposed, furthest)
    else:
        furthest = min(math.floor(current / context.rule.shrink_factor), current - 1)
        after = max(proposed, furthest)
    if after == proposed:
        return None
    return Step(Reason.STEP_LIMIT, proposed, after, {"furthest": furthest})


def limit_burst(proposed: int, context: ConstraintContext) -> Step | None:
    """Beyond the burst ceiling only what has been wanted for a while."""
    ceiling, wanted_s = context.rule.burst_max_allocations, context.known.above_burst_s or 0.0
    if ceiling is None or proposed <= ceiling or proposed <= context.current:
        return None
    if wanted_s >= BURST_HOLD_S:
        return None
    inputs = {"burst_max": ceiling, "hold_s": BURST_HOLD_S, "above_s": wanted_s}
    return Step(Reason.BURST, proposed, max(ceiling, context.current), inputs)


def apply_schedules(proposed: int, context: ConstraintContext) -> Step | None:
    """The strictest bounds of all schedules that are open. If they cross, the ceiling wins."""
    schedules = context.rule.schedules
    if not schedules:
        return None
    after, inputs = proposed, dict[str, float | str]()
    for schedule in schedules:
        if schedule.min_allocations is not None and after < schedule.min_allocations:
            after, inputs = (
                schedule.min_allocations,
                {"schedule": schedule.name, "min_allocations": schedule.min_allocations},
            )
    for schedule in schedules:
        if schedule.max_allocations is not None and after > schedule.max_allocations:
            after, inputs = (
                schedule.max_allocations,
                {"schedule": schedule.name, "max_allocations": schedule.max_allocations},
            )
    return Step(Reason.SCHEDULE, proposed, after, inputs) if inputs else None


def apply_bounds(proposed: int, context: ConstraintContext) -> Step | None:
    """The operator's word: at least `minimum`, at most `maximum`."""
    minimum, maximum = context.rule.min_allocations, context.rule.max_allocations
    if minimum <= proposed <= maximum:
        return None
    after = min(max(proposed, minimum), maximum)
    inputs = {"min_allocations": minimum, "max_allocations": maximum}
    return Step(Reason.BOUNDS, proposed, after, inputs)


def scale_to_zero(proposed: int, context: ConstraintContext) -> Step | None:
    """Nothing, when nobody has asked for long enough and nobody is expected to."""
    zero = context.rule.zero
    if zero is None or context.usual_soon:
        return None
    idle_since, sample = context.known.idle_since, context.sample
    idle_s = 0.0 if idle_since is None else context.at - idle_since
    # To have lost sight of one that sleeps is no reason to wake it.
    at_zero = zero.via is ZeroMethod.ADAPTIVE and context.current == 0
    sleeps = at_zero and sample.arrivals == 0 and sample.in_flight == 0
    if idle_s < zero.after_s and not sleeps:
        return None
    if any(schedule.min_allocations is not None for schedule in context.rule.schedules):
        return None
    inputs: dict[str, float | str] = {"idle_s": idle_s}
    if idle_s < zero.after_s:
        inputs["scaled_to_zero"] = "yes"
    if context.zero_unsafe:
        return Step(Reason.IDLE, proposed, proposed, inputs | {"unsafe": context.zero_unsafe})
    return Step(Reason.IDLE, proposed, 0, inputs)


def hold_on_data_issues(proposed: int, context: ConstraintContext) -> Step | None:
    """Never down on statistics that are missing, partial or damaged."""
    issues = context.sample.issues
    if proposed >= context.current or not issues:
        return None
    return Step(Reason.DATA_QUALITY, proposed, context.current, {"issues": joined(issues)})


def hold_on_overload(proposed: int, context: ConstraintContext) -> Step | None:
    """Never down while callers give up: what they asked for is not measured well then."""
    if proposed >= context.current or not context.sample.overloaded:
        return None
    return Step(Reason.OVERLOAD, proposed, context.current, {"timeouts": context.sample.timeouts})


def hold_while_settling(proposed: int, context: ConstraintContext) -> Step | None:
    """Leave alone what is still changing.

    A deployment that is starting or stopping accepts no update. While a node loads the model, its
    share of the load is not known, and what looks like too much may be just enough.
    """
    stats, current = context.stats, context.current
    if proposed == current:
        return None
    if stats.state != STARTED:
        return Step(Reason.SETTLING, proposed, current, {"state": stats.state or "unknown"})
    since = context.known.unsettled_since
    if proposed > current or since is None or context.at - since > SETTLING_LIMIT_S:
        return None
    inputs = {"running": stats.running_allocations or 0, "target": current}
    return Step(Reason.SETTLING, proposed, current, inputs)


def limit_to_free_capacity(proposed: int, context: ConstraintContext) -> Step | None:
    """Up to what fits on the nodes as they are seen, if they are certain to be all there is."""
    if proposed <= context.current:
        return None
    most = max_allocations_that_fit(context.stats, context.room)
    if most is None or proposed <= most:
        return None
    after = max(most, context.current, context.rule.min_allocations)
    return Step(Reason.FIT, proposed, after, {"fits": most}) if after < proposed else None


def limit_bounds_rate(proposed: int, context: ConstraintContext) -> Step | None:
    """Bounds come down once in a while: each move is an update of the whole cluster's state, and a
    floor that is high a little longer costs nothing that its scaler would not have used."""
    moved_at = context.known.bounds_moved_at
    if proposed >= context.current or moved_at is None:
        return None
    moved_s = context.at - moved_at
    if moved_s >= BOUNDS_COOLDOWN_S:
        return None
    inputs = {"moved_s": moved_s, "pause_s": BOUNDS_COOLDOWN_S}
    return Step(Reason.BOUNDS_COOLDOWN, proposed, context.current, inputs)


def search_below_refusal(proposed: int, context: ConstraintContext) -> Step | None:
    """Below a number that was refused, approach the largest one that fits by halves.

    A refusal changes nothing and tells only that the number was too large.
    """
    refused, current = context.known.infeasible, context.current
    if refused is None or context.at >= refused.until:
        return None
    # As a minimum of the cluster's own scaler a number may be in force and yet not granted.
    requested = context.stats.allocations
    granted = current if requested is None else min(current, requested)
    if proposed < refused.allocations or proposed <= granted:
        return None
    after = granted + max(0, refused.allocations - granted) // 2
    if after < context.rule.min_allocations:
        after = current
    if after == proposed:
        return None
    return Step(Reason.CAPACITY, proposed, after, {"infeasible": refused.allocations})


def hold_in_maintenance(proposed: int, context: ConstraintContext) -> Step | None:
    """A cluster that is being upgraded is left as it is."""
    if proposed == context.current or not context.maintenance:
        return None
    return Step(Reason.MAINTENANCE, proposed, context.current, {"reason": context.maintenance})


def back_off(proposed: int, context: ConstraintContext) -> Step | None:
    """Wait after a refusal that trying again would not change."""
    refused = context.refused
    if proposed == context.current or refused is None or context.at >= refused.until:
        return None
    inputs: Mapping[str, float | str] = {
        "wait_s": refused.until - context.at,
        "reason": refused.reason,
    }
    return Step(Reason.BACK_OFF, proposed, context.current, inputs)


CONSTRAINTS: tuple[Constraint, ...] = (
    stabilise,  # first, so that it sees what the policy wants and not what limits make of it
    limit_step,
    limit_burst,
    apply_schedules,
    apply_bounds,  # the operator's word: nothing below may leave them, ...
    scale_to_zero,  # ... but for this, which is the operator's word as well
    hold_on_data_issues,
    hold_on_overload,
    hold_while_settling,
    limit_to_free_capacity,
    limit_bounds_rate,
    search_below_refusal,
    hold_in_maintenance,
    back_off,
)


def constrain(first: Step, context: ConstraintContext) -> tuple[Step, ...]:
    """Apply `RULES` to what `first` recommends; return the whole trail."""
    steps = [first]
    number = first.after
    for constraint in CONSTRAINTS:
        step = constraint(number, context)
        if step is not None:
            steps.append(step)
            number = step.after
    return tuple(steps)


def joined(issues: tuple[DataIssue, ...]) -> str:
    return ", ".join(dict.fromkeys(issues))  # several nodes may have the same
